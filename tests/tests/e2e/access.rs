//! Who gets through, and how the others are turned away.
//! Decisions are taken at the gateway; these tests look from the device's side only.

use std::io::ErrorKind;

use anyhow::Result;
use tests::{
    company::{CLOSED, DESK, ECHO, SERVER, SERVER_V6, VAULT, WIKI},
    mirror::{field, fields},
    probe::echo,
    scene::{Plan, Scene},
};

tests::tests![
    a_healthy_device_reaches_apps_by_name,
    a_healthy_device_reaches_subnets_over_both_families,
    decisions_are_compared_with_cedars_own,
    the_app_is_told_who_is_there,
    an_unhealthy_device_is_refused,
    a_device_nobody_vouches_for_is_refused,
    a_person_no_policy_names_is_refused,
    an_unhealthy_person_gets_a_page_that_says_why,
    refused_is_refused,
    unreachable_says_so,
    what_nobody_declared_is_refused,
    the_gateway_and_other_devices_are_refused,
    names_outside_the_zones_and_unknown_names_have_no_address,
];

pub fn a_healthy_device_reaches_apps_by_name() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for family in ["-4", "-6"] {
        let head = laptop.page(&[family, "http://wiki.corp.example/start?a=b"])?;
        assert!(head.starts_with("GET /start?a=b HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(&head, "host"), Some("wiki.corp.example"));
    }
    assert!(laptop.page(&[&format!("http://{WIKI}/")]).is_err(), "a bare address is not a name of the app");
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "through the connector")
}

pub fn a_healthy_device_reaches_subnets_over_both_families() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for server in [SERVER_V6, "10.50.0.7"] {
        echo(&mut laptop.dial(&format!("{server}:{ECHO}"))?, "broad route")?;
    }
    Ok(())
}

fn decisions_are_compared_with_cedars_own() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "the first decision is one that is compared")?;
    scene.wait_for_counter("compared", 0)?;
    assert_eq!(scene.counter("mismatches")?, 0);
    Ok(())
}

fn the_app_is_told_who_is_there() -> Result<()> {
    let scene = Scene::start()?;
    let head = scene.device("laptop")?.page(&["http://wiki.corp.example/"])?;
    for (name, value) in IDENTITY {
        assert_eq!(fields(&head, name).collect::<Vec<_>>(), [value], "{name} in {head}");
    }
    Ok(())
}

const IDENTITY: [(&str, &str); 3] = [
    ("X-Forwarded-User", "corp/alice"),
    ("X-Forwarded-Email", "alice@corp.example"),
    ("X-Forwarded-Groups", "corp/staff"),
];

fn an_unhealthy_device_is_refused() -> Result<()> {
    refused_after(|plan| plan.company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))
}

fn a_device_nobody_vouches_for_is_refused() -> Result<()> {
    refused_after(|plan| plan.company.machine_mut("laptop").map(|laptop| laptop.encrypted = None))
}

fn a_person_no_policy_names_is_refused() -> Result<()> {
    refused_after(|plan| plan.company.person_mut("corp/alice").map(|alice| alice.groups.clear()))
}

fn refused_after(edit: impl FnOnce(&mut Plan) -> Result<()>) -> Result<()> {
    let mut plan = Plan::new()?;
    edit(&mut plan)?;
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    for target in [format!("{DESK}:{ECHO}"), format!("{SERVER}:{ECHO}"), format!("{SERVER_V6}:{ECHO}")] {
        assert_eq!(laptop.refusal(&target)?, ErrorKind::ConnectionRefused, "{target}");
    }
    assert_eq!(laptop.code(&["http://wiki.corp.example/"])?, 403);
    assert!(scene.mirror.heads().is_empty(), "a denied request reached the app");
    Ok(())
}

fn an_unhealthy_person_gets_a_page_that_says_why() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.machine_mut("laptop")?.encrypted = Some(false);
    let scene = Scene::with(plan)?;
    let output = scene.device("laptop")?.curl(&["http://wiki.corp.example/"])?;
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("Disk encryption is off"), "no reason: {page}");
    assert!(page.contains("Turn on disk encryption"), "no remedy: {page}");
    Ok(())
}

fn refused_is_refused() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    assert_eq!(laptop.refusal(&format!("{DESK}:{CLOSED}"))?, ErrorKind::ConnectionRefused);
    let output = laptop.curl(&[&format!("http://{DESK}:{CLOSED}/")])?;
    assert_eq!(output.status.code(), Some(7), "curl does not say: could not connect");
    Ok(())
}

fn unreachable_says_so() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    assert_eq!(laptop.refusal(&format!("10.50.0.66:{ECHO}"))?, ErrorKind::HostUnreachable);
    Ok(())
}

fn what_nobody_declared_is_refused() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    // A port the app does not declare, an address no app has, and a routed network that is no resource.
    for target in [format!("{DESK}:22"), "100.64.200.200:80".to_owned(), "10.50.7.7:80".to_owned()] {
        assert_eq!(laptop.refusal(&target)?, ErrorKind::ConnectionRefused, "{target}");
    }
    assert_eq!(laptop.refusal(&format!("{VAULT}:8080"))?, ErrorKind::ConnectionRefused);
    Ok(())
}

fn the_gateway_and_other_devices_are_refused() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let before = scene.counter("no_resource").unwrap_or(0);
    // The gateway's addresses and the phone's, over both families.
    let targets = ["100.64.0.1:22", "[fd00:d00:d00::1]:22", "100.64.0.11:22", "[fd00:d00:d00:1::b]:22"];
    for target in targets {
        assert_eq!(laptop.refusal(target)?, ErrorKind::ConnectionRefused, "{target}");
    }
    assert_eq!(scene.counter("no_resource")?, before + targets.len() as u64);
    Ok(())
}

fn names_outside_the_zones_and_unknown_names_have_no_address() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for name in ["nosuch.corp.example", "www.example.org", "use-application-dns.net"] {
        let output = laptop.curl(&[&format!("http://{name}/")])?;
        assert_eq!(output.status.code(), Some(6), "curl resolved {name}");
    }
    Ok(())
}
