//! The text of one file, and where in it a byte stands.

use std::path::Path;

use super::mistake::Mistake;

/// A text with the offsets of its lines, found once so that each look-up is a binary search.
pub(super) struct Source<'a> {
    /// Where the text came from.
    pub file: &'a Path,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { file, text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// A mistake at a byte offset.
    pub fn mistake(&self, offset: usize, key: impl Into<String>, reason: impl Into<String>) -> Mistake {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Mistake { file: self.file.to_owned(), line, column, key: key.into(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = Source::new(Path::new("f"), "äb\nc");
        let place = |offset| {
            let m = source.mistake(offset, "", "");
            (m.line, m.column)
        };
        assert_eq!([place(0), place(2), place(4), place(5)], [(1, 1), (1, 2), (2, 1), (2, 2)]);
        assert_eq!(place(99).0, 2, "an offset past the end stays on the last line");
    }
}
