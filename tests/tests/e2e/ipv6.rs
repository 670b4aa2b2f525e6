//! IPv6 is no second-class citizen: outside, where devices and connectors find the gateway, and
//! inside, where apps have addresses of both families.

use std::io::ErrorKind;

use anyhow::Result;
use tests::{
    company::{DESK, ECHO},
    mirror::field,
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
};

tests::tests![devices_and_connectors_reach_the_gateway_over_ipv6, apps_are_reached_and_cut_over_ipv6,];

const DESK_V6: &str = "fd00:d00:d00:2::9";

fn devices_and_connectors_reach_the_gateway_over_ipv6() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.outside = "[fd77::1]";
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    for target in [DESK.to_owned(), format!("[{DESK_V6}]")] {
        echo(&mut laptop.dial(&format!("{target}:{ECHO}"))?, "over IPv6 outside")?;
    }
    let head = laptop.page(&["http://wiki.corp.example/"])?;
    assert_eq!(field(&head, "X-Forwarded-User"), Some("corp/alice"));
    let status = scene.status()?;
    let seen_at = |place: &str, address: &str| {
        let rows = status.pointer(place).and_then(|rows| rows.as_array());
        let from = |row: &serde_json::Value| {
            [&row["endpoint"], &row["remote"]]
                .iter()
                .any(|end| end.as_str().is_some_and(|end| end.starts_with(address)))
        };
        rows.is_some_and(|rows| rows.iter().any(from))
    };
    assert!(seen_at("/tunnel/peers", "[fd77::10]:"), "{status}");
    assert!(seen_at("/connectors", "[fd77::3]:"), "{status}");
    Ok(())
}

fn apps_are_reached_and_cut_over_ipv6() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for (name, address) in [("wiki.corp.example", "fd00:d00:d00:2::7"), ("desk.corp.example", DESK_V6)] {
        let known = laptop.host().sh("getent", &["ahostsv6", name])?;
        assert!(known.starts_with(&format!("{address} ")), "{name} has the addresses {known}");
    }
    let target = format!("[{DESK_V6}]:{ECHO}");
    let mut flow = laptop.dial(&target)?;
    echo(&mut flow, "over IPv6 inside")?;
    assert_eq!(laptop.code(&["-6", "http://wiki.corp.example/"])?, 200);
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    assert_eq!(laptop.refusal(&target)?, ErrorKind::ConnectionRefused);
    assert_eq!(laptop.code(&["-6", "http://wiki.corp.example/"])?, 403);
    Ok(())
}
