//! The tour: ten steps, each a few commands and what they must show.
//! It prepares nothing. Always true: a step leaves things as the next one expects them, and waits
//! for events, never for time to pass, except where time passing is what it shows.

use std::time::SystemTime;

use anyhow::Result;
use protocol::time::Timestamp;

use crate::{
    company::{Company, LAPTOP, OLD_LAPTOP, SERVE, millis_after, report_disk},
    files,
    guide::{CONNECTOR, Done, GATEWAY, Guide, expect, fault, ms, must},
    live,
    place::TRUSTED,
    signing::{self, WIKI, look},
};

/// Excerpts of `doorward status`.
const FLOWS: &str = "doorward status | grep -A 2 '^FLOWS'";
const DENIALS: &str = "doorward status | grep -A 4 '^LATEST DENIALS'";
const DEVICES: &str = "doorward admin device list";
/// How far ahead the end of a permit is put: policies are loaded and a session is open before it comes.
const AHEAD_MS: i64 = 8000;

/// Shows everything.
pub fn run(guide: &mut Guide, company: &Company) -> Result<()> {
    let (folder, bin) = (guide.place.folder.display().to_string(), guide.place.bin.display().to_string());
    guide.screen.progress("everything runs; the tour begins")?;
    guide.screen.say(&format!(
        "To repeat a command in another terminal while the demo is up:\n  \
         cd {folder}; PATH={bin}:$PATH; export CURL_CA_BUNDLE={folder}/{TRUSTED}"
    ))?;
    guide.step("nobody", "1. A device with nobody signed in reaches nothing", |guide| {
        signing::nobody(guide, company)
    })?;
    guide.step("sign-in", "2. Ada signs in on the way to a page; the app sees who is there", |guide| {
        signing::sign_in(guide, company)
    })?;
    guide.step("refused", "3. The same person on a device whose disk is not encrypted", |guide| {
        refused(guide, company)
    })?;
    guide.step("step-up", "4. A page that asks for more than a password", signing::step_up)?;
    guide.step("posture", "5. A live connection is cut when the device's posture changes", |guide| {
        posture(guide, company)
    })?;
    guide.step("device", "6. A lost device is shut out, and let in again", |guide| {
        lost_device(guide, company)
    })?;
    guide.step("time", "7. A live connection ends at the instant its permit does", |guide| {
        time(guide, company)
    })?;
    guide.step("policy", "8. A policy edit opens what is closed", |guide| policy(guide, company))?;
    guide.step("sign-out", "9. Signing out cuts what is open", |guide| signing::sign_out(guide, company))?;
    guide.step("restart", "10. The gateway is killed, and nothing is lost", restart)
}

fn refused(guide: &mut Guide, company: &Company) -> Result<String> {
    guide.screen.say("She signs in there as well, which helps no further:")?;
    signing::again(guide, OLD_LAPTOP)?;
    let page = guide.run(&look(OLD_LAPTOP, WIKI))?;
    expect(&page, &["guard-disk", "Disk encryption is off", "FileVault", "Request id"])?;
    guide.screen.say("A TCP client cannot be shown a page: its connection is refused at once.")?;
    let session = guide.run(&company.psql(OLD_LAPTOP, &["select 1"]))?;
    if session.ok {
        return Err(fault(GATEWAY, "the database was open to it"));
    }
    guide.measured("psql_ms", ms(session.took));
    guide.screen.say("What the operator sees:")?;
    let status = guide.run(DENIALS)?;
    expect(&status, &[OLD_LAPTOP, "corp/ada"])?;
    guide.screen.say("What a help desk finds by the request id on the page:")?;
    let explained = explain(guide, &request_id(&page)?)?;
    expect(&explained, &[OLD_LAPTOP, "corp/ada", "guard-disk"])?;
    Ok(format!(
        "the person reads which rule, what failed and what helps; psql was refused within {:.0} ms",
        ms(session.took)
    ))
}

/// What the page of a denial calls its request.
fn request_id(page: &Done) -> Result<String> {
    let text = page.text();
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Request id: "));
    id.map(str::to_owned).ok_or_else(|| fault(GATEWAY, "the page has no request id"))
}

/// Asks the audit log, which takes decisions in a tenth of a second late.
fn explain(guide: &mut Guide, id: &str) -> Result<Done> {
    let line = format!("doorward admin audit explain {id}");
    guide.board().poll("the denial is in the audit log", || Ok(guide.ask(&line)?.ok.then_some(())))?;
    guide.run(&line)
}

fn posture(guide: &mut Guide, company: &Company) -> Result<String> {
    let session = live::open(guide, company)?;
    let flows = guide.run(FLOWS)?;
    expect(&flows, &[LAPTOP, "corp/ada", "engineers-db"])?;
    guide.screen.say("Device management reports that the disk is not encrypted any more:")?;
    let verdict = live::cut_by(guide, session, &report_disk(LAPTOP, false))?;
    guide.screen.say("It is encrypted again:")?;
    let again = guide.run(&report_disk(LAPTOP, true))?;
    must(&again, GATEWAY)?;
    Ok(verdict)
}

fn lost_device(guide: &mut Guide, company: &Company) -> Result<String> {
    let session = live::open(guide, company)?;
    guide.screen.say("Its owner calls: the laptop is gone.")?;
    let disable = format!("doorward admin device disable {LAPTOP} --why \"left in a train\"");
    let verdict = live::cut_by(guide, session, &disable)?;
    guide.screen.say("It was found, and is let in with the key it had. Its session was over:")?;
    let enable = guide.run(&format!("doorward admin device enable {LAPTOP}"))?;
    must(&enable, GATEWAY)?;
    signing::again(guide, LAPTOP)?;
    let open = guide.run(&company.psql(LAPTOP, &["select 'open to ' || current_user"]))?;
    expect(&open, &["open to ada"])?;
    Ok(verdict)
}

fn time(guide: &mut Guide, company: &Company) -> Result<String> {
    let now = Timestamp::from_system(SystemTime::now());
    let until = Timestamp::from_millis((now.millis() + AHEAD_MS) / 1000 * 1000);
    guide.screen.say("The permit for the database gets an end, a few seconds ahead:")?;
    load_db_policy(guide, Some(until))?;
    let session = live::open(guide, company)?;
    let flows = guide.run(FLOWS)?;
    expect(&flows, &[LAPTOP, &until.to_string()])?;
    guide.screen.say("Nobody does anything now; the session is idle.")?;
    let (_, end) = live::ended(guide, session)?;
    let late = millis_after(until, end.wall);
    guide.measured("promised", until.to_string());
    guide.measured("end_seen", Timestamp::from_system(end.wall).to_string());
    guide.measured("late_ms", late);
    if late < 0.0 {
        return Err(fault(GATEWAY, format!("it was cut {:.1} ms before its time", -late)));
    }
    Ok(format!(
        "promised until {until}; psql saw its connection end at {}, {late:.1} ms later",
        Timestamp::from_system(end.wall)
    ))
}

fn policy(guide: &mut Guide, company: &Company) -> Result<String> {
    guide.screen.say("The permit of step 7 is over, so a new session is refused:")?;
    let question = company.psql(LAPTOP, &["select 'open to ' || current_user"]);
    let refused = guide.run(&question)?;
    if refused.ok {
        return Err(fault(GATEWAY, "the database is open although its permit is over"));
    }
    guide.screen.say("The policy without that end, loaded:")?;
    load_db_policy(guide, None)?;
    let open = guide.run(&question)?;
    expect(&open, &["open to ada"])?;
    Ok("refused before, open after, without a restart".to_owned())
}

fn restart(guide: &mut Guide) -> Result<String> {
    guide.screen.say("She signs in again:")?;
    signing::again(guide, LAPTOP)?;
    let before = guide.run(DEVICES)?;
    must(&before, GATEWAY)?;
    guide.screen.say("No time to write anything down:")?;
    let killed = guide.kill_and_restart(GATEWAY, SERVE)?;
    let ready = guide.program(GATEWAY)?.wait_for("ready")?;
    guide
        .gateway_says(0, &["connector linked"])
        .map_err(|error| fault(CONNECTOR, format!("the connector does not come back: {error:#}")))?;
    let after = guide.run(DEVICES)?;
    if after.text() != before.text() {
        return Err(fault(GATEWAY, "the devices are not what they were"));
    }
    guide.screen.say("Nobody has to sign in again:")?;
    let page = guide.run(&look(LAPTOP, WIKI))?;
    expect(&page, &["X-Forwarded-User:   corp/ada"])?;
    let (ready, open) = (
        ms(ready.at.saturating_duration_since(killed)),
        ms(page.started.saturating_duration_since(killed) + page.took),
    );
    guide.measured("from_kill_to_ready_ms", ready);
    guide.measured("from_kill_to_page_ms", open);
    guide.screen.say("And the audit log is one unbroken chain over both lives of the gateway:")?;
    let verified = guide.run("doorward admin audit verify")?;
    must(&verified, GATEWAY)?;
    expect(&verified, &["sound"])?;
    Ok(format!(
        "the same devices and sessions as before; ready {ready:.0} ms after the kill, the page was open again after {open:.0} ms"
    ))
}

fn load_db_policy(guide: &mut Guide, until: Option<Timestamp>) -> Result<()> {
    guide.run(&format!("cat >policies/db.cedar <<'END'\n{}END", files::db(until)))?;
    let load = guide.run("doorward policy load")?;
    must(&load, GATEWAY)
}
