//! A right ends under many open connections; every one that needed it is reset, and none is missed.
//! Each round has a world of its own, so that no round has what the last one left.
//! Always true: every connection has carried something both ways, through the connector, before the change.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, ensure};
use chrono::{DateTime, Utc};
use tests::{
    company::{Company, DESK, Machine, STAFF},
    device::{Device, KeyPair},
    process::Process,
    programs,
    scene::{Plan, Scene},
    wait::HANG,
};

use crate::{client, figures::Table, machine, service, stopwatch::Stopwatch};

/// What takes a right away.
struct Cause {
    name: &'static str,
    edit: fn(&mut Company) -> Result<()>,
    end: End,
}

/// When it is gone.
enum End {
    /// With this command, which puts the edit in force.
    Command(&'static [&'static str]),
    /// By itself, at the end of the window that the edit sets.
    Window,
}

const CAUSES: [Cause; 5] = [
    Cause { name: "posture fails, `reload`", edit: lose_encryption, end: End::Command(&["reload"]) },
    Cause {
        name: "policy edited, `policy load`",
        edit: permit_others,
        end: End::Command(&["policy", "load"]),
    },
    Cause { name: "user removed, `reload`", edit: remove_user, end: End::Command(&["reload"]) },
    Cause { name: "devices removed, `reload`", edit: remove_devices, end: End::Command(&["reload"]) },
    Cause { name: "time window ends", edit: set_window, end: End::Window },
];

/// The devices of the one person; the laptop is the first.
const DEVICES: [(&str, u8); 4] = [("laptop", 10), ("tablet", 12), ("tower", 13), ("console", 14)];
const OWNER: &str = "corp/alice";
/// Where the service listens; a port of the app `desk`.
const PORT: u16 = 5432;
/// How far the end of the window is from being set: it must be in force by then.
const WINDOW: Duration = Duration::from_secs(5);

fn lose_encryption(company: &mut Company) -> Result<()> {
    company.machines.iter_mut().for_each(|machine| machine.encrypted = Some(false));
    Ok(())
}

fn permit_others(company: &mut Company) -> Result<()> {
    company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
    Ok(())
}

fn remove_user(company: &mut Company) -> Result<()> {
    company.people.retain(|person| person.id != OWNER);
    remove_devices(company)
}

fn remove_devices(company: &mut Company) -> Result<()> {
    company.machines.retain(|machine| machine.owner != OWNER);
    Ok(())
}

fn set_window(company: &mut Company) -> Result<()> {
    let end: DateTime<Utc> = (SystemTime::now() + WINDOW).into();
    let condition = format!("when {{ context.now < datetime({:?}) }};", end.format("%FT%T%.3fZ").to_string());
    company.policies.insert("staff", STAFF.trim_end().trim_end_matches(';').to_owned() + &condition);
    Ok(())
}

/// Ends `flows` connections `rounds` times by each cause.
pub fn measure(rounds: u16, flows: u16) -> Result<Table> {
    let most = machine::raise_open_files()?;
    // The client's end of every connection is this program's; the service's end is a program's of its own.
    ensure!(u64::from(flows) + 500 < most, "{flows} flows, but a process may open {most} files");
    let mut table = Table::default();
    for cause in &CAUSES {
        for _ in 0..rounds {
            round(cause, flows, &mut table).context(cause.name)?;
        }
    }
    table.note(format!("{flows} connections of {} devices; no connection was missed.", DEVICES.len()));
    table.note("A command's own start is included. A changed policy folder must read the same twice, 300 ms");
    table.note(
        "apart, before it is loaded: that is in the policy edit. The log says `loaded` when the cutting",
    );
    table.note("is under way, so a reset may come before the line.");
    Ok(table)
}

fn round(cause: &Cause, flows: u16, table: &mut Table) -> Result<()> {
    let mut scene = scene()?;
    let _service = serve(&scene)?;
    let devices = DEVICES.iter().map(|(name, _)| scene.device(name)).collect::<Result<Vec<_>>>()?;
    let open = open(&devices, usize::from(flows))?;
    let set = Stopwatch::start();
    (cause.edit)(&mut scene.company)?;
    scene.gateway.write(&scene.company)?;
    let name = cause.name;
    match cause.end {
        End::Command(command) => {
            let watch = Stopwatch::start();
            let resets = meanwhile(open, || scene.gateway.ask(&scene.world.gw, command))?;
            let loaded = scene.gateway.process()?.wait_for("gateway::reload: loaded")?;
            let loaded = watch.until_line(&loaded)?;
            let resets = resets.into_iter().map(|moment| watch.until(moment));
            table.add(&format!("{name}: command → `loaded` in the log"), [loaded]);
            table.add(&format!("{name}: **command → reset**"), resets.clone());
            table.add(&format!("{name}: `loaded` → reset"), resets.map(|reset| reset - loaded));
        }
        End::Window => {
            let resets = meanwhile(open, || scene.gateway.ask(&scene.world.gw, &["policy", "load"]))?;
            let after = resets.into_iter().map(|moment| set.until(moment) - WINDOW.as_secs_f64() * 1e3);
            table.add(&format!("{name}: **its end → reset**"), after);
        }
    }
    Ok(())
}

/// When each connection was reset, while `act` is done.
fn meanwhile<T>(open: Vec<TcpStream>, act: impl FnOnce() -> Result<T>) -> Result<Vec<std::time::Instant>> {
    let (done, resets) = thread::scope(|scope| {
        let resets = scope.spawn(|| client::all_reset(open));
        (act(), resets.join())
    });
    done?;
    resets.map_err(|_| anyhow!("the client panicked"))?
}

/// The usual company; its one member of staff has every device.
fn scene() -> Result<Scene> {
    let mut plan = Plan::new()?;
    for (name, number) in DEVICES.into_iter().skip(1) {
        let key = KeyPair::fresh()?;
        plan.company.machines.push(Machine { name, owner: OWNER, key, number, encrypted: Some(true) });
    }
    Scene::with(plan)
}

/// Starts the service behind the connector.
fn serve(scene: &Scene) -> Result<Process> {
    let servers = &scene.world.servers;
    let mut command = servers.command(programs::ours("bench")?)?;
    command.args(["serve", "--port", &PORT.to_string()]);
    let service = servers.start("service", command)?;
    service.wait_for(service::READY)?;
    Ok(service)
}

/// `count` connections, spread over the devices.
fn open(devices: &[Device], count: usize) -> Result<Vec<TcpStream>> {
    let each = |at: usize| count / devices.len() + usize::from(at < count % devices.len());
    let opened: Vec<Result<Vec<TcpStream>>> = thread::scope(|scope| {
        let clients: Vec<_> = devices
            .iter()
            .enumerate()
            .map(|(at, device)| scope.spawn(move || device.host().within(|| connect(each(at)))))
            .collect();
        let join = |client: thread::ScopedJoinHandle<'_, _>| {
            client.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))
        };
        clients.into_iter().map(join).collect()
    });
    Ok(opened.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn connect(count: usize) -> Result<Vec<TcpStream>> {
    let one = |n| {
        let mut flow = TcpStream::connect(format!("{DESK}:{PORT}"))?;
        flow.set_read_timeout(Some(HANG))?;
        tests::probe::echo(&mut flow, "before").with_context(|| format!("connection {n}"))?;
        Ok(flow)
    };
    (0..count).map(one).collect()
}
