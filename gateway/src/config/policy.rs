//! `[policy]`: where the policies lie and which time zones they may ask for.

use std::{fs, io, path::PathBuf};

use policy::{PolicyFile, Zone};
use protocol::config::Section;

use super::{LoadError, read_text};

/// `[policy]`.
#[derive(Debug)]
pub struct Policies {
    /// Every `*.cedar` in it is one unit.
    pub dir: PathBuf,
    /// Load by itself when a file changes.
    pub watch: bool,
    /// What policies know as `context.zone.<name>`, beside `utc`; in the order of the file.
    pub zones: Vec<Zone>,
}

impl Policies {
    /// The text of every policy file, by name.
    pub fn read(&self) -> Result<Vec<PolicyFile>, LoadError> {
        let list = || {
            let entries = fs::read_dir(&self.dir)?.map(|entry| entry.map(|entry| entry.path()));
            entries.collect::<io::Result<Vec<PathBuf>>>()
        };
        let mut files = list().map_err(|source| LoadError::Read { file: self.dir.clone(), source })?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "cedar"));
        files.sort();
        let read =
            |file: &PathBuf| Ok(PolicyFile { name: file.display().to_string(), text: read_text(file)? });
        files.iter().map(read).collect()
    }
}

pub(super) fn read(s: &mut Section<'_>) -> Option<Policies> {
    let dir = s.path("dir");
    let watch = s.flag_or("watch", false);
    let zones = s.optional_section("zones", |s| Some(read_zones(s))).unwrap_or_default();
    Some(Policies { dir: dir?, watch, zones })
}

fn read_zones(s: &mut Section<'_>) -> Vec<Zone> {
    let mut zones = Vec::new();
    for name in s.keys() {
        let tz: Option<String> = s.text(&name);
        let tz = tz.and_then(|tz| {
            let unknown = format!(
                "{tz:?} is no time zone: write it as in the IANA database, for example Europe/Berlin"
            );
            tz.parse().map_err(|_| s.mistake(&name, unknown)).ok()
        });
        if name == "utc" {
            s.mistake(&name, "utc is always there: leave it out");
        } else if !is_identifier(&name) {
            s.mistake(&name, "policies write this name: 1 to 32 of a-z, 0-9 and '_', beginning with a letter, and no word of Cedar's own");
        }
        zones.extend(tz.map(|tz| Zone { name, tz }));
    }
    zones
}

/// Words that Cedar's grammar keeps for itself.
const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];

fn is_identifier(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.contains(&name)
}
