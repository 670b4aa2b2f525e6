//! A reconnect storm: a gateway on one core is killed while thousands of devices have live sessions, and
//! started again while each goes on sending a ping a second. The devices have the other cores.
//! Always true: the gateway had written down where every device was before it is killed.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{gateway::Gateway, host::Host, wait::eventually, world::World};

use super::swarm::{self, Swarm};
use crate::{cores, cpu::Watched, enrolled, figures::Table, machine, stopwatch::Stopwatch};

/// The devices' host, by its number on the internet.
const SWARM: u8 = 20;
/// Ten times a client's own patience with one handshake (REKEY_TIMEOUT and KEEPALIVE_TIMEOUT, WireGuard
/// paper §6.1, 5 and 10 s).
const LIMIT: Duration = Duration::from_secs(150);
/// Between a storm and the next kill.
const REST: Duration = Duration::from_secs(10);

/// What the gateway tells of a storm, in the order of the note.
const COUNTERS: [&str; 12] = [
    "handshake",
    "unknown_session",
    "rehandshake",
    "rehandshake_limited",
    "cookie_sent",
    "cookie_limited",
    "handshake_limited",
    "source_limited",
    "handshake_too_fast",
    "handshake_invalid",
    "queue_full",
    "datagrams_unsent",
];

/// Lets `wanted` devices connect, or as many as there may be sockets, and kills their gateway `rounds` times.
pub fn measure(wanted: u16, rounds: u16) -> Result<Table> {
    let mut table = Table::default();
    let room = machine::raise_open_files()?.saturating_sub(swarm::OTHER_FILES);
    let count = wanted.min(u16::try_from(room).unwrap_or(u16::MAX));
    if count < wanted {
        table.note(format!("Only {count} devices: an ordinary user may not open {wanted} sockets here."));
    }
    let cores = cores::usable()?;
    let (one, others) = cores.split_at(1);
    ensure!(!others.is_empty(), "the gateway has a core of its own: this needs two");
    let mut storm = Storm::prepare(count, one)?;
    let swarm = cores::confined(others, || storm.swarm())?;
    storm.watch(0, &swarm, Stopwatch::start(), "all begin at once: first answer", &mut table)?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        storm.wait_until_remembered()?;
        thread::sleep(REST);
        storm.gateway.kill()?;
        swarm.begin(round);
        let watch = Stopwatch::start();
        cores::confined(one, || storm.gateway.launch(&storm.world.gw))?;
        let ready = storm.gateway.process()?.wait_for("gateway::run: ready")?;
        table.add("gateway ready", [watch.until_line(&ready)?]);
        storm.watch(round, &swarm, watch, "**killed and started again: first answer**", &mut table)?;
    }
    table.note(format!(
        "{count} devices, each with an address of its own and a ping a second, on {} core(s);",
        others.len()
    ));
    table.note("the gateway has one core. Counted from starting the process, or the devices.");
    Ok(table)
}

struct Storm {
    world: World,
    devices: Host,
    gateway: Gateway,
    count: u16,
    /// Datagrams the gateway's host had no room for, before this round.
    lost: u64,
}

impl Storm {
    /// A gateway that runs, with a host for its devices.
    fn prepare(count: u16, core: &[usize]) -> Result<Self> {
        let world = World::new()?;
        let devices = world.device("swarm", SWARM)?;
        // Every address of the network is this host's own.
        devices.ip("route add local 10.78.0.0/16 dev lo")?;
        world.gw.ip(&format!("route add 10.78.0.0/16 via 10.77.0.{SWARM}"))?;
        let mut gateway = Gateway::prepare(&world.gw)?;
        enrolled::enrol(&gateway, count.into())?;
        cores::confined(core, || gateway.start(&world.gw))?;
        Ok(Self { world, devices, gateway, count, lost: 0 })
    }

    fn swarm(&self) -> Result<Swarm> {
        let key = enrolled::gateway_key(&self.gateway)?;
        let endpoint = "10.77.0.1:51820".parse()?;
        Swarm::start(&self.devices, self.count, swarm::Gateway { key, endpoint })
    }

    /// Waits for all answers of `round`, and adds what they took and cost.
    fn watch(
        &mut self,
        round: u16,
        swarm: &Swarm,
        watch: Stopwatch,
        name: &str,
        table: &mut Table,
    ) -> Result<()> {
        let own = Watched::new(std::process::id())?;
        let before = own.used()?;
        let moments = swarm.all_answered(round, self.count, LIMIT)?;
        let used = Watched::new(self.gateway.process()?.id())?.used()?.as_secs_f64();
        let own = (own.used()? - before).as_secs_f64();
        let last = moments.iter().max().context("no device at all")?;
        let took = watch.until(*last) / 1e3;
        table.add(name, moments.iter().map(|moment| watch.until(*moment)));
        let each = used * 1e6 / f64::from(self.count);
        table.note(format!(
            "Round {round}: {took:.1} s, in which the gateway worked {used:.1} s ({each:.0} µs for each device, its \
             start included), the devices {own:.1} s."
        ));
        table.note(self.counted()?);
        Ok(())
    }

    /// What the gateway counted since its start, and what its kernel had no room for meanwhile.
    fn counted(&mut self) -> Result<String> {
        let status = self.gateway.status(&self.world.gw)?;
        let counters: BTreeMap<String, u64> = serde_json::from_value(status["tunnel"]["counters"].clone())?;
        let told = COUNTERS.iter().filter_map(|name| Some((*name, *counters.get(*name)?)));
        let told = told.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}"));
        let before = std::mem::replace(&mut self.lost, self.world.gw.within(udp_overflows)?);
        let lost = format!("lost to a full socket {}", self.lost - before);
        Ok(told.chain([lost]).collect::<Vec<_>>().join(", "))
    }

    fn wait_until_remembered(&self) -> Result<()> {
        eventually("the gateway has written down where everybody is", || {
            enrolled::remembered(&self.gateway).filter(|&count| count == usize::from(self.count))
        })?;
        Ok(())
    }
}

/// Datagrams that found a socket's queue full, on this thread's host (RFC 4113's udpInErrors, as Linux parts it).
fn udp_overflows() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let (names, counts) = (lines.next().context("no Udp line")?, lines.next().context("no Udp counts")?);
    let (_, count) =
        names.zip(counts).find(|(name, _)| *name == "RcvbufErrors").context("no RcvbufErrors")?;
    Ok(count.parse()?)
}
