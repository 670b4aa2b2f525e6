//! Private keys in files of their own: a WireGuard key in base64, a link key in PEM.
//! Always true: a key file that others can read is refused, and no key appears in an error.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use connector::key::LinkKey;
use protocol::{config::Secret, key::LinkPin};

/// What is wrong with a key file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Not there.
    #[error("there is no file {}: {how}", file.display())]
    Missing {
        /// Which.
        file: PathBuf,
        /// What makes one.
        how: &'static str,
    },
    /// There, but cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:04o}): run `chmod 600 {}`", file.display(), file.display())]
    Open {
        /// Which.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not the key it should be.
    #[error("{} does not hold {what}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key itself stands where its path should.
    #[error(
        "this looks like the key itself: put it into a file that only the gateway can read, and write the name of that file here"
    )]
    Inline,
}

/// Reads a WireGuard private key.
pub(super) fn wireguard(file: &Path) -> Result<Secret<[u8; 32]>, KeyFileError> {
    let text = read(file, "`doorward init` makes one, or `(umask 077; wg genkey > FILE)`")?;
    let key: Option<[u8; 32]> =
        STANDARD.decode(text.expose().trim()).ok().and_then(|key| key.try_into().ok());
    match key {
        Some(key) if key != [0; 32] => Ok(Secret::new(key)),
        Some(_) | None => {
            Err(content(file, "a WireGuard private key: 44 characters of base64, as `wg genkey` prints"))
        }
    }
}

/// Reads a link key: its PEM text and what the other end pins.
pub(super) fn link(file: &Path) -> Result<(Secret<String>, LinkPin), KeyFileError> {
    let pem = read(file, "`doorward init` makes one")?;
    let key = LinkKey::from_pem(pem.expose());
    let pin = key.map_err(|_| content(file, "a link key: PEM, PKCS #8, Ed25519"))?.pin();
    Ok((pem, pin))
}

/// Reads the key of a TLS certificate, whatever its form is; who uses it says whether it is one.
pub(crate) fn tls(file: &Path) -> Result<Secret<String>, KeyFileError> {
    read(file, "name the file that holds the certificate's private key")
}

/// Reads the URL of a database, which may hold a password.
pub(super) fn url(file: &Path) -> Result<Secret<String>, KeyFileError> {
    let text = read(file, "write postgres://USER:PASSWORD@HOST/DATABASE into it")?;
    let url = text.expose().trim();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(content(file, "the URL of a PostgreSQL: postgres://USER:PASSWORD@HOST/DATABASE"));
    }
    Ok(Secret::new(url.to_owned()))
}

/// Reads the secret that a provider gave us.
pub(super) fn client_secret(file: &Path) -> Result<Secret<String>, KeyFileError> {
    let text = read(file, "write the client secret that the provider made for this gateway into it")?;
    let secret = text.expose().trim();
    if secret.is_empty() || secret.contains(char::is_whitespace) {
        return Err(content(file, "a client secret: one word, as the provider shows it"));
    }
    Ok(Secret::new(secret.to_owned()))
}

fn content(file: &Path, what: &'static str) -> KeyFileError {
    KeyFileError::Content { file: file.to_owned(), what }
}

/// Longer than any key of ours in PEM.
const LARGEST: u64 = 16 << 10;

fn read(file: &Path, how: &'static str) -> Result<Secret<String>, KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound if is_key(file) => KeyFileError::Inline,
        io::ErrorKind::NotFound => KeyFileError::Missing { file: file.to_owned(), how },
        _ => KeyFileError::Read { file: file.to_owned(), source },
    };
    let opened = File::open(file).map_err(failed)?;
    // Of the open file, so that what is judged is what is read.
    let mode = opened.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { file: file.to_owned(), mode });
    }
    let mut text = String::new();
    opened.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(text))
}

/// Whether someone wrote a key in place of its path; base64 may contain slashes, so any tail counts.
fn is_key(file: &Path) -> bool {
    let text = file.to_string_lossy();
    let tail: String = text.chars().rev().take(44).collect();
    text.contains("PRIVATE KEY")
        || tail.starts_with('=') && tail.len() == 44 && !tail.contains(['.', '-', '_', ' '])
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A folder that is gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("doorward-key-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn put(&self, text: &str, mode: u32) -> PathBuf {
            let file = self.0.join("a.key");
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_key_is_read_and_never_printed() {
        let folder = Folder::new("read");
        let key = wireguard(&folder.put(&format!("{}\n", STANDARD.encode([7; 32])), 0o600)).unwrap();
        assert_eq!((*key.expose(), format!("{key:?}").as_str()), ([7; 32], "(hidden)"));
        for text in ["abc", &STANDARD.encode([0; 32]), ""] {
            let refused = wireguard(&folder.put(text, 0o600));
            assert!(matches!(refused, Err(KeyFileError::Content { .. })), "{text}");
        }
    }

    #[test]
    fn others_must_not_read_it() {
        let folder = Folder::new("mode");
        for mode in [0o640, 0o604, 0o660, 0o620] {
            let error =
                wireguard(&folder.put(&STANDARD.encode([7; 32]), mode)).expect_err("refused").to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_says_how_to_make_it_and_a_pasted_key_is_not_repeated() {
        let gone = wireguard(Path::new("/nowhere/gateway.key")).expect_err("missing").to_string();
        assert!(gone.contains("doorward init") && gone.contains("wg genkey"), "{gone}");
        let pasted = Path::new("/etc/doorward").join(STANDARD.encode([0xfb; 32]));
        assert!(matches!(wireguard(&pasted), Err(KeyFileError::Inline)));
    }

    #[test]
    fn link_keys_are_ed25519() {
        let folder = Folder::new("link");
        let good = LinkKey::generate();
        let (pem, pin) = link(&folder.put(&good, 0o600)).unwrap();
        assert_eq!((pem.expose(), pin), (&good, LinkKey::from_pem(&good).unwrap().pin()));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        assert!(matches!(link(&folder.put(&other, 0o600)), Err(KeyFileError::Content { .. })));
    }
}
