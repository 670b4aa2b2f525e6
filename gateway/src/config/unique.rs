//! Names and values that may stand in a file once.

use std::{collections::HashMap, fmt::Display, hash::Hash};

use protocol::config::Section;

/// What was seen, and in which line.
pub(super) struct Unique<K>(HashMap<K, usize>);

impl<K> Default for Unique<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Display> Unique<K> {
    /// Takes `value`, which stands at `key`; a second one is a mistake there.
    pub fn claim(&mut self, s: &mut Section<'_>, key: &str, value: K) {
        match self.0.get(&value) {
            Some(line) => s.mistake(key, format!("\"{value}\" is in line {line} already")),
            None => {
                let line = s.at(key, "").line;
                self.0.insert(value, line);
            }
        }
    }

    /// Takes every value of the list at `key`.
    pub fn claim_all(&mut self, s: &mut Section<'_>, key: &str, values: impl IntoIterator<Item = K>) {
        for (i, value) in values.into_iter().enumerate() {
            self.claim(s, &format!("{key}[{i}]"), value);
        }
    }
}
