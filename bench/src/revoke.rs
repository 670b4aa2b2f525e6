//! A fact changes; every open connection that needed it is reset, and none is missed.
//! Each round has a world of its own, so that no round has what the last one left.

use std::{net::TcpStream, thread};

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::{
    company::{Company, DESK, ECHO, STAFF},
    device::Device,
    probe::echo,
    scene::Scene,
};

use crate::{client, figures::Table, stopwatch::Stopwatch};

/// What takes a right away, and the command that puts it in force.
struct Cause {
    name: &'static str,
    edit: fn(&mut Company) -> Result<()>,
    command: &'static [&'static str],
}

const CAUSES: [Cause; 3] = [
    Cause { name: "posture edit, `reload`", edit: lose_encryption, command: &["reload"] },
    Cause { name: "policy edit, `policy load`", edit: permit_others, command: &["policy", "load"] },
    Cause { name: "user removed, `reload`", edit: remove_user, command: &["reload"] },
];

fn lose_encryption(company: &mut Company) -> Result<()> {
    company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false))
}

fn permit_others(company: &mut Company) -> Result<()> {
    company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
    Ok(())
}

fn remove_user(company: &mut Company) -> Result<()> {
    company.people.retain(|person| person.id != "corp/alice");
    company.machines.retain(|machine| machine.owner != "corp/alice");
    Ok(())
}

/// Cuts `flows` connections `rounds` times by each cause.
pub fn measure(rounds: u16, flows: u16) -> Result<Table> {
    // The client's end and the service's end of every connection are this program's.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut table = Table::default();
    for cause in &CAUSES {
        for _ in 0..rounds {
            round(cause, flows, &mut table).context(cause.name)?;
        }
    }
    table.note("No connection was missed. The command's own start is included. A changed policy folder must");
    table.note(
        "read the same twice, 300 ms apart, before it is loaded: that is in `loaded` of the policy edit.",
    );
    table.note("The log says `loaded` when the cutting is under way, so a reset may come before the line.");
    Ok(table)
}

fn round(cause: &Cause, flows: u16, table: &mut Table) -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let open = (0..flows).map(|_| open(&laptop)).collect::<Result<Vec<_>>>()?;
    (cause.edit)(&mut scene.company)?;
    scene.gateway.write(&scene.company)?;
    let watch = Stopwatch::start();
    let (answer, resets) = thread::scope(|scope| {
        let resets = scope.spawn(|| client::all_reset(open));
        (scene.gateway.ask(&scene.world.gw, cause.command), resets.join())
    });
    answer?;
    let resets = resets.map_err(|_| anyhow!("the client panicked"))??;
    let loaded = scene.gateway.process()?.wait_for("gateway::reload: loaded")?;
    let loaded = watch.until_line(&loaded)?;
    let name = cause.name;
    let resets = resets.into_iter().map(|moment| watch.until(moment));
    table.add(&format!("{name}: command → `loaded` in the log"), [loaded]);
    table.add(&format!("{name}: **command → reset**"), resets.clone());
    table.add(&format!("{name}: `loaded` → reset"), resets.map(|reset| reset - loaded));
    Ok(())
}

fn open(laptop: &Device) -> Result<TcpStream> {
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "before")?;
    Ok(flow)
}
