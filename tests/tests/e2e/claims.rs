//! What a provider says of people, and what is believed of it (C12).

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    company::{Machine, Person as Employee},
    device::Device,
    mirror::fields,
    office::{DOOR, Office, Opening, WIKI_PAGE},
    person::Person,
};

tests::tests![
    an_address_that_is_not_verified_or_of_another_company_is_told_to_nobody,
    a_list_of_groups_that_is_not_whole_signs_nobody_in,
    groups_are_the_providers_own_whatever_they_are_called,
];

/// What a device is told of its session.
pub fn session(device: &Device) -> Result<Value> {
    let told: Value = serde_json::from_str(&device.page(&["http://door.corp.example/device"])?)?;
    Ok(told["session"].clone())
}

fn an_address_that_is_not_verified_or_of_another_company_is_told_to_nobody() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let told = [("ceo@corp.example", false), ("ceo@evil.example", true), ("ceo@evil.example", false)];
    for (number, (email, verified)) in told.into_iter().enumerate() {
        office.provider.set_email("alice", email, verified)?;
        let alice = Person::at(&office, &laptop, &format!("alice-{number}"))?;
        alice.signs_in(&format!("{DOOR}/sign-in"), "alice")?;
        let page = alice.open(WIKI_PAGE)?;
        assert_eq!(fields(&page.body, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{page:?}");
        for said in [page.body, alice.open(DOOR)?.body, office.scene.admin("user show corp/alice --json")?] {
            ensure!(!said.contains("ceo@"), "{email}, verified {verified}: {said}");
        }
    }
    Ok(())
}

fn a_list_of_groups_that_is_not_whole_signs_nobody_in() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let sources = json!({ "src1": { "endpoint": "https://graph.example/groups" } });
    let lists = [
        json!({ "groups": null, "_claim_names": { "groups": "src1" }, "_claim_sources": sources }),
        json!({ "groups": ["staff"], "_claim_names": { "groups": "src1" }, "_claim_sources": sources }),
        json!({ "groups": null, "_claim_names": null, "_claim_sources": null, "hasgroups": true }),
        json!({ "hasgroups": null, "groups": "staff" }),
        json!({ "groups": ["staff", 7] }),
    ];
    for (number, list) in lists.iter().enumerate() {
        office.provider.change("alice", list)?;
        let alice = Person::at(&office, &laptop, &format!("alice-{number}"))?;
        let page = alice.signs_in(WIKI_PAGE, "alice")?;
        assert_eq!(page.status, 502, "{list}: {page:?}");
        ensure!(
            page.body.contains("You are not signed in") && page.body.contains("groups"),
            "{list}: {page:?}"
        );
        assert_eq!(session(&laptop)?, Value::Null, "{list}");
    }
    office.scene.gateway.process()?.wait_for("groups")?;
    assert!(office.scene.mirror.heads().is_empty());
    office.provider.set_groups("alice", &["staff"])?;
    let page = Person::at(&office, &laptop, "alice-whole")?.signs_in(WIKI_PAGE, "alice")?;
    assert_eq!(page.status, 200, "{page:?}");
    Ok(())
}

const PARTNERS: &str = r#"
@id("partners")
permit (principal in Doorward::Group::"partner/admins", action in Doorward::Action::"access",
        resource == Doorward::App::"vault");
"#;

fn groups_are_the_providers_own_whatever_they_are_called() -> Result<()> {
    let mut opening = Opening::new()?;
    let company = &mut opening.plan.company;
    company.people.push(Employee { id: "corp/mallory", groups: vec![], disabled: false });
    company.machines.push(Machine::new("loaner", "corp/mallory", 13)?);
    company.policies.insert("partners", PARTNERS.to_owned());
    let office = Office::with(opening)?;
    let loaner = office.scene.device("loaner")?;
    let groups = ["partner/admins", "corp/staff", "../corp/staff", "STAFF", "staff/", "/staff", "corp", ""];
    let claims = json!({ "groups": groups, "email": "alice@corp.example", "name": "Alice Archer" });
    office.provider.change("mallory", &claims)?;
    let mallory = Person::at(&office, &loaner, "mallory")?;
    let portal = mallory.signs_in(&format!("{DOOR}/sign-in"), "mallory")?;
    assert_eq!(portal.status, 200, "{portal:?}");
    assert_eq!(session(&loaner)?["user"], "corp/mallory", "{}", session(&loaner)?);
    for page in [WIKI_PAGE, "https://vault.corp.example/"] {
        let refused = mallory.open(page)?;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    assert!(office.scene.mirror.heads().is_empty());
    let known = office.scene.admin("user show corp/mallory --json")?;
    for group in ["\"partner/admins\"", "\"corp/staff\""] {
        ensure!(!known.contains(group), "{known}");
    }
    Ok(())
}
