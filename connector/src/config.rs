//! `connector.toml`: which gateways to dial, with which keys, and what may be dialled at the site.
//! It starts nothing.
//! Always true: what is not listed is not allowed; a value of [`Config`] is complete and its key usable.

use std::{fs, io, path::Path, time::Duration};

use protocol::{
    config::{Mistakes, Section, read},
    key::LinkPin,
    target::{AllowRule, Target, TargetRules},
};

use crate::key::LinkKey;

const MAX_GATEWAYS: usize = 16;
const MAX_RULES: usize = 4096;
/// How long open flows may go on after SIGTERM, unless said otherwise.
const DRAIN: Duration = Duration::from_secs(30);

/// What `connector.toml` says.
#[derive(Debug)]
pub struct Config {
    /// Where to dial; every address of each.
    pub gateways: Vec<Target>,
    /// The key the gateways must have.
    pub gateway_key: LinkPin,
    /// Our own key.
    pub private_key: LinkKey,
    /// What may be dialled.
    pub targets: TargetRules,
    /// How long open flows may go on after SIGTERM.
    pub drain: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration: {0}")]
    File(#[from] io::Error),
    /// It has mistakes; all are listed.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl Config {
    /// Reads the file and the key file it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::parse(path, &fs::read_to_string(path)?)?)
    }

    /// Reads `text` as the file at `path` would be, and the key file it names.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        read(path, text, walk)
    }
}

fn walk(section: &mut Section<'_>) -> Option<Config> {
    let gateways: Option<Vec<Target>> = section.texts("gateways");
    if gateways.as_ref().is_some_and(|g| g.is_empty() || g.len() > MAX_GATEWAYS) {
        section.mistake("gateways", format!("name 1 to {MAX_GATEWAYS} gateways"));
    }
    let gateway_key = section.text("gateway_key");
    let private_key = section.path("private_key").and_then(|path| {
        LinkKey::read(&path)
            .inspect_err(|error| section.mistake("private_key", format!("{}: {error}", path.display())))
            .ok()
    });
    let drain = section.duration_or("drain", DRAIN);
    let targets = section.section("targets", walk_targets);
    Some(Config {
        gateways: gateways?,
        gateway_key: gateway_key?,
        private_key: private_key?,
        targets: targets?,
        drain,
    })
}

fn walk_targets(section: &mut Section<'_>) -> Option<TargetRules> {
    let allow: Vec<AllowRule> = section.texts("allow")?;
    if allow.len() > MAX_RULES {
        section.mistake("allow", format!("at most {MAX_RULES} rules"));
    }
    Some(TargetRules { allow })
}

#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/places.rs"]
mod places;

/// What `fuzz/` feeds with bytes: a connector.toml becomes a usable configuration, or mistakes inside it.
#[cfg(any(test, fuzzing))]
pub mod fuzz {
    use super::*;

    /// The key is not there: all else is looked at all the same.
    pub fn connector_toml(bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if text.contains("/dev") || text.contains("/proc") {
            return;
        }
        match read(Path::new("connector.toml"), text, walk) {
            Ok(config) => assert!((1..=MAX_GATEWAYS).contains(&config.gateways.len())),
            Err(mistakes) => {
                places::are_in(text, mistakes.iter().map(|mistake| (mistake.line, mistake.column)))
            }
        }
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use std::{env, path::PathBuf};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("doorward-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            LinkKey::create(&path.join("connector.key")).unwrap();
            Self(path)
        }

        fn load(&self, text: &str) -> Result<Config, ConfigError> {
            let file = self.0.join("connector.toml");
            fs::write(&file, text).unwrap();
            Config::load(&file)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn every_unit_of_connector_toml_holds() {
        replay::corpus("connector_toml", fuzz::connector_toml);
    }

    const PIN: &str = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn a_whole_file_is_read() {
        let folder = Folder::new("config-good");
        let text = format!(
            "gateways = [\"gw.example.com:51821\"]\ngateway_key = \"{PIN}\"\nprivate_key = \"connector.key\"\n\
             drain = \"5s\"\n[targets]\nallow = [\"10.50.0.0/24\", \"10.50.0.9:5432\"]\n"
        );
        let config = folder.load(&text).unwrap();
        assert_eq!(config.gateways, ["gw.example.com:51821".parse().unwrap()]);
        assert_eq!(config.drain, Duration::from_secs(5));
        assert_eq!(config.targets.allow.len(), 2);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let folder = Folder::new("config-bad");
        let text = "gateways = []\ngateway_key = \"x\"\nprivate_key = \"none.key\"\nlisten = 1\n\
                    [targets]\nallow = [\"10.0.0.1/24\", \"db\"]\n";
        let told = folder.load(text).unwrap_err().to_string();
        for part in ["gateways", "gateway_key", "private_key", "listen", "10.0.0.0/24", "allow[1]"] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }
}
