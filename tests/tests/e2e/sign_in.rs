//! People sign in through the tunnel: a real provider, stock clients.

use anyhow::{Result, ensure};
use tests::{
    mirror::fields,
    office::{DOOR, Office, WIKI_PAGE},
    person::Person,
};

tests::tests![a_person_signs_in_on_the_way_to_a_page];

fn a_person_signs_in_on_the_way_to_a_page() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let before = alice.look(&format!("{WIKI_PAGE}a%2Fb?c=d"))?;
    assert_eq!(before.status, 302, "{before:?}");
    ensure!(before.location.starts_with(&format!("{DOOR}/sign-in?to=")), "{before:?}");
    assert!(laptop.refusal("100.64.128.9:7000").is_ok(), "a reset");
    let page = alice.signs_in(&format!("{WIKI_PAGE}a%2Fb?c=d"), "alice")?;
    assert_eq!((page.status, page.url.as_str()), (200, "https://wiki.corp.example/a%2Fb?c=d"), "{page:?}");
    assert_eq!(fields(&page.body, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{page:?}");
    laptop.dial("100.64.128.9:7000")?;
    let portal = alice.open(DOOR)?;
    ensure!(portal.body.contains("wiki.corp.example") && portal.body.contains("Sign out"), "{portal:?}");
    Ok(())
}
