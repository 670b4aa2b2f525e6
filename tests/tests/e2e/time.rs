//! What was allowed until a time ends at that time, and the operator can see when that is.
//! The gateway's clock is moved, never waited for.

use anyhow::{Context, Result};
use tests::{
    company::{DESK, ECHO, STAFF},
    connections::Connections,
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
};

use crate::cut::refused_because;

tests::tests![
    the_end_of_a_time_window_cuts,
    a_window_ends_by_local_time_when_the_clocks_go_forward,
    a_window_ends_by_local_time_when_the_clocks_go_back,
    a_window_in_the_hour_that_comes_twice_ends_twice,
    the_status_says_until_when_and_follows_a_load,
];

/// 17:00 in Berlin on a Monday in winter.
const CLOSING_TIME: u64 = 1_795_449_600;
/// On weekdays until then.
const OFFICE_HOURS: &str = "context.zone.berlin.weekday <= 5 && context.zone.berlin.minute < 1020";
/// Until half past three.
const NIGHT_SHIFT: &str = "context.zone.berlin.minute < 210";

/// Midnight UTC before the night's change, which is at 01:00 UTC: 02:00 becomes 03:00.
const SPRING: u64 = 1_774_742_400;
/// The same: 03:00 becomes 02:00.
const AUTUMN: u64 = 1_792_886_400;
const HOUR: u64 = 3600;

/// What lets staff in while `condition` holds.
fn staff_while(condition: &str) -> String {
    format!("{}\nwhen {{ {condition} }};", STAFF.trim_end().trim_end_matches(';'))
}

/// Alice may do what staff may while `condition` holds; the clock shows `unix`.
fn scene_at(unix: u64, condition: &str) -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.company.policies.insert("staff", staff_while(condition));
    plan.clock = Some(unix);
    Scene::with(plan)
}

/// Until when the one open flow is allowed, in milliseconds since 1970.
fn until(scene: &Scene) -> Result<Option<u64>> {
    let status = scene.status()?;
    let flows = status["flows"].as_array().context("the status lists flows")?;
    let flow = flows.iter().find(|flow| flow["decision"] == "allow");
    Ok(flow.with_context(|| format!("no flow in {status}"))?["until"].as_u64())
}

fn the_end_of_a_time_window_cuts() -> Result<()> {
    let mut scene = scene_at(CLOSING_TIME - 600, OFFICE_HOURS)?;
    let laptop = scene.device("laptop")?;
    let open = Connections::open(&laptop)?;
    scene.set_clock(CLOSING_TIME - 1)?;
    open.expect_cut()?;
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    refused_because(&laptop, "Staff reach the apps of staff")
}

/// D6: half past three comes half an hour after two.
fn a_window_ends_by_local_time_when_the_clocks_go_forward() -> Result<()> {
    night_shift_ends(SPRING + HOUR / 2, SPRING + HOUR + HOUR / 2)
}

/// D6: half past three comes two and a half hours after two.
fn a_window_ends_by_local_time_when_the_clocks_go_back() -> Result<()> {
    night_shift_ends(AUTUMN, AUTUMN + 2 * HOUR + HOUR / 2)
}

fn night_shift_ends(start: u64, end: u64) -> Result<()> {
    let mut scene = scene_at(start, NIGHT_SHIFT)?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "before the clocks are changed")?;
    assert_eq!(until(&scene)?, Some(end * 1000));
    scene.set_clock(end - 120)?;
    // A load asks everything again, by the new clock.
    scene.change(|_| Ok(()))?;
    echo(&mut flow, "after that")?;
    assert_eq!(until(&scene)?, Some(end * 1000));
    scene.set_clock(end - 1)?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    Ok(())
}

/// D6: a minute of the day is what a clock on the wall shows, and that night it shows 02:30 twice.
fn a_window_in_the_hour_that_comes_twice_ends_twice() -> Result<()> {
    let mut scene = scene_at(AUTUMN, "context.zone.berlin.minute < 150")?;
    let laptop = scene.device("laptop")?;
    for (open, end) in [(AUTUMN, AUTUMN + HOUR / 2), (AUTUMN + HOUR, AUTUMN + HOUR + HOUR / 2)] {
        scene.set_clock(open)?;
        let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
        echo(&mut flow, "within")?;
        assert_eq!(until(&scene)?, Some(end * 1000));
        scene.set_clock(end - 1)?;
        assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
        refused_because(&laptop, "Staff reach the apps of staff")?;
    }
    Ok(())
}

fn the_status_says_until_when_and_follows_a_load() -> Result<()> {
    let mut scene = scene_at(CLOSING_TIME - 600, OFFICE_HOURS)?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    assert_eq!(until(&scene)?, Some(CLOSING_TIME * 1000));
    let later = OFFICE_HOURS.replace("1020", "1050");
    for (policy, end) in [(staff_while(&later), Some(CLOSING_TIME + HOUR / 2)), (STAFF.to_owned(), None)] {
        scene.change(|company| {
            company.policies.insert("staff", policy);
            Ok(())
        })?;
        assert_eq!(until(&scene)?, end.map(|end| end * 1000));
    }
    echo(&mut flow, "still")
}
