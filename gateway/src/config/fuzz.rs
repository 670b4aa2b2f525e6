//! What `fuzz/` feeds with bytes, and what must hold for any of them: doorward.toml, directory.toml.
//! Part of no product: it is built for the fuzzer and for the tests that replay its corpus.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use protocol::config::Mistakes;

use super::{Sites, Tunnel, directory, walk};

#[path = "../../../fuzz/places.rs"]
mod places;

/// As `doorward init` would make it; a configuration that hides it never shows it.
const KEY: &str = "6OZrQPyNwcfDs0mD8BMn8Iv+ZvhJKVmBBHvgCnDzLUs=";
/// RFC 8410 §10.3.
const LINK_KEY: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";

/// A folder with the key files that a configuration may name.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("doorward-fuzz-{}", std::process::id()));
    let link = format!("-----BEGIN PRIVATE KEY-----\n{LINK_KEY}\n-----END PRIVATE KEY-----\n");
    fs::create_dir_all(&folder).expect("a temporary folder");
    for (name, text) in [("gateway.key", KEY), ("link.key", &link)] {
        let file = folder.join(name);
        fs::write(&file, text).expect("a key is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    }
    folder
});

/// A doorward.toml: mistakes inside the text, or a configuration that prints without its secrets.
pub fn doorward_toml(bytes: &[u8]) {
    let Some(text) = harmless(bytes) else { return };
    let mut warnings = Vec::new();
    match protocol::config::read(&FOLDER.join("doorward.toml"), text, |s| walk(s, &mut warnings)) {
        Ok(config) => {
            let effective = config.effective();
            assert!(!effective.contains(KEY) && !effective.contains(LINK_KEY), "{effective}");
            assert!(config.exact_targets().all(|target| target.port != 0));
        }
        Err(mistakes) => mistakes_are_in(text, &mistakes),
    }
}

/// A directory.toml: mistakes inside the text, or people and devices that belong together.
pub fn directory_toml(bytes: &[u8]) {
    let Some(text) = harmless(bytes) else { return };
    let (v4, v6) = ("100.64.0.0/16", "fd00:d00:d00::/48");
    let tunnel = Tunnel::new(v4.parse().expect("a network"), v6.parse().expect("a network"));
    let sites = Sites { names: ["fra".parse().expect("a name")].into(), local: None };
    match protocol::config::read(Path::new("directory.toml"), text, |s| {
        Some(directory::walk(s, &tunnel, &sites))
    }) {
        Ok(directory) => {
            for device in &directory.devices {
                assert!(directory.users.iter().any(|user| user.id == device.owner), "{device:?}");
                assert!((1..=2).contains(&device.keys.len()), "{device:?}");
            }
            assert!(directory.connectors.iter().all(|connector| sites.names.contains(&connector.site)));
        }
        Err(mistakes) => mistakes_are_in(text, &mistakes),
    }
}

fn mistakes_are_in(text: &str, mistakes: &Mistakes) {
    assert!(!mistakes.to_string().contains("please report"), "{mistakes}");
    places::are_in(text, mistakes.iter().map(|mistake| (mistake.line, mistake.column)));
}

/// Text whose paths lead to no terminal or device: a reader would wait for it.
fn harmless(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains("/dev") && !text.contains("/proc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay;

    #[test]
    fn every_unit_of_doorward_toml_holds() {
        replay::corpus("gateway_toml", doorward_toml);
        fs::remove_dir_all(&*FOLDER).expect("the folder was made");
    }

    #[test]
    fn every_unit_of_directory_toml_holds() {
        replay::corpus("directory_toml", directory_toml);
    }
}
