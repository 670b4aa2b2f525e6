//! A provider that ends sessions by itself: OpenID Connect Back-Channel Logout, from the real provider to the
//! gateway's listener on the internet.

use std::{io::Read, path::Path};

use anyhow::{Result, ensure};
use tests::{
    authority::Authority,
    company::{DESK, ECHO},
    office::{DOOR, Office, Opening, WIKI_PAGE},
    person::Person,
};

tests::tests![who_signs_out_at_the_provider_has_nothing_open_when_it_is_told_so];

/// Where the listener's own authority keeps its files.
const FOLDER: &str = "/run/world-join";
const NAME: &str = "join.corp.example";
/// Of the gateway, on the internet.
const ADDRESS: &str = "10.77.0.1";
const PORT: u16 = 8444;

/// An office whose provider hears of us, and whom we hear of.
fn office() -> Result<Office> {
    let authority = Authority::new(Path::new(FOLDER), "join-ca")?;
    let certificate = authority.issue(&[NAME])?;
    let mut opening = Opening::new()?;
    opening.plan.company.more = format!(
        "[join]\nlisten = [\"{ADDRESS}:{PORT}\"]\n[[tls.certificate]]\nchain = {:?}\nkey = {:?}\n",
        certificate.certificate, certificate.key
    );
    opening.setup.trust = Some(authority.pem().to_owned());
    opening.setup.hosts.insert(NAME, ADDRESS);
    opening.backchannel = Some(format!("https://{NAME}:{PORT}/backchannel-logout/corp"));
    Office::with(opening)
}

fn who_signs_out_at_the_provider_has_nothing_open_when_it_is_told_so() -> Result<()> {
    let office = office()?;
    let (laptop, phone) = (office.scene.device("laptop")?, office.scene.device("phone")?);
    let (alice, bob) = (Person::at(&office, &laptop, "alice")?, Person::at(&office, &phone, "bob")?);
    assert_eq!(alice.signs_in(WIKI_PAGE, "alice")?.status, 200);
    ensure!(bob.signs_in(&format!("{DOOR}/sign-in"), "bob")?.body.contains("Sign out"), "Bob is in");
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    let told = office.provider.backchannel_logout("alice")?;
    assert_eq!(told.get("doorward").map(String::as_str), Some("told"), "{told:?}");
    // It has taken effect before it was answered.
    let page = alice.look(WIKI_PAGE)?;
    ensure!(page.status == 302 && page.location.starts_with(&format!("{DOOR}/sign-in")), "{page:?}");
    let ended = flow.read(&mut [0; 1]);
    ensure!(matches!(ended, Err(_) | Ok(0)), "{ended:?}");
    ensure!(bob.open(DOOR)?.body.contains("Sign out"), "Bob is in all the same");
    let events = office.scene.admin("audit grep signed")?;
    ensure!(events.contains("the provider says that the person signed out there"), "{events}");
    Ok(())
}
