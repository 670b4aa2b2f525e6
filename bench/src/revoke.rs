//! A right ends under many open connections; every one that needed it is reset, and none is missed.
//! Each round has a world of its own, so that no round has what the last one left.
//! Always true: every connection has carried something both ways, through the connector, before the change.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant, SystemTime},
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
    /// In the files, before it.
    edit: fn(&mut Company) -> Result<()>,
    end: End,
}

/// When it is gone.
enum End {
    /// With this command.
    Command(&'static [&'static str]),
    /// With this command for each of the devices, one after the other.
    EachDevice(&'static [&'static str], &'static [&'static str]),
    /// When the store has become what the files list.
    Import,
    /// By itself, at the end of the window that the edit sets.
    Window,
}

const CAUSES: [Cause; 6] = [
    Cause {
        name: "posture fails, `admin device posture` for each",
        edit: nothing,
        end: End::EachDevice(&["admin", "device", "posture"], &["disk_encrypted=false", "--source", "mdm"]),
    },
    Cause {
        name: "policy edited, `policy load`",
        edit: permit_others,
        end: End::Command(&["policy", "load"]),
    },
    Cause {
        name: "user disabled, `admin user disable`",
        edit: nothing,
        end: End::Command(&["admin", "user", "disable", OWNER]),
    },
    Cause {
        name: "devices disabled, `admin device disable` for each",
        edit: nothing,
        end: End::EachDevice(&["admin", "device", "disable"], &[]),
    },
    Cause { name: "devices removed, `admin import --prune`", edit: remove_devices, end: End::Import },
    Cause { name: "time window ends", edit: set_window, end: End::Window },
];

/// The devices of the one person; the laptop is the first.
const DEVICES: [(&str, u8); 4] = [("laptop", 10), ("tablet", 12), ("tower", 13), ("console", 14)];
const OWNER: &str = "corp/alice";
/// Where the service listens; a port of the app `desk`.
const PORT: u16 = 5432;
/// How far the end of the window is from being set: it must be in force by then.
const WINDOW: Duration = Duration::from_secs(5);

fn nothing(_: &mut Company) -> Result<()> {
    Ok(())
}

fn permit_others(company: &mut Company) -> Result<()> {
    company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
    Ok(())
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
    table.note("A command's own start is included; of one command for each device, the first one's. A changed policy");
    table.note(
        "folder must read the same twice, 300 ms apart, before it is loaded: that is in the policy edit.",
    );
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
    let watch = Stopwatch::start();
    let (resets, done) = meanwhile(open, || cause.end.come(&scene))?;
    if matches!(cause.end, End::Window) {
        let after = resets.into_iter().map(|moment| set.until(moment) - WINDOW.as_secs_f64() * 1e3);
        table.add(&format!("{name}: **its end → reset**"), after);
    } else {
        table.add(
            &format!("{name}: **command → reset**"),
            resets.into_iter().map(|moment| watch.until(moment)),
        );
        table.add(&format!("{name}: command → answered"), [watch.until(done)]);
    }
    Ok(())
}

impl End {
    /// Has it come, or lets it come by itself.
    fn come(&self, scene: &Scene) -> Result<()> {
        let ask = |command: &[&str]| scene.gateway.ask(&scene.world.gw, command).map(drop);
        match self {
            Self::Command(command) => ask(command),
            Self::EachDevice(before, after) => {
                DEVICES.iter().try_for_each(|(device, _)| ask(&[before, &[*device][..], after].concat()))
            }
            Self::Import => scene.gateway.import(&scene.world.gw).map(drop),
            Self::Window => ask(&["policy", "load"]),
        }
    }
}

/// When each connection was reset, while `act` is done, and when that was done.
fn meanwhile(open: Vec<TcpStream>, act: impl FnOnce() -> Result<()>) -> Result<(Vec<Instant>, Instant)> {
    let (done, resets) = thread::scope(|scope| {
        let resets = scope.spawn(|| client::all_reset(open));
        (act().map(|()| Instant::now()), resets.join())
    });
    let done = done?;
    Ok((resets.map_err(|_| anyhow!("the client panicked"))??, done))
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
