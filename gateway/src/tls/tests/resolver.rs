//! Which certificate is shown for which name, and for how long.

use std::sync::Arc;

use super::{super::*, files::Folder, *};

fn certificates(names: &[&str], authority: Option<Authority>) -> Certificates {
    let ours = Names::default();
    ours.put(names.iter().map(|name| (*name).to_owned()).collect());
    Certificates::new(ours, authority)
}

#[test]
fn only_names_that_are_ours_have_a_certificate() {
    let certificates = certificates(&["wiki.corp.example"], Some(authority(now())));
    assert!(certificates.of("wiki.corp.example", now()).is_some());
    assert!(certificates.of("vault.corp.example", now()).is_none());
    certificates.names().put(["vault.corp.example".to_owned()].into());
    assert!(certificates.of("wiki.corp.example", now()).is_none());
    assert!(certificates.of("vault.corp.example", now()).is_some());
    certificates.put_authority(None);
    assert!(certificates.of("vault.corp.example", now()).is_none(), "nothing is left of the old authority");
}

#[test]
fn what_files_hold_comes_first_and_a_wildcard_is_for_one_label() {
    let folder = Folder::new();
    let names = ["wiki.corp.example", "desk.corp.example", "a.b.corp.example", "corp.example"];
    let certificates = certificates(&names, Some(authority(now())));
    let shown = |name| certificates.of(name, now()).expect("a certificate");
    let wiki = folder.read("wiki", &["wiki.corp.example"], 90);
    let wide = folder.read("wide", &["*.corp.example"], 90);
    certificates.put_files(vec![wiki.clone(), wide.clone()]);
    assert!(Arc::ptr_eq(&shown("wiki.corp.example"), wiki.certified()));
    assert!(Arc::ptr_eq(&shown("desk.corp.example"), wide.certified()));
    for own in ["a.b.corp.example", "corp.example"] {
        assert!(!Arc::ptr_eq(&shown(own), wide.certified()), "{own}");
    }
    assert!(certificates.of("else.corp.example", now()).is_none(), "a wildcard makes no name ours");
    assert!(
        wide.covers("desk.corp.example") && !wide.covers("a.b.corp.example") && !wide.covers("corp.example")
    );
}

#[test]
fn a_certificate_is_issued_once_and_anew_when_a_third_of_its_life_is_left() {
    let certificates = certificates(&["wiki.corp.example"], Some(authority(now())));
    let at = |days_later| certificates.of("wiki.corp.example", now().plus(days(days_later))).expect("one");
    let first = at(0);
    assert!(Arc::ptr_eq(&first, &at(19)));
    let second = at(20);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(39)));
    assert!(!Arc::ptr_eq(&second, &at(5)), "it is not good yet on a clock that was set back");
}
