//! Whose word counts for what: addresses, groups, ids (C12).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::oidc::spec::GroupsAllowed;

fn spec() -> ProviderSpec {
    let mut spec = ProviderSpec::new("corp".parse().unwrap(), "https://idp.example", "doorward");
    spec.domains = vec!["corp.example".to_owned()];
    spec.groups.allowed = GroupsAllowed::All;
    spec
}

fn claims(value: Value) -> Claims {
    value.as_object().cloned().unwrap()
}

fn standing(spec: &ProviderSpec, id: Value, userinfo: Option<Value>) -> Result<Standing, SignInError> {
    let (id, userinfo) = (claims(id), userinfo.map(claims));
    spec.standing(&Sources { id: Some(&id), userinfo: userinfo.as_ref() })
}

fn groups(of: &Standing) -> Vec<&str> {
    of.groups.iter().map(GroupId::as_str).collect()
}

#[test]
fn an_address_counts_if_it_is_verified_and_of_an_own_domain() {
    let verified = |email: &str| json!({ "email": email, "email_verified": true, "groups": [] });
    let email = |id: Value| standing(&spec(), id, None).unwrap();
    for (written, read) in [
        ("alice@corp.example", "alice@corp.example"),
        ("Alice@CORP.Example", "Alice@corp.example"),
        ("a.l+x@corp.example", "a.l+x@corp.example"),
    ] {
        assert_eq!(email(verified(written)).email.as_deref(), Some(read));
    }
    for foreign in [
        "alice@evil.example",
        "alice@sub.corp.example",
        "alice@corp.example.evil.example",
        "alice@evilcorp.example",
        "alice@corp.example.",
        "alice@evil.example@corp.example",
        "\"alice@evil.example \"@corp.example",
        "alice@corp.example\n",
        "<alice@corp.example>",
        "@corp.example",
        "alice",
        "alice@",
    ] {
        let standing = email(verified(foreign));
        assert_eq!(standing.email, None, "{foreign}");
        assert_eq!(standing.notes.len(), 1, "{foreign}: {:?}", standing.notes);
        assert!(!standing.notes[0].contains("alice"), "no address in a note: {:?}", standing.notes);
    }
}

#[test]
fn an_address_that_is_not_verified_is_dropped() {
    let of = |verified: Value| {
        let id = json!({ "email": "alice@corp.example", "email_verified": verified, "groups": [] });
        standing(&spec(), id, None).unwrap().email
    };
    for no in [json!(false), json!(null), json!("false"), json!("TRUE"), json!(1), json!([true])] {
        assert_eq!(of(no.clone()), None, "{no}");
    }
    for yes in [json!(true), json!("true")] {
        assert!(of(yes.clone()).is_some(), "{yes}");
    }
    let absent = json!({ "email": "alice@corp.example", "groups": [] });
    assert_eq!(standing(&spec(), absent, None).unwrap().email, None);
    // An address of one place is not verified by the word of another.
    let (id, userinfo) =
        (json!({ "email": "alice@corp.example", "groups": [] }), json!({ "email_verified": true }));
    assert_eq!(standing(&spec(), id, Some(userinfo)).unwrap().email, None);
}

#[test]
fn without_domains_no_address_counts() {
    let spec = ProviderSpec { domains: Vec::new(), ..spec() };
    let id = json!({ "email": "alice@corp.example", "email_verified": true, "groups": [] });
    let standing = standing(&spec, id, None).unwrap();
    assert_eq!((standing.email, standing.notes), (None, vec![]));
}

#[test]
fn groups_are_named_after_their_provider_unless_mapped() {
    let mut spec = spec();
    let names = [("8c1f", "corp/ops"), ("Domain Admins", "corp/admins")];
    spec.groups.names = names.map(|(name, id)| (name.to_owned(), id.parse().unwrap())).into();
    let id = json!({ "groups": ["8c1f", "Domain Admins", "dev", "other/ops", "a,b", "x\n", "dev"] });
    let standing = standing(&spec, id, None).unwrap();
    assert_eq!(groups(&standing), ["corp/admins", "corp/dev", "corp/ops", "corp/other/ops"]);
    assert_eq!(standing.notes.len(), 1);
    assert!(standing.notes[0].contains("\"a,b\", \"x?\""), "{:?}", standing.notes);
}

#[test]
fn a_provider_speaks_only_for_groups_it_may() {
    let mut spec = spec();
    spec.groups.allowed = GroupsAllowed::Named(BTreeSet::from(["dev".to_owned()]));
    spec.groups.names = BTreeMap::from([("8c1f".to_owned(), "corp/ops".parse().unwrap())]);
    let many: Vec<_> = (0..30).map(|i| format!("g{i}")).chain(["dev".into(), "8c1f".into()]).collect();
    let standing = standing(&spec, json!({ "groups": many }), None).unwrap();
    assert_eq!(groups(&standing), ["corp/dev", "corp/ops"]);
    assert!(
        standing.notes[0].contains("g9") && standing.notes[0].contains("20 more"),
        "{:?}",
        standing.notes
    );
}

#[test]
fn a_list_that_may_not_be_whole_is_refused() {
    let many: Vec<_> = (0..2001).map(|i| i.to_string()).collect();
    let names = json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": {} } });
    for (id, why) in [
        (names.clone(), Incomplete::Elsewhere),
        (json!({ "hasgroups": true }), Incomplete::Elsewhere),
        (json!({ "hasgroups": "true", "groups": ["a"] }), Incomplete::Elsewhere),
        (json!({ "groups": many }), Incomplete::TooMany),
        (json!({ "groups": "https://graph.example/me/groups" }), Incomplete::NoList),
        (json!({ "groups": "admins" }), Incomplete::NoList),
        (json!({ "groups": ["a", 1] }), Incomplete::NoList),
        (json!({ "groups": [["a"]] }), Incomplete::NoList),
        (json!({ "groups": { "a": true } }), Incomplete::NoList),
        (json!({ "groups": 7 }), Incomplete::NoList),
    ] {
        let refused = standing(&spec(), id.clone(), None);
        let claim = "groups".to_owned();
        assert_eq!(refused, Err(SignInError::Groups { claim: claim.clone(), why }), "{id}");
        let by_userinfo = standing(&spec(), json!({}), Some(id.clone()));
        assert_eq!(by_userinfo, Err(SignInError::Groups { claim, why }), "{id}");
    }
    // Who takes no groups misses none.
    let mut none = spec();
    none.groups.allowed = GroupsAllowed::Named(BTreeSet::new());
    assert_eq!(groups(&standing(&none, names, None).unwrap()), [""; 0]);
    assert!(standing(&spec(), json!({ "groups": vec!["a"; 2000] }), None).is_ok());
}

#[test]
fn an_absent_list_is_empty_unless_userinfo_has_one() {
    for absent in [json!({}), json!({ "groups": null })] {
        let standing = standing(&spec(), absent, None).unwrap();
        assert_eq!((groups(&standing), standing.notes.len()), (vec![], 1));
    }
    let by_userinfo = standing(&spec(), json!({}), Some(json!({ "groups": ["dev"] }))).unwrap();
    assert_eq!((groups(&by_userinfo), by_userinfo.notes.len()), (vec!["corp/dev"], 0));
    let token_first = standing(&spec(), json!({ "groups": [] }), Some(json!({ "groups": ["dev"] }))).unwrap();
    assert_eq!(groups(&token_first), [""; 0]);
}

#[test]
fn what_is_absent_is_absent() {
    let id = claims(json!({ "sub": "1", "groups": [] }));
    let signed_in = signed_in(&spec(), &id, None, None).unwrap();
    assert_eq!(signed_in.user.as_str(), "corp/1");
    assert_eq!((signed_in.auth_time, signed_in.acr, signed_in.sid), (None, None, None));
    assert!(signed_in.amr.is_empty() && signed_in.standing.email.is_none());
}

#[test]
fn a_person_is_who_the_configured_claim_says() {
    let id = claims(json!({ "sub": "s", "oid": "o" }));
    assert_eq!(spec().user(&id).unwrap().as_str(), "corp/s");
    let oid = ProviderSpec { id_claim: IdClaim::Oid, ..spec() };
    assert_eq!(oid.user(&id).unwrap().as_str(), "corp/o");
    assert!(matches!(
        oid.user(&claims(json!({ "sub": "s" }))),
        Err(SignInError::MissingClaim { claim, .. }) if claim == "oid"
    ));
    for bad in ["a b", "a,b", "a\u{0}", &"x".repeat(129)] {
        let refused = spec().user(&claims(json!({ "sub": bad })));
        assert!(matches!(refused, Err(SignInError::Subject(_))), "{bad:?}");
    }
}
