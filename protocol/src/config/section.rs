//! The walker: one table of a file, from which keys are taken by name and type.
//! A method that returns `None` or a default for something wrong has recorded the mistake.
//! Always true: what was never asked for is reported when the section ends.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{mistake::Mistake, source::Source, value};
use crate::time::Timestamp;

type Node<'a> = &'a Spanned<DeValue<'a>>;

/// One table of a file; see [`read`](super::read).
pub struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    /// Dotted name of this table; empty at the root.
    name: String,
    /// Where the table begins, for what is missing from it.
    start: usize,
    asked: Vec<String>,
    mistakes: Vec<Mistake>,
}

/// Texts, numbers, flags, times: each takes its key.
impl Section<'_> {
    /// A required text, parsed.
    pub fn text<T: FromStr>(&mut self, key: &str) -> Option<T>
    where
        T::Err: Display,
    {
        self.required(key, value::text)
    }

    /// A text, or `default` if the key is absent.
    pub fn text_or<T: FromStr>(&mut self, key: &str, default: T) -> T
    where
        T::Err: Display,
    {
        self.optional_text(key).unwrap_or(default)
    }

    /// A text, if the key is there.
    pub fn optional_text<T: FromStr>(&mut self, key: &str) -> Option<T>
    where
        T::Err: Display,
    {
        self.optional(key, value::text)
    }

    /// A required list of texts; one wrong item spoils all of it.
    pub fn texts<T: FromStr>(&mut self, key: &str) -> Option<Vec<T>>
    where
        T::Err: Display,
    {
        if self.require(key) { self.list(key, value::text) } else { None }
    }

    /// A list of texts; empty if the key is absent or an item is wrong.
    pub fn texts_or_empty<T: FromStr>(&mut self, key: &str) -> Vec<T>
    where
        T::Err: Display,
    {
        self.list(key, value::text).unwrap_or_default()
    }

    /// A required integer in `range`.
    pub fn int<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.required(key, |v| value::int(v, &range))
    }

    /// An integer in `range`, or `default` if the key is absent.
    pub fn int_or<T>(&mut self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.optional_int(key, range).unwrap_or(default)
    }

    /// An integer in `range`, if the key is there.
    pub fn optional_int<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.optional(key, |v| value::int(v, &range))
    }

    /// A required list of integers in `range`; one wrong item spoils all of it.
    pub fn ints<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display + Clone,
    {
        if self.require(key) { self.list(key, |v| value::int(v, &range)) } else { None }
    }

    /// A list of integers in `range`, or `default` if the key is absent.
    pub fn ints_or<T>(&mut self, key: &str, range: RangeInclusive<T>, default: &[T]) -> Vec<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Clone,
    {
        self.list(key, |v| value::int(v, &range)).unwrap_or_else(|| default.to_vec())
    }

    /// True or false, or `default` if the key is absent.
    pub fn flag_or(&mut self, key: &str, default: bool) -> bool {
        self.optional(key, value::flag).unwrap_or(default)
    }

    /// A required true or false.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.required(key, value::flag)
    }

    /// A required date and time with an offset.
    pub fn time(&mut self, key: &str) -> Option<Timestamp> {
        self.required(key, value::time)
    }

    /// A date and time with an offset, if the key is there.
    pub fn optional_time(&mut self, key: &str) -> Option<Timestamp> {
        self.optional(key, value::time)
    }

    /// A required text that is one of the words in `choices`.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.required(key, |v| value::choice(v, choices))
    }

    /// A text that is one of the words in `choices`, if the key is there.
    pub fn optional_choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.optional(key, |v| value::choice(v, choices))
    }

    /// A duration such as `"10m"`, or `default` if the key is absent.
    pub fn duration_or(&mut self, key: &str, default: Duration) -> Duration {
        self.optional(key, value::duration).unwrap_or(default)
    }

    /// A required path; a relative one begins at the folder of the file.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let written: String = self.text(key)?;
        self.path_of(key, &written)
    }

    /// An optional path.
    pub fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        let written: String = self.optional_text(key)?;
        self.path_of(key, &written)
    }

    fn path_of(&mut self, key: &str, written: &str) -> Option<PathBuf> {
        if written.is_empty() {
            self.mistake(key, "a path cannot be empty");
            return None;
        }
        Some(self.source.file.parent().map_or_else(|| PathBuf::from(written), |folder| folder.join(written)))
    }
}

/// Tables within this one.
impl<'a> Section<'a> {
    /// A required table.
    pub fn section<U>(&mut self, key: &str, walk: impl FnOnce(&mut Section<'_>) -> Option<U>) -> Option<U> {
        if self.has(key) {
            return self.optional_section(key, walk);
        }
        self.mistake(key, "this section is missing");
        None
    }

    /// A table, if the key is there.
    pub fn optional_section<U>(
        &mut self,
        key: &str,
        walk: impl FnOnce(&mut Section<'_>) -> Option<U>,
    ) -> Option<U> {
        let node = self.take(key)?;
        self.enter(node, self.dotted(key), walk)
    }

    /// An array of tables; none if the key is absent. Tables for which `walk` gave up are left out.
    pub fn sections<U>(&mut self, key: &str, mut walk: impl FnMut(&mut Section<'_>) -> Option<U>) -> Vec<U> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = node.get_ref() else {
            self.mistake(key, format!("write it as [[{}]]", self.dotted(key)));
            return Vec::new();
        };
        let name = self.dotted(key);
        let mut all = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            all.extend(self.enter(item, format!("{name}[{i}]"), &mut walk));
        }
        all
    }

    /// The keys nobody asked for yet, in the order of the file: for tables whose keys are names.
    pub fn keys(&self) -> Vec<String> {
        let mut left: Vec<_> = self.left().collect();
        left.sort_by_key(|(at, _)| *at);
        left.into_iter().map(|(_, key)| key.to_owned()).collect()
    }

    fn enter<U>(
        &mut self,
        node: Node<'a>,
        name: String,
        walk: impl FnOnce(&mut Section<'_>) -> Option<U>,
    ) -> Option<U> {
        let start = node.span().start;
        let DeValue::Table(table) = node.get_ref() else {
            self.mistakes.push(self.source.mistake(
                start,
                name,
                value::expected("a section", node.get_ref()),
            ));
            return None;
        };
        let (asked, mistakes) = (Vec::new(), Vec::new());
        let mut inner = Section { source: self.source, table, name, start, asked, mistakes };
        let result = walk(&mut inner);
        self.mistakes.extend(finish(inner));
        result
    }
}

/// Mistakes only the caller can see.
impl Section<'_> {
    /// Records a mistake at `key`, or at `key[i]` of a list; at the section's head if it is absent.
    pub fn mistake(&mut self, key: &str, reason: impl Into<String>) {
        let mistake = self.at(key, reason);
        self.report(mistake);
    }

    /// The same without recording it: for a warning, or for something not yet known to be wrong.
    pub fn at(&self, key: &str, reason: impl Into<String>) -> Mistake {
        self.source.mistake(self.place(key), self.dotted(key), reason)
    }

    /// Records a mistake made by [`at`](Self::at), here or in a section within.
    pub fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Whether `key` is written as a list with nothing in it; a wrong or absent one is not.
    pub fn is_empty_list(&self, key: &str) -> bool {
        let node = self.table.get(key).map(Spanned::get_ref);
        matches!(node, Some(DeValue::Array(items)) if items.is_empty())
    }

    /// Whether `key` is there, which also counts as asking for it.
    pub fn has(&mut self, key: &str) -> bool {
        self.take(key).is_some()
    }
}

impl<'a> Section<'a> {
    pub(super) fn root(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self { source, table, name: String::new(), start: 0, asked: Vec::new(), mistakes: Vec::new() }
    }

    fn take(&mut self, key: &str) -> Option<Node<'a>> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.table.get(key)
    }

    /// Whether `key` is there; if it is not, that is recorded as a mistake.
    fn require(&mut self, key: &str) -> bool {
        let there = self.has(key);
        if !there {
            self.mistake(key, "this key is missing");
        }
        there
    }

    fn required<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.require(key) { self.optional(key, convert) } else { None }
    }

    fn optional<T>(
        &mut self,
        key: &str,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(key)?;
        convert(node.get_ref()).map_err(|reason| self.mistake(key, reason)).ok()
    }

    fn list<T>(&mut self, key: &str, convert: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Option<Vec<T>> {
        let node = self.take(key)?;
        let DeValue::Array(items) = node.get_ref() else {
            self.mistake(key, value::expected("a list in [brackets]", node.get_ref()));
            return None;
        };
        let mut all = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match convert(item.get_ref()) {
                Ok(value) => all.push(value),
                Err(reason) => self.mistake(&format!("{key}[{i}]"), reason),
            }
        }
        // Never a part of it: `key[i]` must mean the same item to the caller as in the file.
        (all.len() == items.len()).then_some(all)
    }

    fn dotted(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn place(&self, key: &str) -> usize {
        if let Some(node) = self.table.get(key) {
            return node.span().start;
        }
        let item = key.strip_suffix(']').and_then(|key| key.rsplit_once('['));
        let Some((list, index)) = item else { return self.start };
        let Some(node) = self.table.get(list) else { return self.start };
        let item = match node.get_ref() {
            DeValue::Array(items) => index.parse().ok().and_then(|i: usize| items.get(i)),
            _ => None,
        };
        item.unwrap_or(node).span().start
    }

    fn left(&self) -> impl Iterator<Item = (usize, &str)> {
        let keys = self.table.keys().map(|key| (key.span().start, key.get_ref().as_ref()));
        keys.filter(|(_, key)| !self.asked.iter().any(|asked| asked == key))
    }
}

/// Ends a section: its mistakes, and every key nobody asked for.
pub(super) fn finish(section: Section<'_>) -> Vec<Mistake> {
    let unknown: Vec<Mistake> = section
        .left()
        .map(|(at, key)| section.source.mistake(at, section.dotted(key), unknown_key(key, &section.asked)))
        .collect();
    let mut mistakes = section.mistakes;
    mistakes.extend(unknown);
    mistakes
}

fn unknown_key(key: &str, asked: &[String]) -> String {
    // A third of the letters wrong is still a typo; more is another word.
    let near = |known: &&String| distance(key, known) <= 1 + known.chars().count() / 4;
    match asked.iter().filter(near).min_by_key(|known| distance(key, known)) {
        Some(known) => format!("unknown key; did you mean {known:?}?"),
        None if asked.is_empty() => "unknown key: nothing belongs here".to_owned(),
        None => format!("unknown key; known here: {}", asked.join(", ")),
    }
}

/// How many letters must be added, removed, changed or swapped with their neighbour, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("", "ab", 2),
            ("nmae", "name", 1),
            ("Endpoint", "endpoint", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn only_a_typo_is_guessed_at() {
        let known = ["listen".to_owned(), "endpoint".to_owned()];
        assert_eq!(unknown_key("lisen", &known), "unknown key; did you mean \"listen\"?");
        assert_eq!(unknown_key("color", &known), "unknown key; known here: listen, endpoint");
        assert_eq!(unknown_key("color", &[]), "unknown key: nothing belongs here");
    }
}
