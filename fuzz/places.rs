//! Where a reader of texts says that something is wrong. Included, like `replay`, by the crates that
//! have an entry for such texts.

/// Panics unless there are places, each on a line of `text` (from 1) and at a column of it (from 1) or
/// right behind it.
pub fn are_in(text: &str, places: impl IntoIterator<Item = (usize, usize)>) {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut places = places.into_iter().peekable();
    assert!(places.peek().is_some(), "refused without a reason");
    for (line, column) in places {
        let line = line.checked_sub(1).and_then(|at| lines.get(at)).expect("a line of the text");
        assert!((1..=line.chars().count() + 1).contains(&column), "column {column} of {line:?}");
    }
}
