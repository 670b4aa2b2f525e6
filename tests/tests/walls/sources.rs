//! How our sources look: an opening in every file, files that fit a sitting, nothing left for later,
//! and system calls in one crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::metadata;

/// A file fits a sitting.
const LONGEST: usize = 500;

/// Files that are longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// Written in two pieces, so that this file does not find itself.
const LATER: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNSAFE: &str = concat!("un", "safe");
/// A crate may well say that it has none.
const FORBIDDEN: &str = concat!("forbid(un", "safe_code)");

/// Every Rust file of ours: its path from the root and its text.
pub fn sources() -> Vec<(String, String)> {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let mut files = Vec::new();
    for package in metadata.workspace_packages() {
        collect(package.manifest_path.parent().expect("a manifest is in a folder").as_std_path(), &mut files);
    }
    // A workspace of its own, and ours all the same.
    collect(&root.join("fuzz"), &mut files);
    let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    files.iter().map(|path| (name(path), fs::read_to_string(path).expect("sources are UTF-8"))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours is readable").flatten() {
        let path = entry.path();
        if path.is_dir() && !entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

/// The part before the unit tests.
fn code(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]").map_or(text, |(code, _)| code)
}

/// What `fault` finds in each file; all of it at once, so that it is mended at once.
fn assert_none(fault: impl Fn(&str, &str) -> Vec<String>) {
    let found: Vec<_> = sources().iter().flat_map(|(name, text)| fault(name, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The lines whose words `is_fault` objects to, with their place.
fn lines_with(name: &str, text: &str, is_fault: impl Fn(&str) -> bool) -> Vec<String> {
    let words = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(&is_fault);
    let faulty = text.lines().enumerate().filter(|(_, line)| words(line));
    faulty.map(|(number, line)| format!("{name}:{}: {line}", number + 1)).collect()
}

#[test]
fn every_file_opens_with_what_it_is() {
    assert_none(|name, text| {
        let opening = text.lines().take_while(|line| line.starts_with("//!")).count();
        let fault = format!("{name}: opens with {opening} lines of //!, not one to five");
        if (1..=5).contains(&opening) { vec![] } else { vec![fault] }
    });
}

#[test]
fn every_file_fits_a_sitting() {
    assert_none(|name, text| {
        let lines = code(text).lines().count();
        let excepted = LONGER.iter().any(|(file, _)| *file == name);
        match (lines > LONGEST, excepted) {
            (true, false) => vec![format!("{name}: {lines} lines before its tests, split it")],
            (false, true) => vec![format!("{name}: short again, drop its exception")],
            (true, true) | (false, false) => vec![],
        }
    });
}

#[test]
fn nothing_is_left_for_later() {
    assert_none(|name, text| lines_with(name, text, |word| LATER.contains(&word)));
}

#[test]
fn system_calls_live_in_netio() {
    assert_none(|name, text| {
        let code = |line: &str| line.split("//").next().unwrap_or_default().replace(FORBIDDEN, "") + "\n";
        let code: String = text.lines().map(code).collect();
        let found = lines_with(name, &code, |word| word == UNSAFE || word == format!("{UNSAFE}_code"));
        if name.starts_with("netio/") { vec![] } else { found }
    });
}
