//! UDP and ping by stock clients, through a connector and by the gateway itself, in both families.
//! What is refused is refused at once; what is open dies with the right to it.

use std::{io::ErrorKind, net::UdpSocket};

use anyhow::{Result, ensure};
use tests::{
    company::{Company, DESK, ECHO, SERVER, SERVER_V6, STAFF},
    connections::Connections,
    datagrams::{Answering, Asking},
    device::Device,
    host::Host,
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    payloads_of_every_size_come_back,
    the_gateway_itself_reaches_its_local_site,
    ping_goes_through_where_the_kernel_lets_it,
    refused_datagrams_are_refused_at_once,
    a_posture_edit_cuts_datagrams,
    a_policy_edit_cuts_datagrams,
    removing_the_user_cuts_datagrams,
    a_flood_of_flows_leaves_another_device_alone,
    a_lost_connector_is_replaced,
];

const SERVICE: u16 = 9000;

/// The service is no app's: the subnet leads to it.
fn service(host: &Host, address: &str) -> Result<Answering> {
    Answering::listen(host, &format!("{address}:{SERVICE}"))
}

fn asking(device: &Device, address: &str) -> Result<Asking> {
    Asking::of(device.host(), &format!("{address}:{SERVICE}"))
}

/// An ordinary socket, then answers that only fragments carry.
fn exchange(socket: &Asking) -> Result<()> {
    for size in [0, 1, 512, 1200, 1372] {
        socket.echo(&vec![b'x'; size])?;
    }
    for size in [1392, 1393, 4000, 30_000, 65_507] {
        let came = socket.ask(format!("{size} please").as_bytes())?.len();
        ensure!(came == size, "asked for {size} bytes, {came} came");
    }
    Ok(())
}

fn payloads_of_every_size_come_back() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for address in [SERVER, SERVER_V6] {
        let _service = service(&scene.world.servers, address)?;
        exchange(&asking(&laptop, address)?)?;
    }
    asking(&laptop, SERVER)?.echo(&[b'x'; 1392])?;
    let status = scene.status()?;
    let rows = status["flows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |address: &str| {
        let to = format!("{address}:{SERVICE}");
        rows.iter()
            .any(|row| row["proto"] == "udp" && row["to"] == to.as_str() && row["connector"] == "fra-1")
    };
    ensure!(shown(SERVER) && shown(SERVER_V6), "{status}");
    ensure!(scene.counter("datagrams_dropped")? == 0, "{status}");
    Ok(())
}

/// A site `local` on the internet of the world, where the connector's host serves.
const LOCAL: &str = r#"
[local]
allow = ["10.77.0.3", "fd77::3"]

[[subnet]]
name = "near-v4"
site = "local"
cidr = "10.77.0.0/24"
groups = ["staff"]

[[subnet]]
name = "near-v6"
site = "local"
cidr = "fd77::/64"
groups = ["staff"]
"#;

/// Only these two of the outer network go through the tunnel, or the tunnel itself would.
fn route(laptop: &Device) -> Result<()> {
    let peer = laptop.host().sh("wg", &["show", "wg0", "peers"])?;
    laptop.host().sh("wg", &["set", "wg0", "peer", peer.trim(), "allowed-ips", ALLOWED])?;
    for address in ["10.77.0.3/32", "fd77::3/128"] {
        laptop.ip(&format!("route add {address} dev wg0"))?;
    }
    Ok(())
}

const ALLOWED: &str = "100.64.0.0/16,fd00:d00:d00::/48,10.50.0.0/16,fd50::/64,10.77.0.3/32,fd77::3/128";

fn the_gateway_itself_reaches_its_local_site() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.more = LOCAL.to_owned();
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    route(&laptop)?;
    for address in ["10.77.0.3", "[fd77::3]"] {
        let _service = service(&scene.world.site, address)?;
        exchange(&asking(&laptop, address)?)?;
    }
    let closed = Asking::of(laptop.host(), "10.77.0.3:9")?;
    closed.send(b"?")?;
    ensure!(closed.refusal()? == ErrorKind::ConnectionRefused, "the target refuses");
    Ok(())
}

fn ping(laptop: &Device, address: &str) -> Result<String> {
    let mut command = laptop.host().command("ping")?;
    command.args(["-c", "3", "-i", "0.2", "-W", "5", "-s", "1000", address]);
    Ok(String::from_utf8_lossy(&laptop.host().run(&command)?.stdout).into_owned())
}

fn ping_goes_through_where_the_kernel_lets_it() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let addresses = [SERVER, SERVER_V6.trim_matches(['[', ']'])];
    // A new network namespace lets nobody ping.
    for address in addresses {
        let said = ping(&laptop, address)?;
        ensure!(said.contains("0 received") && said.contains("+"), "refused at once: {said}");
    }
    scene.gateway.process()?.wait_for("ping_group_range")?;
    scene.world.site.sh("sysctl", &["-qw", "net.ipv4.ping_group_range=0 0"])?;
    for address in addresses {
        eventually("ping is answered", || {
            ping(&laptop, address).ok().filter(|said| said.contains("3 received")).map(drop)
        })?;
    }
    let status = scene.status()?;
    let rows = status["flows"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(rows.iter().any(|row| row["proto"] == "icmp"), "{status}");
    Ok(())
}

fn refused_datagrams_are_refused_at_once() -> Result<()> {
    let scene = Scene::start()?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let _service = service(&scene.world.servers, SERVER)?;
    let refusal = |device: &Device, target: &str| {
        let socket = Asking::of(device.host(), target)?;
        socket.send(b"?")?;
        socket.refusal()
    };
    for (target, why) in [
        (format!("{SERVER}:9"), ErrorKind::ConnectionRefused),
        (format!("{SERVER}:{ECHO}"), ErrorKind::ConnectionRefused),
        (format!("{DESK}:{SERVICE}"), ErrorKind::ConnectionRefused),
        ("10.50.9.9:53".to_owned(), ErrorKind::HostUnreachable),
    ] {
        let told = refusal(&laptop, &target)?;
        ensure!(told == why, "{target}: {told}");
    }
    // What Linux makes of "communication administratively prohibited" in each family.
    for (server, why) in [(SERVER, ErrorKind::HostUnreachable), (SERVER_V6, ErrorKind::PermissionDenied)] {
        let told = refusal(&phone, &format!("{server}:{SERVICE}"))?;
        ensure!(told == why, "{server}, where Bob may not go: {told}");
    }
    ensure!(refusal(&laptop, &format!("{SERVER_V6}:9"))? == ErrorKind::ConnectionRefused, "over IPv6");
    let denials = scene.status()?["denials"].clone();
    for code in ["app_speaks_tcp", "no_such_port", "no_resource", "no_policy"] {
        ensure!(denials.get(code).is_some(), "{code} is missing in {denials}");
    }
    // What a device cuts in fragments itself is refused aloud as well.
    let socket = asking(&laptop, SERVER)?;
    socket.send(&[0; 4000])?;
    ensure!(socket.refusal()? == ErrorKind::HostUnreachable, "a fragment");
    Ok(())
}

/// `edit` must end the flow: its device is told, and nothing more reaches the service.
fn cuts(told: bool, edit: impl FnOnce(&mut Company) -> Result<()>) -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let service = service(&scene.world.servers, SERVER)?;
    let socket = asking(&laptop, SERVER)?;
    socket.echo(b"before")?;
    let beside = Connections::open(&laptop)?;
    scene.change(edit)?;
    let heard = service.heard();
    ensure!(socket.refusal()? == ErrorKind::HostUnreachable, "told without asking");
    beside.expect_cut()?;
    if told {
        socket.send(b"after")?;
        ensure!(socket.refusal()? == ErrorKind::HostUnreachable, "and whenever it asks");
    }
    ensure!(service.heard() == heard, "nothing reaches the service after a cut");
    Ok(())
}

fn a_posture_edit_cuts_datagrams() -> Result<()> {
    cuts(true, |company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))
}

fn a_policy_edit_cuts_datagrams() -> Result<()> {
    cuts(true, |company| {
        company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
        Ok(())
    })
}

fn removing_the_user_cuts_datagrams() -> Result<()> {
    cuts(false, |company| {
        company.people.retain(|person| person.id != "corp/alice");
        company.machines.retain(|machine| machine.owner != "corp/alice");
        Ok(())
    })
}

fn a_flood_of_flows_leaves_another_device_alone() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    let scene = Scene::with(plan)?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let _service = service(&scene.world.servers, SERVER)?;
    let quiet = asking(&laptop, SERVER)?;
    quiet.echo(b"before")?;
    // More flows than one device may have.
    let noisy = phone.host().within(|| UdpSocket::bind("0.0.0.0:0"))?;
    for port in 20_000..21_500 {
        noisy.send_to(b"noise", (SERVER, port))?;
    }
    eventually("the flood hits a bound", || {
        let hit = |name: &str| scene.counter(name).is_ok_and(|count| count > 0);
        (hit("datagram_device_limit") || hit("datagram_held_limit")).then_some(())
    })?;
    quiet.echo(b"its flow lives")?;
    asking(&laptop, SERVER)?.echo(b"and new ones open")
}

fn a_lost_connector_is_replaced() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.connectors = vec!["fra-1", "fra-2"];
    let mut scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    let _service = service(&scene.world.servers, SERVER)?;
    let socket = asking(&laptop, SERVER)?;
    socket.echo(b"before")?;
    scene.kill_connector("fra-1")?;
    eventually("the same socket is answered again", || {
        // Answers that were under way may come late, and out of turn.
        socket.send(b"after").ok()?;
        let status = scene.status().ok()?;
        let rows = status["flows"].as_array()?;
        rows.iter().any(|row| row["proto"] == "udp" && row["connector"] == "fra-2").then_some(())
    })?;
    socket.echo(b"after")
}
