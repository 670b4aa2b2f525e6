//! The gateway is killed and started again; nobody touches the client.
//! The promise: a stock client works again, and knows what it lost, in less than three seconds.

use std::{fs, thread, time::Duration};

use anyhow::{Result, anyhow};
use tests::{
    company::{DESK, ECHO},
    device::Device,
    probe::echo,
    scene::Scene,
    wait::eventually,
};

use crate::{client, figures::Table, stopwatch::Stopwatch};

/// A SYN sent while nobody is there is lost. With one attempt alone, the kernel's repetitions of it
/// (after 1 s, 2 s, 4 s) would be what is measured.
const PATIENCE: Duration = Duration::from_millis(100);

/// A connector whose link lasted ten seconds dials again at once; one whose links keep breaking waits
/// longer each time, which is another thing than a restart.
const REST: Duration = Duration::from_secs(11);
/// An idle connector learns of the restart when it next sends, which is every three seconds. Rounds
/// are spread over that, so that neither the best nor the worst moment is met each time.
const SWEEP: Duration = Duration::from_secs(3);

/// Kills it `rounds` times.
pub fn measure(rounds: u16) -> Result<Table> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    wait_until_remembered(&scene)?;
    let mut table = Table::default();
    for number in 0..rounds {
        let rest = REST + SWEEP * u32::from(number) / u32::from(rounds);
        round(&mut scene, &laptop, rest, &mut table)?;
    }
    table.note("Counted from starting the new process. Promise: both in bold below 3000.");
    Ok(table)
}

fn round(scene: &mut Scene, laptop: &Device, rest: Duration, table: &mut Table) -> Result<()> {
    let target = format!("{DESK}:{ECHO}");
    let mut old = laptop.dial(&target)?;
    echo(&mut old, "before")?;
    // Nothing is under way when it dies: a busy connector would notice sooner.
    thread::sleep(rest);
    scene.gateway.kill()?;
    let watch = Stopwatch::start();
    let (launched, fresh, reset) = thread::scope(|scope| {
        let fresh = scope.spawn(|| client::first_echo(laptop.host(), &target, PATIENCE));
        let reset = scope.spawn(|| client::use_until_reset(old));
        let launched = scene.gateway.launch(&scene.world.gw);
        (launched, fresh.join(), reset.join())
    });
    launched?;
    let fresh = fresh.map_err(|_| anyhow!("the new client panicked"))??;
    let reset = reset.map_err(|_| anyhow!("the old client panicked"))??;
    let said = |what| scene.gateway.process()?.wait_for(what).and_then(|line| watch.until_line(&line));
    table.add("gateway ready", [said("gateway::run: ready")?]);
    table.add("tunnel answers", [watch.until(fresh.answered)]);
    table.add("connector linked", [said("connector linked")?]);
    table.add("**a new connection's echo**", [watch.until(fresh.echoed)]);
    table.add("**the old connection's reset**", [watch.until(reset)]);
    Ok(())
}

/// The gateway writes down where its peers are soon after their handshake; killed before that it
/// would not know whom to call.
fn wait_until_remembered(scene: &Scene) -> Result<()> {
    let file = scene.gateway.folder().join("state/peers.json");
    let key = &scene.company.machine("laptop")?.key.public;
    eventually("the gateway has written down where the laptop is", || {
        fs::read_to_string(&file).ok()?.contains(key).then_some(())
    })
}
