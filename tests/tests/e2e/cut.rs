//! What is open dies with the right to it: by a reset, with nothing queued after it, on both sides.
//! A clean end would make a cut download look complete, so it never counts as a cut.

use std::io::ErrorKind;

use anyhow::{Result, ensure};
use tests::{
    company::{Company, DESK, ECHO, GUARDS, POUR, STAFF},
    connections::Connections,
    device::Device,
    probe::{Ending, drain, shrink_window},
    scene::Scene,
    wait::eventually,
};

tests::tests![
    a_posture_edit_cuts_and_a_repair_lets_in_again,
    removing_the_user_cuts,
    disabling_the_user_cuts,
    removing_the_group_cuts,
    removing_the_device_cuts,
    a_policy_edit_cuts,
    an_unrelated_edit_cuts_nothing,
    a_hang_up_signal_reloads_too,
    nothing_queued_arrives_after_a_cut,
];

const NO_RULE: &str = "No rule gives you access";

/// `edit` must end everything that is open, on both sides; a device that is still known is told `why`.
fn cuts(why: Option<&str>, edit: impl FnOnce(&mut Company) -> Result<()>) -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let open = Connections::open(&laptop)?;
    scene.change(edit)?;
    open.expect_cut()?;
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    why.map_or(Ok(()), |why| refused_because(&laptop, why))
}

/// New connections are refused; who asks for a page is told `why`.
pub fn refused_because(laptop: &Device, why: &str) -> Result<()> {
    assert_eq!(laptop.refusal(&format!("{DESK}:{ECHO}"))?, ErrorKind::ConnectionRefused);
    let output = laptop.curl(&["--write-out", "%{http_code}", "http://wiki.corp.example/"])?;
    let page = String::from_utf8_lossy(&output.stdout);
    ensure!(page.ends_with("403") && page.contains(why), "{why:?} is missing in {page}");
    Ok(())
}

pub fn a_posture_edit_cuts_and_a_repair_lets_in_again() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let open = Connections::open(&laptop)?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    open.expect_cut()?;
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    refused_because(&laptop, "Disk encryption is off")?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(true)))?;
    Connections::open(&laptop).map(drop)
}

fn removing_the_user_cuts() -> Result<()> {
    cuts(None, |company| {
        company.people.retain(|person| person.id != "corp/alice");
        company.machines.retain(|machine| machine.owner != "corp/alice");
        Ok(())
    })
}

fn disabling_the_user_cuts() -> Result<()> {
    cuts(Some("is not active"), |company| company.person_mut("corp/alice").map(|alice| alice.disabled = true))
}

fn removing_the_group_cuts() -> Result<()> {
    cuts(Some(NO_RULE), |company| company.person_mut("corp/alice").map(|alice| alice.groups.clear()))
}

fn removing_the_device_cuts() -> Result<()> {
    cuts(None, |company| {
        company.machines.retain(|machine| machine.name != "laptop");
        Ok(())
    })
}

fn a_policy_edit_cuts() -> Result<()> {
    cuts(Some(NO_RULE), |company| {
        company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
        Ok(())
    })
}

fn an_unrelated_edit_cuts_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut open = Connections::open(&laptop)?;
    scene.change(|company| {
        company.policies.insert("guards", GUARDS.replace("Turn on", "Please turn on"));
        company.machine_mut("phone").map(|phone| phone.encrypted = Some(false))
    })?;
    open.expect_open()
}

fn a_hang_up_signal_reloads_too() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let open = Connections::open(&laptop)?;
    scene.company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
    scene.gateway.write(&scene.company)?;
    scene.gateway.hang_up()?;
    open.expect_cut()
}

fn nothing_queued_arrives_after_a_cut() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{POUR}"))?;
    shrink_window(&flow)?;
    let waiting = wait_until_stalled(&laptop)?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    assert_eq!(scene.pour.ending()?, Ending::Reset, "at the service");
    // What the device's own kernel held already is all that may come.
    let (came, ending) = drain(&mut flow)?;
    assert_eq!(ending, Ending::Reset);
    assert!(came <= waiting, "{came} bytes came, {waiting} were there before the cut");
    Ok(())
}

/// Looks that must agree before a transfer counts as stalled.
const AGREED: u32 = 5;

/// Waits until the device's socket holds unread data and takes no more; how much it holds.
fn wait_until_stalled(laptop: &Device) -> Result<usize> {
    let (mut last, mut agreed) = (0, 0);
    eventually("the receive buffer is full", || {
        let sockets =
            laptop.host().sh("ss", &["--no-header", "--tcp", "--numeric", "state", "established"]).ok()?;
        let held = sockets.split_whitespace().next()?.parse().ok()?;
        agreed = if held > 0 && held == last { agreed + 1 } else { 0 };
        last = held;
        (agreed == AGREED).then_some(held)
    })
}
