//! Secrets at rest: sealed so that they open only with a key of the ring and only where they were put.
//! It keeps nothing and decides nothing. Always true: what was changed, moved or cut does not open,
//! and no key or secret appears in an error or a debug print.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use protocol::config::Secret;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

use crate::private::{self, FileError};

/// 32 bytes for ChaCha20-Poly1305 (RFC 8439).
pub type Key = Secret<[u8; 32]>;

/// Where a sealed secret stands; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The name of the store.
    pub store: &'a str,
    /// The kind of object.
    pub kind: &'a str,
    /// Which object.
    pub id: &'a str,
    /// Which part of it.
    pub field: &'a str,
}

impl Place<'_> {
    /// Each part with its length in front, so that no two places are written alike.
    fn encoded(&self) -> Vec<u8> {
        let mut out = b"doorward seal 1".to_vec();
        for part in [self.store, self.kind, self.id, self.field] {
            out.extend((part.len() as u64).to_be_bytes());
            out.extend(part.as_bytes());
        }
        out
    }
}

/// Why something sealed does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// None of the ring's keys has sealed it.
    #[error(
        "sealed with key {id}, which {} lacks: put that key's line back into the file", file.display()
    )]
    UnknownKey {
        /// The key's id.
        id: String,
        /// The file of the ring.
        file: PathBuf,
    },
    /// Changed, cut, moved to another place, or sealed by another key of the same name.
    #[error("sealed data is damaged, or was put where it does not belong: restore it from a backup")]
    Damaged,
}

/// What is wrong with a file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is no key.
    #[error("{}:{line}: not a key: KEYID and 32 bytes in base64, one key a line", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Two keys of one name.
    #[error("{}: key {id} stands there twice: remove the one that is wrong", file.display())]
    Twice {
        /// Which file.
        file: PathBuf,
        /// The name.
        id: Arc<str>,
    },
    /// No key.
    #[error("{} holds no key: restore it from where you keep it", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// The key to be removed is not there.
    #[error("{} has no key {id}", file.display())]
    NoSuchKey {
        /// Which file.
        file: PathBuf,
        /// The name.
        id: String,
    },
    /// The key to be removed is the one that seals.
    #[error("key {id} is the one that seals: add another and seal everything anew first")]
    Seals {
        /// The name.
        id: String,
    },
}

/// The keys of a file: the first seals, all open.
#[derive(Debug)]
pub struct Keyring {
    file: PathBuf,
    first: Named,
    older: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    id: Arc<str>,
    key: Key,
}

impl Keyring {
    /// Reads `file`: lines of `KEYID BASE64`, empty ones and those that begin with `#` left out.
    pub fn read(file: &Path) -> Result<Self, KeyringError> {
        let text = private::read(file)?;
        let mut keys: Vec<Named> = Vec::new();
        for (number, line) in text.expose().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |()| KeyringError::Line { file: file.to_owned(), line: number + 1 };
            let named: Named = line.parse().map_err(bad)?;
            if keys.iter().any(|other| other.id == named.id) {
                return Err(KeyringError::Twice { file: file.to_owned(), id: named.id });
            }
            keys.push(named);
        }
        if keys.is_empty() {
            return Err(KeyringError::Empty { file: file.to_owned() });
        }
        let first = keys.remove(0);
        Ok(Self { file: file.to_owned(), first, older: keys })
    }

    /// Makes `file` with one random key; a file that is there stays, and is an error.
    pub fn create(file: &Path) -> Result<Self, KeyringError> {
        let text =
            format!("# Keys of sealed secrets: the first seals, all open. Keep a copy.\n{}\n", random_line());
        private::create(file, &Secret::new(text))?;
        Self::read(file)
    }

    /// Puts a new random key before the others, and gives its id.
    pub fn add(file: &Path) -> Result<Arc<str>, KeyringError> {
        Self::read(file)?;
        let line = random_line();
        let text = format!("{line}\n{}", private::read(file)?.expose());
        private::replace(file, &Secret::new(text))?;
        Ok(Self::read(file)?.first.id)
    }

    /// Takes the key `id` out; what it alone has sealed opens no more.
    pub fn remove(file: &Path, id: &str) -> Result<(), KeyringError> {
        let ring = Self::read(file)?;
        if &*ring.first.id == id {
            return Err(KeyringError::Seals { id: id.to_owned() });
        }
        if ring.key(id).is_none() {
            return Err(KeyringError::NoSuchKey { file: file.to_owned(), id: id.to_owned() });
        }
        let text = private::read(file)?;
        let kept = text.expose().lines().filter(|line| line.split_whitespace().next() != Some(id));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        Ok(private::replace(file, &Secret::new(kept))?)
    }

    /// Where the keys stand.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The ids of all keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.older).map(|named| &*named.id)
    }

    /// The id of the key that seals.
    pub fn sealing(&self) -> &str {
        &self.first.id
    }

    /// `secret`, sealed for `place`: `1.KEYID.BASE64`.
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> String {
        format!("1.{}.{}", self.first.id, seal_under(&self.first.key, place, secret))
    }

    /// What was sealed for `place`.
    pub fn open(&self, place: &Place<'_>, sealed: &str) -> Result<Secret<Vec<u8>>, SealError> {
        let (id, data) = parts(sealed).ok_or(SealError::Damaged)?;
        let unknown = || SealError::UnknownKey { id: id.to_owned(), file: self.file.clone() };
        open_under(self.key(id).ok_or_else(unknown)?, place, data)
    }

    /// What only this ring's keys can open, to be kept in `store`: see [`Keyring::proves`].
    pub fn proof(&self, store: &str) -> String {
        self.seal(&Place { store, kind: "proof", id: "", field: "" }, b"")
    }

    /// Whether this ring has the key that made `proof` for `store`; a gateway that has not must not start.
    pub fn proves(&self, store: &str, proof: &str) -> Result<(), SealError> {
        self.open(&Place { store, kind: "proof", id: "", field: "" }, proof).map(|_| ())
    }

    fn key(&self, id: &str) -> Option<&Key> {
        let all = std::iter::once(&self.first).chain(&self.older);
        all.into_iter().find(|named| &*named.id == id).map(|named| &named.key)
    }
}

/// The id of the key that has sealed `sealed`; empty if it is nothing sealed.
pub fn key_of(sealed: &str) -> &str {
    parts(sealed).map_or("", |(id, _)| id)
}

fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix("1.")?.split_once('.')
}

impl FromStr for Named {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split_whitespace();
        let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else { return Err(()) };
        let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if id.len() > 32 || !id.bytes().all(is_name) {
            return Err(());
        }
        let key = STANDARD.decode(key).ok().and_then(|key| key.try_into().ok()).ok_or(())?;
        Ok(Self { id: id.into(), key: Secret::new(key) })
    }
}

fn random_line() -> String {
    let id: [u8; 4] = random();
    format!("k{:08x} {}", u32::from_be_bytes(id), STANDARD.encode(random::<32>()))
}

/// Bytes nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source answers");
    bytes
}

fn cipher(key: &Key) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.expose()).expect("32 bytes are a key"))
}

/// Base64 of a random nonce and the ciphertext. A nonce of 96 random bits is safe for 2^32 messages a key
/// (NIST SP 800-38D, 8.3, whose argument holds for every nonce of that length).
pub(crate) fn seal_under(key: &Key, place: &Place<'_>, secret: &[u8]) -> String {
    let nonce: [u8; NONCE_LEN] = random();
    let mut data = secret.to_vec();
    let aad = Aad::from(place.encoded());
    let sealed = cipher(key).seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut data);
    sealed.expect("no secret of ours is 256 GiB long");
    STANDARD.encode([&nonce[..], &data].concat())
}

/// What [`seal_under`] has sealed for `place`.
pub(crate) fn open_under(key: &Key, place: &Place<'_>, sealed: &str) -> Result<Secret<Vec<u8>>, SealError> {
    let data = STANDARD.decode(sealed).map_err(|_| SealError::Damaged)?;
    let (nonce, text) = data.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
    let mut text = text.to_vec();
    let aad = Aad::from(place.encoded());
    let opened = cipher(key).open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text);
    let length = opened.map_err(|_| SealError::Damaged)?.len();
    text.truncate(length);
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use proptest::{array, collection, prelude::*, sample};

    use super::*;
    use crate::folder::Folder;

    const PLACE: Place<'_> = Place { store: "s", kind: "secret", id: "tls", field: "key" };

    #[test]
    fn keys_rotate_while_what_they_sealed_opens() {
        let folder = Folder::new("keyring");
        let file = folder.path().join("seal.key");
        let old = Keyring::create(&file).unwrap();
        let (first, proof) = (old.seal(&PLACE, b"hunter2"), old.proof("s"));
        assert!(matches!(Keyring::create(&file), Err(KeyringError::File(_))), "what is there stays");
        let id = Keyring::add(&file).unwrap();
        let ring = Keyring::read(&file).unwrap();
        assert_eq!((ring.sealing(), key_of(&ring.seal(&PLACE, b""))), (&*id, &*id));
        assert_eq!(ring.open(&PLACE, &first).unwrap().expose(), b"hunter2");
        ring.proves("s", &proof).unwrap();
        assert!(matches!(Keyring::remove(&file, &id), Err(KeyringError::Seals { .. })));
        assert!(matches!(Keyring::remove(&file, "nobody"), Err(KeyringError::NoSuchKey { .. })));
        Keyring::remove(&file, old.sealing()).unwrap();
        let error = Keyring::read(&file).unwrap().proves("s", &proof).unwrap_err();
        assert_eq!(error, SealError::UnknownKey { id: old.sealing().to_owned(), file: file.clone() });
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn another_key_of_the_same_name_proves_nothing() {
        let folder = Folder::new("proof");
        let ring = |name: &str, byte: u8| {
            let file = folder.path().join(name);
            let line = format!("# a key\n\nk1 {}\n", STANDARD.encode([byte; 32]));
            private::create(&file, &Secret::new(line)).unwrap();
            Keyring::read(&file).unwrap()
        };
        let (right, wrong) = (ring("a", 1), ring("b", 2));
        assert_eq!(wrong.proves("s", &right.proof("s")), Err(SealError::Damaged));
        assert_eq!(right.proves("other", &right.proof("s")), Err(SealError::Damaged));
        assert!(!format!("{right:?}").contains(&STANDARD.encode([1; 32])), "keys are not printed");
    }

    #[test]
    fn a_bad_file_says_what_is_wrong() {
        let folder = Folder::new("badring");
        let file = folder.path().join("seal.key");
        let key = STANDARD.encode([7; 32]);
        let said = |text: &str| {
            private::replace(&file, &Secret::new(text.to_owned())).unwrap();
            let error = Keyring::read(&file).unwrap_err().to_string();
            assert!(!error.contains(&key), "{error}");
            error
        };
        assert!(said("").contains("holds no key"));
        assert!(said(&format!("# x\n{key}\n")).contains("seal.key:2: not a key"));
        assert!(said("k1 AAAA\n").contains(":1: not a key"));
        assert!(said(&format!("k.1 {key}\n")).contains(":1: not a key"), "a dot ends the id");
        assert!(said(&format!("k1 {key}\nk1 {key}\n")).contains("twice"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keyring::read(&file).unwrap_err().to_string().contains("chmod 600"));
    }

    fn ring() -> Keyring {
        let first = Named { id: "k1".into(), key: Secret::new([3; 32]) };
        Keyring { file: "seal.key".into(), first, older: Vec::new() }
    }

    fn place([store, kind, id, field]: &[String; 4]) -> Place<'_> {
        Place { store, kind, id, field }
    }

    proptest! {
        #[test]
        fn it_opens_where_it_was_sealed(secret in collection::vec(any::<u8>(), 0..200)) {
            let opened = ring().open(&PLACE, &ring().seal(&PLACE, &secret)).unwrap();
            prop_assert_eq!(opened.expose(), &secret);
        }

        #[test]
        fn it_opens_nowhere_else(here in array::uniform4("[a-c]{0,3}"), there in array::uniform4("[a-c]{0,3}")) {
            prop_assume!(here != there);
            let sealed = ring().seal(&place(&here), b"x");
            prop_assert_eq!(ring().open(&place(&there), &sealed).unwrap_err(), SealError::Damaged);
        }

        #[test]
        fn what_was_changed_or_cut_does_not_open(at in any::<sample::Index>(), byte in any::<u8>()) {
            let sealed = ring().seal(&PLACE, b"hunter2");
            let mut changed = sealed.clone().into_bytes();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            if let Ok(changed) = String::from_utf8(changed) {
                prop_assert!(ring().open(&PLACE, &changed).is_err());
            }
            prop_assert!(ring().open(&PLACE, &sealed[..at]).is_err());
        }
    }
}
