//! What the root may vouch for, by its own words and by webpki's.

use std::sync::Arc;

use protocol::time::Timestamp;
use rustls::{
    CertificateError, Error,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::ServerName,
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

use super::{super::*, *};

fn verify(authority: &Authority, shown: &CertifiedKey, name: &str, at: Timestamp) -> Result<(), Error> {
    let roots = Arc::new(trusting(authority));
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()));
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let verifier = verifier.build().expect("a verifier");
    verifier.verify_server_cert(leaf(shown), &[], &name, &[], unix(at)).map(|_| ())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_certificate_is_good_for_its_names_and_its_time() {
    let authority = authority(now());
    let names = names(&["wiki.corp.example", "docs.corp.example"]);
    let shown = authority.issue(&names, now()).expect("issued");
    for name in &names {
        assert_eq!(verify(&authority, &shown, name, now()), Ok(()));
        assert_eq!(verify(&authority, &shown, name, now().plus(days(29))), Ok(()));
    }
    assert!(verify(&authority, &shown, "vault.corp.example", now()).is_err());
    let late = verify(&authority, &shown, "wiki.corp.example", now().plus(days(31)));
    assert!(
        matches!(late, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))),
        "{late:?}"
    );
}

#[test]
fn the_root_says_what_it_may() {
    let authority = authority(now());
    let (_, root) = parse_x509_certificate(authority.root_der()).expect("a certificate");
    assert_eq!(root.subject().to_string(), "CN=Doorward corp.example access CA");
    let basic = root.basic_constraints().expect("readable").expect("there");
    assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(0));
    let usage = root.key_usage().expect("readable").expect("there").value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    let constraints = root.name_constraints().expect("readable").expect("there");
    assert!(constraints.critical);
    let excluded = constraints.value.excluded_subtrees.as_ref().map(Vec::len);
    assert_eq!(excluded, Some(2), "no address of either family");
    assert_eq!(authority.fingerprint().len(), 32 * 3 - 1);
    assert!(authority.until() > now().plus(days(3650)));
}

#[test]
fn names_outside_the_zones_are_not_vouched_for() {
    let authority = authority(now());
    assert!(authority.covers("wiki.corp.example") && authority.covers("corp.example"));
    for foreign in ["evilcorp.example", "example", "bank.example", "10.0.0.1"] {
        assert!(!authority.covers(foreign), "{foreign}");
        let refused = authority.issue(&names(&["wiki.corp.example", foreign]), now());
        assert!(matches!(refused, Err(AuthorityError::Foreign(_))), "{foreign}");
        // Even a stolen key gets nobody further: the root itself says so.
        let forged = authority.sign(&names(&[foreign]), now()).expect("signed");
        let verified = verify(&authority, &forged, foreign, now());
        assert!(matches!(verified, Err(Error::InvalidCertificate(_))), "{foreign}: {verified:?}");
        let mixed = authority.sign(&names(&["wiki.corp.example", foreign]), now()).expect("signed");
        assert!(verify(&authority, &mixed, "wiki.corp.example", now()).is_err(), "{foreign}");
    }
}

#[test]
fn a_key_and_a_root_that_do_not_belong_together_are_refused() {
    let make = || Authority::create(&names(&["corp.example"]), now()).expect("made");
    let ((pem, key), (_, other)) = (make(), make());
    assert!(Authority::load(&pem, &key).is_ok());
    assert!(matches!(Authority::load(&pem, &other), Err(AuthorityError::OtherKey)));
    assert!(matches!(Authority::load("", &key), Err(AuthorityError::Unreadable)));
    assert!(matches!(Authority::create(&[], now()), Err(AuthorityError::NoZones)));
    assert!(!format!("{:?}", Authority::load(&pem, &key)).contains("PRIVATE"));
}

#[test]
fn a_root_for_every_name_is_refused() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let pem = params.self_signed(&key).expect("signed").pem();
    let loaded = Authority::load(&pem, &protocol::config::Secret::new(key.serialize_pem()));
    assert!(matches!(loaded, Err(AuthorityError::Unlimited)));
}

#[test]
fn an_expired_root_issues_nothing() {
    let authority = authority(now());
    let issued = authority.issue(&names(&["wiki.corp.example"]), now().plus(days(3700)));
    assert!(matches!(issued, Err(AuthorityError::Expired)));
}
