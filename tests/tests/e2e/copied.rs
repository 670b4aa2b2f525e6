//! C14: a configuration file is a credential; a copy of it on a second machine is noticed by its use.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    album::Album,
    company::{DESK, ECHO, GATEWAY},
    device::Device,
    gateway::product,
    office::{DOOR, Office, Opening, WIKI_PAGE},
    probe::{Ending, drain, echo},
    scene::Scene,
    wait::eventually,
};

use crate::portal::{browser, enter};

tests::tests![
    a_copied_configuration_suspends_until_its_person_signs_in,
    a_phone_between_two_networks_is_left_alone
];

/// The text a person is handed, brought up at one port for good, so that a place is recognised.
fn up(scene: &Scene, machine: &str, host: &str, number: u8) -> Result<Device> {
    let text = scene.device_text(machine)?.replacen("[Interface]", "[Interface]\nListenPort = 51830", 1);
    let key = &scene.company.machine(machine)?.key;
    Device::up(scene.world.device(host, number)?, &text, key, GATEWAY)
}

/// What `doorward-device status --json` says on a device.
fn standing(device: &Device) -> Result<Value> {
    let mut command = product(device.host(), "doorward-device")?;
    command.args(["status", "--json", "--gateway", GATEWAY]);
    let output = device.host().run(&command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&said).with_context(|| format!("{said} {}", String::from_utf8_lossy(&output.stderr)))
}

fn a_copied_configuration_suspends_until_its_person_signs_in() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.more = "label = \"Corp\"\n".to_owned();
    let office = Office::with(opening)?;
    let laptop = up(&office.scene, "laptop", "laptop", 10)?;
    let browser = browser(&office, &laptop)?;
    browser.goto(WIKI_PAGE)?;
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "mine")?;
    // Each takes the tunnel from the other, as both do by themselves every quarter of a minute.
    let copy = up(&office.scene, "laptop", "copy", 66)?;
    for _ in 0..2 {
        laptop.reconnect(GATEWAY)?;
        copy.reconnect(GATEWAY)?;
    }
    assert!(copy.refusal(&format!("{DESK}:{ECHO}")).is_ok(), "the thief has nothing of it");
    let thieves = standing(&copy)?;
    assert_eq!(thieves["session"]["state"], "suspended", "{thieves}");
    drop(copy);
    laptop.reconnect(GATEWAY)?;
    // Told at once or, if the thief had the tunnel then, as soon as it goes on.
    ensure!(flow.write_all(b"mine?").is_err() || drain(&mut flow)?.1 == Ending::Reset, "the flow goes on");
    assert!(laptop.refusal(&format!("{DESK}:{ECHO}")).is_ok());
    let told = standing(&laptop)?;
    assert_eq!(told["session"]["state"], "suspended", "{told}");
    ensure!(told["session"]["why"].as_str().is_some_and(|why| why.contains("copied")), "{told}");
    let audited = office.scene.admin("audit grep suspended --json")?;
    ensure!(audited.contains("used from two places"), "{audited}");
    office.scene.gateway.process()?.wait_for("10.77.0.66:51830")?;
    browser.goto(DOOR)?;
    ensure!(browser.text("main")?.contains("used from two places"), "{}", browser.text("main")?);
    Album::new(laptop.host().folder()).look(&browser, "suspended")?;

    browser.click("a:text('Sign in with Corp')")?;
    browser.wait_for_url(&format!("{DOOR}/"))?;
    assert_eq!(browser.title()?, "Your apps");
    assert_eq!(standing(&laptop)?["session"]["state"], "active");
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "mine again")
}

/// Data moves the endpoint, and now and then a handshake falls into a stay.
fn a_phone_between_two_networks_is_left_alone() -> Result<()> {
    let office = Office::open()?;
    let laptop = up(&office.scene, "laptop", "laptop", 10)?;
    let browser = browser(&office, &laptop)?;
    browser.goto(WIKI_PAGE)?;
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    for _ in 0..4 {
        for (address, port) in [("10.77.0.70/24", 51870), ("10.77.0.10/24", 51830)] {
            laptop.roam(address, port)?;
            laptop.wait_until_connected(GATEWAY)?;
            echo(&mut flow, "on the way")?;
            let here = format!("{}:{port}", address.trim_end_matches("/24"));
            eventually(&format!("the gateway sends to {here}"), || {
                office.scene.status().ok()?.to_string().contains(&here).then_some(())
            })?;
        }
    }
    assert_eq!(standing(&laptop)?["session"]["state"], "active");
    echo(&mut flow, "never cut")
}
