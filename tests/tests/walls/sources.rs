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

/// Every Rust file of ours: its path from the root and its text.
pub fn sources() -> Vec<(String, String)> {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let mut files = Vec::new();
    for package in metadata.workspace_packages() {
        collect(package.manifest_path.parent().expect("a manifest is in a folder").as_std_path(), &mut files);
    }
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

#[test]
fn every_file_opens_with_what_it_is() {
    for (name, text) in sources() {
        let opening = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!((1..=5).contains(&opening), "{name}: opens with {opening} lines of //!, not one to five");
    }
}

#[test]
fn every_file_fits_a_sitting() {
    for (name, text) in sources() {
        let lines = code(&text).lines().count();
        match LONGER.iter().find(|(excepted, _)| *excepted == name) {
            Some((_, reason)) => {
                assert!(lines > LONGEST, "{name} is short again, drop its exception: {reason}")
            }
            None => assert!(lines <= LONGEST, "{name}: {lines} lines before its tests, split it"),
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            assert!(!words.any(|word| LATER.contains(&word)), "{name}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn system_calls_live_in_netio() {
    for (name, text) in sources().iter().filter(|(name, _)| !name.starts_with("netio/")) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let found = words.any(|word| word == UNSAFE || word == format!("{UNSAFE}_code"));
            assert!(!found, "{name}:{}: only netio makes system calls of its own: {line}", number + 1);
        }
    }
}
