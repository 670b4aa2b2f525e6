//! Files that are right, wrong, replaced and about to expire.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{
    super::{files::look, *},
    days, leaf,
};
use crate::{config::KeyFileError, health::Health, testing::Company};

/// Certificates signed by themselves, in files.
pub struct Folder(Company);

impl Folder {
    pub fn new() -> Self {
        Self(Company::new("", ""))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.folder().join(name)
    }

    /// `NAME.pem` and `NAME.key`, good from yesterday until `good_for` days from today.
    pub fn write(&self, name: &str, hosts: &[&str], good_for: u64) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.not_before = (SystemTime::now() - days(1)).into();
        params.not_after = (SystemTime::now() + days(good_for)).into();
        let certificate = params.self_signed(&key).expect("signed");
        self.put(&format!("{name}.pem"), &certificate.pem(), 0o644);
        self.put(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    }

    /// By a rename, as certbot and cert-manager do.
    fn put(&self, name: &str, text: &str, mode: u32) {
        let fresh = self.path("fresh");
        fs::write(&fresh, text).expect("written");
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).expect("its mode");
        fs::rename(fresh, self.path(name)).expect("in place");
    }

    fn try_read(&self, chain: &str, key: &str) -> Result<FileCertificate, FileError> {
        FileCertificate::read(&self.path(chain), &self.path(key))
    }

    pub fn read(&self, name: &str, hosts: &[&str], good_for: u64) -> Arc<FileCertificate> {
        self.write(name, hosts, good_for);
        Arc::new(self.try_read(&format!("{name}.pem"), &format!("{name}.key")).expect("a certificate"))
    }
}

#[test]
fn a_certificate_says_its_names() {
    let read = Folder::new().read("wiki", &["Wiki.corp.example", "*.apps.corp.example"], 90);
    assert_eq!(read.names(), ["wiki.corp.example", "*.apps.corp.example"]);
}

#[test]
fn each_mistake_has_its_words() {
    let folder = Folder::new();
    folder.write("a", &["a.corp.example"], 90);
    folder.write("b", &["b.corp.example"], 90);
    folder.write("none", &[], 90);
    fs::write(folder.path("text.pem"), "hello").expect("written");
    let failed = |chain, key| folder.try_read(chain, key).expect_err("a mistake");
    assert!(matches!(failed("a.pem", "b.key"), FileError::OtherKey { .. }));
    assert!(matches!(failed("a.pem", "a.pem"), FileError::Key(KeyFileError::Open { .. })));
    assert!(matches!(failed("gone.pem", "a.key"), FileError::Read { .. }));
    assert!(matches!(failed("text.pem", "a.key"), FileError::Chain { .. }));
    assert!(matches!(failed("none.pem", "none.key"), FileError::NoName { .. }));
    fs::set_permissions(folder.path("a.key"), fs::Permissions::from_mode(0o640)).expect("its mode");
    assert!(failed("a.pem", "a.key").to_string().contains("chmod 600"));
}

fn states(health: &Health) -> Vec<String> {
    health.states_now().into_iter().map(|state| state.name.into_owned()).collect()
}

#[tokio::test]
async fn what_is_replaced_is_taken_over_and_what_is_broken_is_not() {
    let (folder, health) = (Folder::new(), Health::default());
    let names = Names::default();
    names.put(["wiki.corp.example".to_owned()].into());
    let certificates = Certificates::new(names, None);
    certificates.put_files(vec![folder.read("wiki", &["wiki.corp.example"], 90)]);
    let shown = || leaf(&certificates.of("wiki.corp.example", super::now()).expect("one")).clone();
    let first = shown();
    look(&certificates, &health).await;
    assert_eq!((shown(), states(&health)), (first.clone(), Vec::new()), "nothing has changed");

    folder.put("wiki.pem", "nonsense", 0o644);
    look(&certificates, &health).await;
    assert_eq!((shown(), states(&health)), (first.clone(), vec!["tls_certificate".to_owned()]));

    folder.write("wiki", &["wiki.corp.example"], 90);
    look(&certificates, &health).await;
    assert_ne!(shown(), first);
    assert_eq!(states(&health), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_said() {
    let (folder, health) = (Folder::new(), Health::default());
    let certificates = Certificates::new(Names::default(), None);
    certificates.put_files(vec![folder.read("wiki", &["wiki.corp.example"], 13)]);
    look(&certificates, &health).await;
    assert_eq!(states(&health), ["tls_certificate_expires"]);
    folder.write("wiki", &["wiki.corp.example"], 15);
    look(&certificates, &health).await;
    assert_eq!(states(&health), Vec::<String>::new());
}
