//! `doorward init`: a folder to begin with, every file explained in itself.
//! Always true: nothing that exists is overwritten; keys are readable by their owner only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::Ipv6Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use connector::key::LinkKeyError;
use control::seal::{Keyring, KeyringError};

use super::new_key::{self, NoKey};

const DOORWARD: &str = include_str!("init/doorward.toml");
const PERMITS: &str = include_str!("init/permits.cedar");
const GUARDS: &str = include_str!("init/guards.cedar");

/// Stands in the template where each deployment has its own prefix.
const ULA: &str = "fd00:d00:d00::/48";

/// Why nothing, or not everything, was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there already.
    #[error("nothing was made, because this exists already: {}; name an empty folder", list(.0))]
    Exists(Vec<PathBuf>),
    /// A file or folder cannot be made.
    #[error("cannot make {}: {source}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// No key for the store.
    #[error(transparent)]
    NoStoreKey(#[from] KeyringError),
    /// No link key.
    #[error(transparent)]
    NoLinkKey(#[from] LinkKeyError),
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A file to be made.
struct New {
    name: &'static str,
    text: String,
    mode: u32,
}

/// Makes the files in `folder` and returns what to do next.
pub fn run(folder: &Path) -> Result<String, InitError> {
    let (gateway_key, gateway_public) = new_key::wireguard()?;
    let (link_key, pin) = new_key::link()?;
    let open = |name, text: String| New { name, text, mode: 0o644 };
    let secret = |name, text: String| New { name, text, mode: 0o600 };
    let files = [
        secret("gateway.key", format!("{}\n", gateway_key.expose())),
        secret("link.key", link_key.expose().clone()),
        open("doorward.toml", DOORWARD.replace(ULA, &prefix()?)),
        open("policies/permits.cedar", PERMITS.to_owned()),
        open("policies/guards.cedar", GUARDS.to_owned()),
    ];
    let store_key = folder.join("store.key");
    let all = files.iter().map(|new| folder.join(new.name)).chain([store_key.clone()]);
    let existing: Vec<PathBuf> = all.filter(|file| file.exists()).collect();
    if !existing.is_empty() {
        return Err(InitError::Exists(existing));
    }
    let policies = folder.join("policies");
    fs::create_dir_all(&policies).map_err(|source| InitError::Write { file: policies, source })?;
    for new in &files {
        let file = folder.join(new.name);
        write(&file, new).map_err(|source| InitError::Write { file, source })?;
    }
    Keyring::create(&store_key)?;
    Ok(next_steps(folder, &gateway_public.to_string(), &pin.to_string()))
}

fn write(file: &Path, new: &New) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(new.mode).open(file)?;
    file.write_all(new.text.as_bytes())?;
    file.sync_all()
}

/// A /48 of our own, so that two deployments that meet do not collide (RFC 4193 §3.2).
fn prefix() -> Result<String, NoKey> {
    let [a, b, c, d, e] = new_key::random()?;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let base = Ipv6Addr::new(pair(0xfd, a), pair(b, c), pair(d, e), 0, 0, 0, 0, 0);
    Ok(format!("{base}/48"))
}

fn next_steps(folder: &Path, public_key: &str, pin: &str) -> String {
    let at = folder.display();
    format!(
        "\
Made a configuration in {at}.

  gateway public key   {public_key}
  gateway link key     {pin}

Next:
  1. Set gateway.endpoint and dns.zones in {at}/doorward.toml.
  2. Add an app and where it stands: the file has an example of each kind.
  3. Say who may do what in {at}/policies.
  4. doorward check --config {at}/doorward.toml
  5. doorward gateway --config {at}/doorward.toml
  6. While it runs, with the same --config: add people (doorward admin user add), their devices
     (doorward admin device add NAME --owner USER --new-key) and connectors
     (doorward admin connector token SITE); `doorward admin --help` tells the rest.

A connector pins the gateway's link key: gateway_key = \"{pin}\" in its connector.toml; one that joins
by a token does so by itself.
"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::load;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("doorward-init-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    /// Takes the `#` from every line that is an example: no space follows it.
    fn with_examples(text: &str) -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(example) if !example.is_empty() && !example.starts_with(' ') => example.to_owned(),
            Some(_) | None => line.to_owned(),
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_made_loads_and_keys_are_private() {
        let folder = folder("loads");
        let said = run(&folder).unwrap();
        let config = load(&folder.join("doorward.toml")).unwrap_or_else(|error| panic!("{error}"));
        let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        assert!(warning.contains("nobody can sign in"), "{warning}");
        assert!(said.contains(&config.gateway.public_key().to_string()), "{said}");
        assert!(said.contains(&config.links.as_ref().unwrap().pin.to_string()), "{said}");
        assert_ne!(config.tunnel.v6().to_string(), ULA);
        for key in ["gateway.key", "link.key", "store.key"] {
            assert_eq!(fs::metadata(folder.join(key)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_examples_in_it_load_too() {
        let folder = folder("examples");
        run(&folder).unwrap();
        let text = fs::read_to_string(folder.join("doorward.toml")).unwrap();
        fs::write(folder.join("doorward.toml"), with_examples(&text)).unwrap();
        let config = load(&folder.join("doorward.toml")).unwrap_or_else(|error| panic!("{error}"));
        // Two, and the name of the provider.
        assert_eq!((config.apps.len(), config.subnets.len()), (3, 1));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = folder("twice");
        run(&folder).unwrap();
        let key = fs::read(folder.join("gateway.key")).unwrap();
        fs::remove_file(folder.join("doorward.toml")).unwrap();
        let error = run(&folder).expect_err("refused").to_string();
        assert!(error.contains("gateway.key") && !error.contains("doorward.toml"), "{error}");
        assert_eq!(fs::read(folder.join("gateway.key")).unwrap(), key);
        assert!(!folder.join("doorward.toml").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
