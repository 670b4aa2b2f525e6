//! Every file in `config/` is loaded, and what that says is compared with the `.expected` beside it:
//! the mistakes of a bad file, or the effective configuration and the warnings of a good one.
//! With `UPDATE_EXPECTED=1` the expected texts are written anew, to be read before they are committed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use gateway::config::{AppKind, Config, load, read_directory};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A folder with key files, since git does not keep their permissions.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("doorward-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let made = Self(folder);
        let key = "6OZrQPyNwcfDs0mD8BMn8Iv+ZvhJKVmBBHvgCnDzLUs=\n";
        made.put("gateway.key", key, 0o600);
        made.put("readable.key", key, 0o644);
        // RFC 8410 §10.3.
        let link = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        made.put("link.key", link, 0o600);
        made.put("postgres.url", "postgres://doorward:secret@db.corp.example/doorward\n", 0o600);
        made.put("nonsense.url", "db.corp.example\n", 0o600);
        made.certificates();
        made
    }

    /// One for `wiki.corp.example` and `*.apps.corp.example`, one of the same key for no host, and another key.
    fn certificates(&self) {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let own = key();
        let wiki = ["wiki.corp.example", "*.apps.corp.example"].map(str::to_owned);
        for (name, hosts) in [("wiki.pem", &wiki[..]), ("nameless.pem", &[])] {
            let params = CertificateParams::new(hosts).expect("names");
            self.put(name, &params.self_signed(&own).expect("signed").pem(), 0o644);
        }
        self.put("wiki.key", &own.serialize_pem(), 0o600);
        self.put("other.key", &key().serialize_pem(), 0o600);
    }

    fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode is set");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn whole() -> Config {
    let folder = Folder::new("whole");
    let text = fs::read_to_string(cases().join("doorward-whole.toml")).expect("a case");
    load(&folder.put("doorward.toml", &text, 0o644)).expect("a whole configuration")
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn said_of(config: &Config) -> String {
    let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    let targets =
        config.exact_targets().map(|t| format!("exact: {} {} {} {}\n", t.site, t.ip, t.port, t.app));
    let through = config.apps.iter().filter_map(|app| match &app.kind {
        AppKind::Through(target) => Some(format!("through: {} {target}\n", app.hosts.join(" "))),
        AppKind::Http(_) | AppKind::Tcp(_) => None,
    });
    warnings.chain(targets).chain(through).collect::<String>() + "\n" + &config.effective()
}

/// What loading the case says, without the folder's name.
fn said(case: &Path) -> String {
    let name = case.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let folder = Folder::new(name);
    let file = folder.put(name, &fs::read_to_string(case).expect("a case"), 0o644);
    let said = if name.starts_with("directory-") {
        let (config, text) = (whole(), fs::read_to_string(&file).expect("a case"));
        match read_directory(&file, &text, &config.tunnel, &config.sites) {
            Ok(_) => "ok".to_owned(),
            Err(mistakes) => mistakes.to_string(),
        }
    } else {
        load(&file).map_or_else(|mistakes| mistakes.to_string(), |config| said_of(&config))
    };
    said.trim_end().replace(&format!("{}/", folder.0.display()), "") + "\n"
}

#[test]
fn every_file_says_what_is_expected() {
    let mut cases: Vec<PathBuf> = fs::read_dir(cases())
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut wrong = String::new();
    for case in cases {
        let (said, expected) = (said(&case), case.with_extension("expected"));
        if update {
            fs::write(&expected, &said).expect("the expected text is written");
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&said) {
            wrong += &format!("\n{} does not say this:\n{said}", expected.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn ten_mistakes_are_told_at_once() {
    let told = said(&cases().join("doorward-ten.toml"));
    assert!(told.lines().count() >= 10, "{told}");
}
