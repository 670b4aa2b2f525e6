//! Takes keys out of one section and collects every mistake on the way.
//! It knows no key by name. Always true: a key nobody took is a mistake, a key that may stand once
//! and stands twice is a mistake, and both name their lines.

use std::{fmt::Display, str::FromStr};

use super::{
    Mistake,
    ini::{Entry, Section},
};

/// One section being read.
pub struct Walk<'a, 'm> {
    line: usize,
    name: &'static str,
    left: Vec<Entry<'a>>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'a, 'm> Walk<'a, 'm> {
    /// Begins with everything in the section unread.
    pub fn new(name: &'static str, section: Section<'a>, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { line: section.line, name, left: section.entries, mistakes }
    }

    /// Takes every line with this key.
    pub fn take(&mut self, key: &str) -> Vec<Entry<'a>> {
        let (taken, left) = self.left.drain(..).partition(|entry| entry.key.eq_ignore_ascii_case(key));
        self.left = left;
        taken
    }

    /// A value that may be absent; `read` makes it or says what is wrong.
    pub fn optional<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let entries = self.take(key);
        let (first, rest) = entries.split_first()?;
        for again in rest {
            self.mistake(again.line, format!("{key} stands twice; it was already on line {}", first.line));
        }
        match read(first.value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake(first.line, format!("{key}: {reason}"));
                None
            }
        }
    }

    /// A value that must be there.
    pub fn required<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.left.iter().any(|entry| entry.key.eq_ignore_ascii_case(key)) {
            self.mistake(self.line, format!("[{}] has no {key}", self.name));
        }
        self.optional(key, read)
    }

    /// A comma-separated list over one or several lines; empty if absent.
    pub fn list<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::new();
        for entry in self.take(key) {
            for part in entry.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match read(part) {
                    Ok(value) => values.push(value),
                    Err(reason) => self.mistake(entry.line, format!("{key}: {reason}")),
                }
            }
        }
        values
    }

    /// A list with at least one element.
    pub fn some<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let before = self.mistakes.len();
        let values = self.list(key, read);
        if values.is_empty() && self.mistakes.len() == before {
            self.mistake(self.line, format!("[{}] has no {key}", self.name));
        }
        values
    }

    /// Everything nobody took is a mistake.
    pub fn finish(mut self) {
        for entry in std::mem::take(&mut self.left) {
            self.mistake(entry.line, format!("[{}] has no key {}", self.name, entry.key));
        }
    }

    fn mistake(&mut self, line: usize, reason: String) {
        self.mistakes.push(Mistake { line, reason });
    }
}

/// Reads a value by its type's own parser, whose error text must say what is expected.
pub fn parsed<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| format!("`{text}`: {error}"))
}
