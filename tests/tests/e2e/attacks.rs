//! The attacks our peers fell for, played against the running product; `walls/cases.rs` keeps the list.
//! Each would succeed if the defence it names were removed.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::{SocketAddrV4, TcpStream},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use nix::{
    libc::linger,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
    },
};
use serde_json::Value;
use tests::{
    company::{DESK, ECHO, GATEWAY, SERVER},
    connector::{Connector, TARGETS},
    device::{Device, KeyPair},
    host::Host,
    probe::{drain, echo},
    sandbox::TWO_FACED,
    scene::{Plan, Scene},
    streams::{Manner, Stream},
    wait::eventually,
};

tests::tests![
    another_source_address_gets_nowhere,
    a_connector_dials_nothing_special_whatever_the_gateway_asks,
    a_name_is_dialled_by_the_address_that_was_judged,
    a_connector_dials_nothing_its_own_list_lacks,
    a_sibling_on_the_same_address_stays_shut,
    one_port_used_again_and_again_gets_its_own_decision,
    a_connector_with_another_key_gets_nowhere_and_is_named,
    a_connector_trusts_no_gateway_with_another_key,
    a_device_with_an_unknown_key_gets_nowhere_and_is_named,
    a_removed_device_gets_no_new_handshake,
    a_device_restored_at_once_recovers_untouched,
    a_policy_that_cannot_be_evaluated_denies,
    no_secret_is_ever_said,
];

/// D1, D2: only the device's own addresses come out of its tunnel.
fn another_source_address_gets_nowhere() -> Result<()> {
    let mut plan = Plan::new()?;
    // Bob may do what Alice may: nothing but the check of the source stands in the way.
    plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    let v4 = format!("http://{DESK}:{ECHO}/");
    let v6 = format!("http://[fd50::9]:{ECHO}/");
    let sources = [
        ("100.64.0.11/32", &v4),  // the phone's
        ("100.64.0.200/32", &v4), // nobody's
        ("10.50.0.7/32", &v4),
        ("192.0.2.1/32", &v4),
        ("fd00:d00:d00:1::b/128", &v6),
        ("fd50::7/128", &v6),
    ];
    for (source, target) in sources {
        laptop.ip(&format!(
            "address add {source} dev wg0 {}",
            if source.contains(':') { "nodad" } else { "" }
        ))?;
        let before = scene.counter("wrong_source")?;
        let mut curl = laptop.host().command("curl")?;
        let address = source.split('/').next().context("an address")?;
        curl.args(["--disable", "--silent", "--noproxy", "*", "--interface", address, target.as_str()]);
        let _trying = laptop.host().start("curl", curl)?;
        scene.wait_for_counter("wrong_source", before).with_context(|| format!("from {source}"))?;
    }
    assert_eq!(scene.echo.accepted(), 0);
    Ok(())
}

/// The port of the app with this number: spellings of one address need ports of their own.
fn port(number: usize) -> Result<u16> {
    Ok(ECHO + 100 + u16::try_from(number)?)
}

/// Apps whose targets a connector must not dial, at ports where something listens on its own machine.
fn scene_with_targets(targets: &[&str], own_rule: &'static str) -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.targets = own_rule;
    for (number, target) in targets.iter().enumerate() {
        plan.company.more += &format!(
            "[[app]]\nname = \"odd-{number}\"\nsite = \"fra\"\nkind = \"tcp\"\nhosts = [\"odd-{number}.corp.example\"]\n\
             ports = [{}]\ntarget = {target:?}\naddress = \"100.64.129.{number}\"\ngroups = [\"staff\"]\n",
            port(number)?
        );
    }
    Scene::with(plan)
}

/// Somebody listens on every one of the ports, on every host a connector might reach; nobody is reached.
fn assert_shut(scene: &Scene, count: usize) -> Result<()> {
    let hosts = [&scene.world.site, &scene.world.servers, &scene.world.gw];
    let mut listeners = Vec::new();
    for (number, host) in (0..count).flat_map(|number| hosts.map(|host| (number, host))) {
        listeners.push(Stream::listen(host, port(number)?, Manner::Echo)?);
    }
    let laptop = scene.device("laptop")?;
    for number in 0..count {
        let kind = laptop.refusal(&format!("100.64.129.{number}:{}", port(number)?))?;
        let refused = [ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable, ErrorKind::PermissionDenied];
        assert!(refused.contains(&kind), "target {number}: {kind}");
    }
    assert_eq!(listeners.iter().map(Stream::accepted).sum::<usize>(), 0);
    Ok(())
}

/// D3: loopback, link-local, cloud metadata and the connector's own addresses, in every spelling.
fn a_connector_dials_nothing_special_whatever_the_gateway_asks() -> Result<()> {
    let targets = [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.2",
        "64:ff9b::7f00:3",
        "169.254.169.254",
        "fe80::1",
        "10.50.0.1",
        "10.77.0.3",
        "localhost",
    ];
    let everything = r#"["0.0.0.0/0", "::/0"]"#;
    assert_shut(&scene_with_targets(&targets, everything)?, targets.len())
}

/// D3: a name that has a permitted address and another one leads to the permitted one alone.
fn a_name_is_dialled_by_the_address_that_was_judged() -> Result<()> {
    let scene = scene_with_targets(&[TWO_FACED], r#"["10.50.0.7/32"]"#)?;
    let decoy = Stream::listen(&scene.world.site, port(0)?, Manner::Echo)?;
    let server = Stream::listen(&scene.world.servers, port(0)?, Manner::Echo)?;
    echo(&mut scene.device("laptop")?.dial(&format!("100.64.129.0:{}", port(0)?))?, "judged")?;
    assert_eq!((decoy.accepted(), server.accepted()), (0, 1));
    Ok(())
}

/// C1: the site's own list stands above the gateway's wishes.
fn a_connector_dials_nothing_its_own_list_lacks() -> Result<()> {
    let targets = ["10.50.0.10", "fd50::9", "10.77.0.1"];
    assert_shut(&scene_with_targets(&targets, r#"["10.50.0.7/32"]"#)?, targets.len())
}

/// D7: `wiki` and `vault` are one address at the site; who may have the one gets not the other.
fn a_sibling_on_the_same_address_stays_shut() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    assert_eq!(laptop.code(&["http://wiki.corp.example/"])?, 200);
    assert_eq!(laptop.code(&["http://vault.corp.example/"])?, 403);
    let before = scene.mirror.heads().len();
    let as_vault = ["--header", "Host: vault.corp.example"];
    assert_eq!(laptop.code(&[as_vault, ["--url", "http://wiki.corp.example/"]].concat())?, 421);
    let absolute =
        ["--request-target", "http://vault.corp.example/", "--path-as-is", "http://wiki.corp.example/"];
    assert!([400, 421].contains(&laptop.code(&absolute)?));
    assert_eq!(scene.mirror.heads().len(), before, "the app saw a request for its sibling");
    // Past the front, straight to the address both share.
    if let Ok(mut flow) = laptop.dial("10.50.0.7:8080") {
        flow.write_all(b"GET / HTTP/1.1\r\nHost: vault.corp.example\r\nConnection: close\r\n\r\n")?;
        drain(&mut flow)?;
    }
    assert_eq!(scene.mirror.heads().len(), before, "the shared address is reachable past both apps");
    Ok(())
}

/// D13: connect, reset, connect again from one port, with the decision changed in between.
fn one_port_used_again_and_again_gets_its_own_decision() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for _ in 0..20 {
        let mut flow = dial_from(laptop.host(), 40_000)?;
        echo(&mut flow, "mine")?;
        reset(flow)?;
    }
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    let denied = dial_from(laptop.host(), 40_000).map(drop).map_err(|error| error.kind());
    assert_eq!(denied, Err(ErrorKind::ConnectionRefused));
    Ok(())
}

/// Connects to the echo service from a port of our choice.
fn dial_from(host: &Host, port: u16) -> std::io::Result<TcpStream> {
    let target = format!("{DESK}:{ECHO}").parse::<SocketAddrV4>().map_err(std::io::Error::other)?;
    host.within(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(target))?;
        Ok(TcpStream::from(socket))
    })
}

fn reset(flow: TcpStream) -> Result<()> {
    setsockopt(&flow, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

/// C3 at the gateway: a stranger's key is no connector, and the operator can see it knocking.
fn a_connector_with_another_key_gets_nowhere_and_is_named() -> Result<()> {
    let scene = Scene::start()?;
    let stranger = Connector::prepare(&scene.world.site, "stranger")?;
    let process = stranger.start(&scene.world.site, &scene.gateway.pin, TARGETS)?;
    process.expect_errors();
    eventually("the status names the unknown key", || {
        scene.status().ok()?.to_string().contains(&stranger.pin).then_some(())
    })?;
    let status = scene.status()?;
    let linked = |row: &&Value| !row["connected_since"].is_null();
    assert_eq!(status["connectors"].as_array().map(|rows| rows.iter().filter(linked).count()), Some(1));
    Ok(())
}

/// C3 at the connector: the gateway that answers must be the one it was told of.
fn a_connector_trusts_no_gateway_with_another_key() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.connectors.clear();
    let scene = Scene::with(plan)?;
    let connector = Connector::prepare(&scene.world.site, "fra-1")?;
    // A well-formed pin, of another key.
    let process = connector.start(&scene.world.site, &connector.pin, TARGETS)?;
    process.expect_errors();
    process.wait_for(&scene.gateway.pin).context("the connector names the key it met")?;
    Ok(())
}

/// A key nobody registered is not answered, and is shown to the operator who may be waiting for it.
fn a_device_with_an_unknown_key_gets_nowhere_and_is_named() -> Result<()> {
    let scene = Scene::start()?;
    let text = scene.device_text("laptop")?;
    let stranger = KeyPair::fresh()?;
    let device = Device::start(scene.world.device("stranger", 30)?, &text, &stranger)?;
    named(&scene, &device, &stranger)
}

/// C8: the same for a device that was removed: its key is a stranger's from then on.
fn a_removed_device_gets_no_new_handshake() -> Result<()> {
    let mut scene = Scene::start()?;
    let text = scene.device_text("laptop")?;
    let key = scene.company.machine("laptop")?.key.clone();
    scene.change(|company| {
        company.machines.retain(|machine| machine.name != "laptop");
        Ok(())
    })?;
    let device = Device::start(scene.world.device("laptop", 10)?, &text, &key)?;
    named(&scene, &device, &key)
}

fn named(scene: &Scene, device: &Device, key: &KeyPair) -> Result<()> {
    let mut ping = device.host().command("ping")?;
    ping.args(["-i", "0.2", GATEWAY]);
    let ping = device.host().start("ping", ping)?;
    eventually("the status names the unknown key", || {
        scene.status().ok()?.to_string().contains(&key.public).then_some(())
    })?;
    assert!(!ping.text().contains("bytes from"), "{}", ping.text());
    Ok(())
}

/// C11: Cedar skips a forbid that errs; we deny, and say which.
fn a_policy_that_cannot_be_evaluated_denies() -> Result<()> {
    let mut plan = Plan::new()?;
    let overflow = r#"@id("overflow") forbid (principal, action == Doorward::Action::"connect", resource)
        when { context.port + 9223372036854775807 == 0 };"#;
    plan.company.policies.insert("overflow", overflow.to_owned());
    let scene = Scene::with(plan)?;
    scene.gateway.process()?.expect_errors();
    let laptop = scene.device("laptop")?;
    for target in [format!("{DESK}:{ECHO}"), format!("{SERVER}:{ECHO}")] {
        assert_eq!(laptop.refusal(&target)?, ErrorKind::ConnectionRefused);
    }
    assert_eq!(scene.echo.accepted(), 0);
    scene.gateway.process()?.wait_for("overflow").map(drop)
}

/// D9: taken away and given back while the client looks elsewhere; it is not touched.
fn a_device_restored_at_once_recovers_untouched() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let machines = std::mem::take(&mut scene.company.machines);
    scene.change(|_| Ok(()))?;
    scene.change(|company| {
        company.machines = machines;
        Ok(())
    })?;
    laptop.wait_until_connected(GATEWAY)?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "again")
}

/// H12, C2: no private key in any log, answer or page, whatever happened.
fn no_secret_is_ever_said() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut said = vec![scene.device_text("laptop")?];
    for page in ["http://wiki.corp.example/", "http://vault.corp.example/"] {
        said.push(String::from_utf8_lossy(&laptop.curl(&["--include", page])?.stdout).into_owned());
    }
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "seen")?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = None))?;
    said.push(scene.status()?.to_string());
    said.push(scene.gateway.ask(&scene.world.gw, &["status"])?);
    said.push(scene.gateway.process()?.text());
    said.push(scene.connector("fra-1")?.text());
    let mut secrets = vec![scene.company.machine("laptop")?.key.private.clone()];
    let (gateway, connector) = (scene.gateway.folder(), scene.world.site.folder().join("fra-1"));
    for file in [gateway.join("gateway.key"), gateway.join("link.key"), connector.join("connector.key")] {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // Bare, or in the frame of a PEM file.
        secrets.extend(text.lines().filter(|line| !line.starts_with("--")).map(str::to_owned));
    }
    for secret in &secrets {
        assert!(!said.iter().any(|text| text.contains(secret)), "a private key was said");
    }
    Ok(())
}
