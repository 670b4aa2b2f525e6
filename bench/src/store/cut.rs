//! A device is shut out by a command at one gateway while it has a connection through that one, or through
//! another with which that one shares a PostgreSQL.
//! Always true: the connection has carried something both ways, through a connector, before the command.

use std::{fs, thread, time::Instant};

use anyhow::{Result, anyhow};
// Without the colons it would be this file's own tests.
use ::tests::{
    company::{Company, DESK, ECHO, GATEWAY, Machine, OUTSIDE, write_secret},
    connector::{Connector, TARGETS},
    device::Device,
    gateway::Gateway,
    host::Host,
    postgres::Postgres,
    probe::echo,
    process::Process,
    streams::{Manner, Stream},
    wait::eventually,
    world::World,
};

use super::place::Disk;
use crate::{client, figures::Table, stopwatch::Stopwatch};

/// Where the other gateway is, by the number of its host.
const OTHER: (&str, u8) = ("10.77.0.2", 2);
/// What gateways of one deployment have in common.
const KEYS: [&str; 3] = ["gateway.key", "link.key", "store.key"];
/// Where both have their store.
const SHARED: &str = "[store.postgres]\nurl = \"postgres.url\"\n";
/// Shuts a device out `rounds` times on each gateway.
pub fn measure(rounds: u16) -> Result<Table> {
    let world = World::new()?;
    let disk = Disk::new()?;
    let server = disk.postgres()?;
    let _echo = Stream::listen(&world.servers, ECHO, Manner::Echo)?;
    let other_host = world.device("gw-2", OTHER.1)?;
    let mut company = Company::new()?;
    company.machines.push(Machine::new("tablet", "corp/alice", 12)?);
    company.more = SHARED.to_owned();
    let connectors = [connector(&world, "fra-1", OUTSIDE)?, connector(&world, "fra-2", OTHER.0)?];
    company.connectors = connectors.iter().map(|(name, one)| ((*name).to_owned(), one.pin.clone())).collect();
    let (mut one, mut other) = (Gateway::prepare(&world.gw)?, Gateway::prepare(&other_host)?);
    for key in KEYS {
        fs::copy(one.folder().join(key), other.folder().join(key))?;
    }
    other.pin.clone_from(&one.pin);
    configure(&one, "gw-1", OUTSIDE, &mut company, &server)?;
    configure(&other, "gw-2", OTHER.0, &mut company, &server)?;
    one.start(&world.gw)?;
    one.import(&world.gw)?;
    other.start(&other_host)?;
    let _links =
        [link(&world, &connectors[0], &one, &world.gw)?, link(&world, &connectors[1], &other, &other_host)?];
    let laptop = device(&world, &company, "laptop", &one, &world.gw)?;
    let tablet = device(&world, &company, "tablet", &other, &other_host)?;
    let mut table = Table::default();
    for _ in 0..rounds {
        round(&one, &world, "laptop", &laptop, "on this gateway", &mut table)?;
        round(&one, &world, "tablet", &tablet, "on the other gateway", &mut table)?;
    }
    table.note("Counted from starting the command, at one of two gateways that share a PostgreSQL, for one device with");
    table.note("one connection. Answered: the command has ended, so it is durable.");
    Ok(table)
}

type Named = (&'static str, Connector);

fn connector(world: &World, name: &'static str, gateway: &'static str) -> Result<Named> {
    let mut connector = Connector::prepare(&world.site, name)?;
    connector.gateways = vec![gateway];
    Ok((name, connector))
}

/// Writes a gateway's files.
fn configure(
    gateway: &Gateway,
    name: &'static str,
    outside: &'static str,
    company: &mut Company,
    server: &Postgres,
) -> Result<()> {
    (company.name, company.outside) = (Some(name), outside);
    gateway.write(company)?;
    write_secret(&gateway.folder().join("postgres.url"), &server.socket_url())
}

/// Starts a connector, until its gateway has its link.
fn link(world: &World, (name, connector): &Named, gateway: &Gateway, host: &Host) -> Result<Process> {
    let process = connector.start(&world.site, &gateway.pin, TARGETS)?;
    eventually(&format!("connector {name} is linked"), || {
        let status = gateway.status(host).ok()?;
        let row = status["connectors"].as_array()?.iter().find(|row| row["id"] == *name)?;
        (!row["connected_since"].is_null()).then_some(())
    })?;
    Ok(process)
}

fn device(world: &World, company: &Company, name: &str, gateway: &Gateway, host: &Host) -> Result<Device> {
    let machine = company.machine(name)?;
    let text = gateway.ask(host, &["admin", "device", "config", name])?;
    Device::up(world.device(name, machine.number)?, &text, &machine.key, GATEWAY)
}

/// The command goes to `one`, wherever the device's connection is.
fn round(
    one: &Gateway,
    world: &World,
    name: &str,
    device: &Device,
    row: &str,
    table: &mut Table,
) -> Result<()> {
    let target = format!("{DESK}:{ECHO}");
    let mut flow = device.dial(&target)?;
    echo(&mut flow, "before")?;
    let watch = Stopwatch::start();
    let (answered, resets) = thread::scope(|scope| {
        let resets = scope.spawn(|| client::all_reset(vec![flow]));
        let answered = one.ask(&world.gw, &["admin", "device", "disable", name]);
        (answered.map(|_| Instant::now()), resets.join())
    });
    let resets = resets.map_err(|_| anyhow!("the client panicked"))??;
    table.add(&format!("**disabled → cut {row}**"), resets.into_iter().map(|moment| watch.until(moment)));
    table.add("disabled → answered", [watch.until(answered?)]);
    one.ask(&world.gw, &["admin", "device", "enable", name])?;
    // A client of its own accord would take its time for a handshake.
    device.reconnect(GATEWAY)
}
