//! Hostile packets, inside and outside the tunnel, and the running gateway: each is dropped by its
//! reason, nothing of it arrives anywhere, and whoever behaves is served meanwhile.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    company::{DESK, ECHO, GATEWAY},
    device::Device,
    hostile::{self, FLOOD, INNER, LISTEN, OUTER},
    probe::echo,
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    packets_no_honest_device_sends_are_dropped_by_reason,
    datagrams_no_honest_peer_sends_are_dropped_by_reason,
    a_device_that_floods_hurts_no_other,
    a_flood_of_handshakes_locks_nobody_out,
    an_old_initiation_gets_nowhere_after_a_restart,
    forged_data_makes_no_amplifier,
];

/// The laptop attacks; the phone, which may do the same, is who must be served.
fn two_of_staff() -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    Scene::with(plan)
}

/// The phone uses both kinds of app, on connections of their own; all of it must work.
fn use_apps(phone: &Device, times: usize) -> Result<()> {
    for _ in 0..times {
        echo(&mut phone.dial(&format!("{DESK}:{ECHO}"))?, "still served")?;
        ensure!(phone.code(&["http://wiki.corp.example/"])? == 200);
    }
    Ok(())
}

/// Every counter of the packet core.
fn counters(scene: &Scene) -> Result<BTreeMap<String, u64>> {
    let status = scene.status()?;
    let counters = status["tunnel"]["counters"].as_object().context("no counters")?;
    Ok(counters.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect())
}

fn wait_for_all(
    scene: &Scene,
    before: &BTreeMap<String, u64>,
    expected: &BTreeMap<String, u64>,
) -> Result<()> {
    for (name, least) in expected {
        let had = before.get(name).with_context(|| format!("there is no counter {name}"))?;
        scene.wait_for_counter(name, had + least - 1)?;
    }
    Ok(())
}

/// D2: every reserved source and destination, odd flags, options, extension headers, fragments, lengths
/// and checksums, from inside a session. No counter moves but those that name these reasons.
fn packets_no_honest_device_sends_are_dropped_by_reason() -> Result<()> {
    let scene = two_of_staff()?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    hostile::open_wide(&laptop)?;
    let before = counters(&scene)?;
    let port = ECHO.to_string();
    let own = ["100.64.0.10", "fd00:d00:d00:1::a", DESK, "fd50::9", &port];
    let attack = hostile::start(laptop.host(), INNER, &own, "wrong_source")?;
    let expected = attack.text().lines().next().context("it tells what to expect")?.to_owned();
    let expected: BTreeMap<String, u64> = serde_json::from_str(&expected)?;
    wait_for_all(&scene, &before, &expected)?;
    assert_eq!(scene.echo.accepted(), 0);
    use_apps(&phone, 3)?;
    drop(attack);
    let moved = counters(&scene)?.into_iter().filter(|(name, now)| before.get(name) != Some(now));
    let ours = [
        "handshake",
        "passed_in",
        "passed_out",
        "flow_held",
        "flow_admitted",
        "flow_accepted",
        "dns_query",
        "echo_answered",
        "icmp_limited",
        "queue_full",
    ];
    let strange: Vec<_> =
        moved.filter(|(name, _)| !expected.contains_key(name) && !ours.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "counted elsewhere: {strange:?}");
    assert_eq!(scene.echo.accepted(), 3, "only the phone reached the service");
    Ok(())
}

/// Every kind in every length, up to the longest datagram there is.
fn datagrams_no_honest_peer_sends_are_dropped_by_reason() -> Result<()> {
    let scene = two_of_staff()?;
    let phone = scene.device("phone")?;
    let before = counters(&scene)?;
    let mallory = scene.world.device("mallory", 30)?;
    let _attack = hostile::start(&mallory, OUTER, &["garbage"], "sending")?;
    let reasons = ["not_wireguard", "handshake_invalid", "unknown_session"];
    wait_for_all(&scene, &before, &reasons.map(|name| (name.to_owned(), 100)).into())?;
    use_apps(&phone, 3)?;
    let after = counters(&scene)?;
    assert_eq!(after.get("rehandshake"), before.get("rehandshake"), "a stranger was answered");
    Ok(())
}

/// D10: SYNs, stray segments, UDP and fragments, thousands a second from one device.
fn a_device_that_floods_hurts_no_other() -> Result<()> {
    let scene = two_of_staff()?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    hostile::open_wide(&laptop)?;
    let mut open = phone.dial(&format!("{DESK}:{ECHO}"))?;
    for (kind, counted) in [
        ("syn", "held_limit"),
        ("stray", "reset_limited"),
        ("udp", "icmp_limited"),
        ("fragments", "fragment"),
    ] {
        let before = scene.counter(counted)?;
        let flood = hostile::start(laptop.host(), FLOOD, &[kind, "100.64.0.10", DESK, "7999"], "flooding")?;
        scene.wait_for_counter(counted, before + 500)?;
        use_apps(&phone, 5).with_context(|| format!("during a flood of {kind}"))?;
        echo(&mut open, "and what was open stays").with_context(|| format!("during a flood of {kind}"))?;
        drop(flood);
    }
    Ok(())
}

/// D8: mac1-valid initiations from sources that are nobody's. Who is connected goes on, who is not connects.
fn a_flood_of_handshakes_locks_nobody_out() -> Result<()> {
    let scene = two_of_staff()?;
    let laptop = scene.device("laptop")?;
    let mut open = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    let public = laptop.host().sh("wg", &["show", "wg0", "peers"])?;
    let before = counters(&scene)?;
    let mallory = scene.world.device("mallory", 30)?;
    let _attack = hostile::start(&mallory, OUTER, &["initiations", public.trim()], "sending")?;
    let expected = [("handshake_invalid", 500), ("cookie_sent", 500)];
    wait_for_all(&scene, &before, &expected.map(|(name, least)| (name.to_owned(), least)).into())?;
    echo(&mut open, "undisturbed")?;
    use_apps(&scene.device("phone")?, 3)?;
    use_apps(&laptop, 3)
}

/// Where the gateway believes a device to be.
fn endpoint(scene: &Scene, device: &str) -> Result<Value> {
    let status = scene.status()?;
    let peers = status["tunnel"]["peers"].as_array().context("no peers")?;
    let peer = peers.iter().find(|peer| peer["device"] == device).context("no such peer")?;
    Ok(peer["endpoint"].clone())
}

/// Ends the laptop's client, keeps where it was, and starts the gateway anew: its sessions are lost.
fn restarted_without_the_laptop(scene: &mut Scene, laptop: Device) -> Result<String> {
    let written = scene.gateway.folder().join("state/peers.json");
    let at = endpoint(scene, "laptop")?;
    let at = at.as_str().context("the laptop has an endpoint")?.to_owned();
    eventually("the gateway has written down where the laptop is", || {
        std::fs::read_to_string(&written).ok()?.contains(&at).then_some(())
    })?;
    drop(laptop);
    scene.restart_gateway()?;
    Ok(at)
}

/// D14: a handshake that was overheard, played again from elsewhere to a gateway that lost all sessions.
fn an_old_initiation_gets_nowhere_after_a_restart() -> Result<()> {
    let mut scene = two_of_staff()?;
    let ear = hostile::start(&scene.world.gw, LISTEN, &[], "listening")?;
    let laptop = scene.device("laptop")?;
    let overheard = ear.wait_for("initiation ")?;
    let overheard = overheard.split_whitespace().nth(1).context("a datagram")?;
    let at = restarted_without_the_laptop(&mut scene, laptop)?;
    let before = counters(&scene)?;
    let mallory = scene.world.device("mallory", 30)?;
    let _attack = hostile::start(&mallory, OUTER, &["replay", "10.77.0.30", "40000", overheard], "sending")?;
    wait_for_all(&scene, &before, &[("handshake_replayed".to_owned(), 10)].into())?;
    let after = counters(&scene)?;
    assert_eq!(after.get("handshake"), before.get("handshake"), "a replay was answered");
    assert_eq!(endpoint(&scene, "laptop")?.as_str(), Some(at.as_str()), "the endpoint moved");
    use_apps(&scene.device("phone")?, 1)
}

/// D15: data of no session, with the source of a peer that is known and with that of a stranger.
fn forged_data_makes_no_amplifier() -> Result<()> {
    let mut scene = two_of_staff()?;
    let laptop = scene.device("laptop")?;
    laptop.wait_until_connected(GATEWAY)?;
    let at = restarted_without_the_laptop(&mut scene, laptop)?;
    let (address, port) = at.rsplit_once(':').context("an endpoint has a port")?;
    let mallory = scene.world.device("mallory", 30)?;
    let (before, start) = (counters(&scene)?, Instant::now());
    let attack = hostile::start(&mallory, OUTER, &["data", address, port], "sending")?;
    wait_for_all(&scene, &before, &[("rehandshake_limited".to_owned(), 1000)].into())?;
    drop(attack);
    // One for the first datagram, and one for each second since.
    let answers = scene.counter("rehandshake")?;
    assert!((1..=start.elapsed().as_secs() + 2).contains(&answers), "{answers} answers");
    let before = counters(&scene)?;
    let _attack = hostile::start(&mallory, OUTER, &["data", "10.77.0.30", "40000"], "sending")?;
    wait_for_all(&scene, &before, &[("unknown_session".to_owned(), 1000)].into())?;
    let answered = scene.counter("rehandshake")?;
    assert!(answered <= answers + 1, "a stranger was answered");
    Ok(())
}
