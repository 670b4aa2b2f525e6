//! After the tour: the demo stays up for a person with a WireGuard app of their own.
//! Always true: what it hands out is new, with a key for each device; it ends by Ctrl-C or SIGTERM,
//! or in failure if the gateway ends by itself.

use std::{convert::Infallible, fs};

use anyhow::{Context, Result};

use crate::{
    board::{Line, Stopped},
    company::{Company, Form, add_device, browse},
    guide::{GATEWAY, Guide},
    people::{EVERYBODY, GRACE, Person},
    place::TRUSTED,
    signing::WIKI,
};

/// The third device, as text.
const LAPTOP: &str = "grace-laptop";
/// The fourth, as a code: one key is one device.
const PHONE: &str = "grace-phone";

/// Invites, and stays up until somebody ends it; whether that is how it ended.
pub fn open(guide: &mut Guide, company: &Company) -> Result<bool> {
    let error = match invite(guide, company).and_then(|()| stay(guide)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let asked = error.is::<Stopped>();
    if !asked {
        guide.explain(&error)?;
    }
    Ok(asked)
}

fn invite(guide: &mut Guide, company: &Company) -> Result<()> {
    guide.screen.title("Come in yourself")?;
    add_device(guide, LAPTOP, "corp/grace", true, Form::Text)?;
    add_device(guide, PHONE, "corp/grace", true, Form::Code)?;
    show(guide, company)
}

fn show(guide: &mut Guide, company: &Company) -> Result<()> {
    let folder = guide.place.folder.clone();
    let text =
        fs::read_to_string(folder.join(format!("{LAPTOP}.conf"))).context("reading a configuration")?;
    let code = fs::read_to_string(folder.join(format!("{PHONE}.qr"))).context("reading a code")?;
    guide.screen.say(&format!(
        "You are {2}, an engineer. On this machine, without root:\n\
         \x20 cd {0}; PATH={1}:$PATH; export CURL_CA_BUNDLE={0}/{TRUSTED}\n\
         \x20 {3}\n\
         or with the stock client: sudo wg-quick up {0}/{LAPTOP}.conf (down again before Ctrl-C).\n\
         That file, for any WireGuard app:\n\n",
        folder.display(),
        guide.place.bin.display(),
        GRACE.name,
        browse(LAPTOP, WIKI, &GRACE),
    ))?;
    text.lines().try_for_each(|line| guide.screen.output(line))?;
    guide
        .screen
        .say("\nHer phone's, for the WireGuard app to scan (another key: one key is one device):\n")?;
    code.lines().try_for_each(|line| guide.screen.output(line))?;
    if company.net.endpoint.ip().is_loopback() {
        guide.screen.say(
            "\nThe gateway listens on this machine only. For a phone or another machine:\n\
             make demo ARGS='--listen IP', with an address of this machine that they reach over UDP.",
        )?;
    }
    guide.screen.say(&format!(
        "\nThen open the portal, https://door.corp.example/, or a page: {WIKI}\n\
         Browsers warn until they trust the demo: http://door.corp.example/certificate tells how, and the\n\
         provider's own authority is {}/login/ca.pem (or go on past the warning).\n\
         {}\n\
         The gateway is {}, UDP. The disks' state counts as confirmed for 24 hours.\n\
         Logs: {}/logs. Decisions follow here as they are made. Ctrl-C ends and removes everything.\n",
        folder.display(),
        people(),
        company.net.endpoint,
        folder.display()
    ))?;
    Ok(())
}

/// Who can sign in, as what.
fn people() -> String {
    let told = EVERYBODY.map(|Person { login, password, code, .. }| {
        format!("  user {login}, password {password}, one-time code {code}")
    });
    format!("Each of these signs in on the devices that are theirs:\n{}", told.join("\n"))
}

/// Shows decisions as they are made, until the demo is to end.
fn stay(guide: &mut Guide) -> Result<Infallible> {
    let log = guide.program(GATEWAY)?.log;
    let mut seen = guide.gateway_lines()?;
    loop {
        let fresh: (usize, Vec<Line>) = guide.board().wait_for_ever(log, "more decisions", |log| {
            (log.count() > seen).then(|| (log.count(), log.since(seen).cloned().collect()))
        })?;
        seen = fresh.0;
        for line in fresh.1.iter().filter(|line| is_decision(&line.text)) {
            guide.screen.output(&line.text)?;
        }
    }
}

/// A decision or the end of a flow, by the log's target.
fn is_decision(line: &str) -> bool {
    [" decision: ", " flow: "].iter().any(|target| line.contains(target))
}
