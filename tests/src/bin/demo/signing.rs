//! The steps about who somebody is: signed in nowhere, signed in, once more and stronger, signed out.
//! It prepares nothing. Always true: a page is opened by what a browser does and nothing else, and a program
//! meanwhile gets what programs get.

use anyhow::{Result, anyhow};

use crate::{
    company::{Company, LAPTOP, OLD_LAPTOP, browse, through},
    guide::{CONNECTOR, Done, GATEWAY, Guide, LOGIN, expect, fault, ms},
    live,
    people::ADA,
};

/// The apps, as a person types them.
pub const WIKI: &str = "https://wiki.corp.example/";
const ADMIN: &str = "https://admin.corp.example/";
/// The addresses on the way from a page to the provider.
const THERE: [&str; 2] = ["302 https://wiki.corp.example/", "303 https://door.corp.example/sign-in"];
/// The last address of the way back.
const BACK: &str = "https://door.corp.example/callback/corp";

/// A program's look at a page, from a device.
pub fn look(device: &str, page: &str) -> String {
    format!("{} curl -sS {page}", through(device))
}

/// A device alone reaches nothing.
pub fn nobody(guide: &mut Guide, company: &Company) -> Result<String> {
    guide.screen.say(
        "All of this is one machine, so the private site is made of loopback addresses. A device here is a\n\
         network namespace of its own, with the WireGuard tunnel as its only way out: straight to the app's\n\
         address it gets nowhere.",
    )?;
    let direct = guide.run(&look(LAPTOP, &format!("http://{}/", company.net.wiki)))?;
    if direct.ok {
        return Err(anyhow!("the device reached the app past the tunnel: the demo's set-up is at fault"));
    }
    guide.screen.say("By its name in the tunnel the app is there. A program is told what helps:")?;
    let page = guide.run(&look(LAPTOP, WIKI))?;
    expect(&page, &["Sign in to open this", "not signed in", "https://door.corp.example/sign-in"])?;
    guide.screen.say("A TCP client cannot be told anything: its connection is refused at once.")?;
    let session = guide.run(&company.psql(LAPTOP, &["select 1"]))?;
    if session.ok {
        return Err(fault(GATEWAY, "the database was open to nobody"));
    }
    guide.measured("psql_ms", ms(session.took));
    guide.screen.say("The device knows why:")?;
    let status = guide.run(&format!("{} doorward-device status", through(LAPTOP)))?;
    expect(&status, &["not signed in", "https://door.corp.example/"])?;
    Ok("an enrolled device with nobody signed in reaches the door and nothing else".to_owned())
}

/// Somebody signs in on the way to a page.
pub fn sign_in(guide: &mut Guide, company: &Company) -> Result<String> {
    guide.screen.say(
        "`browse` does what a browser does, by curl: it keeps cookies, shows each address it is led to, and\n\
         fills in the provider's form. From the page to the door, to the provider, and back:",
    )?;
    let page = guide.run(&browse(LAPTOP, WIKI, &ADA))?;
    expect(&page, &THERE)?;
    expect(&page, &[BACK, "The wiki", "X-Forwarded-User:   corp/ada", "corp/engineering"])
        .map_err(|error| fault(LOGIN, format!("she did not come back signed in: {error:#}")))?;
    guide.measured("page_ms", ms(page.took));
    guide.screen.say("Now programs on the device get in, and cannot claim to be somebody else:")?;
    let forged = format!("{} curl -sS -H 'X-Forwarded-User: corp/grace' {WIKI}", through(LAPTOP));
    let forged = guide.run(&forged)?;
    expect(&forged, &["X-Forwarded-User:   corp/ada"])?;
    if forged.says(&["corp/grace"]) {
        return Err(fault(GATEWAY, "the app was told what the visitor claimed"));
    }
    let open = guide.run(&company.psql(LAPTOP, &["select 'open to ' || current_user"]))?;
    if !open.ok {
        return Err(fault(CONNECTOR, "the database did not open"));
    }
    expect(&open, &["open to ada"])?;
    Ok(format!(
        "from the page to the provider and back in {:.0} ms; the forged name never arrived",
        ms(page.took)
    ))
}

/// A rule asks for more than a password.
pub fn step_up(guide: &mut Guide) -> Result<String> {
    guide.screen.say("Its rule asks for a sign-in with a one-time code, and she gave a password:")?;
    let program = guide.run(&look(LAPTOP, ADMIN))?;
    expect(&program, &["admins-console", "one-time code", "acr=mfa"])?;
    guide.screen.say("A browser is led to the provider once more, which asks for the code:")?;
    let page = guide.run(&format!("{} {}", browse(LAPTOP, ADMIN, &ADA), ADA.code))?;
    expect(&page, &["302 https://admin.corp.example/", BACK, "The console"])?;
    guide.screen.say("The session is the device's, so programs get in as well:")?;
    let program = guide.run(&format!("{} | grep User", look(LAPTOP, ADMIN)))?;
    expect(&program, &["corp/ada"])?;
    Ok("refused with the reason, asked again, open".to_owned())
}

/// Whoever leaves has nothing open.
pub fn sign_out(guide: &mut Guide, company: &Company) -> Result<String> {
    let session = live::open(guide, company)?;
    // One key is one device: a second tunnel beside the session's would take its packets.
    guide
        .screen
        .say("She left it so, and presses \"Sign out everywhere\" at the portal, on her other laptop:")?;
    let browse = format!("{} sh browse {OLD_LAPTOP}.jar", through(OLD_LAPTOP));
    let verdict = live::cut_by(guide, session, &format!("{browse} sign-out everywhere=1"))?;
    guide.screen.say("The next page leads to the provider, which asks who she is:")?;
    let next = guide.run(&format!("{browse} {WIKI}"))?;
    expect(&next, &THERE)?;
    expect(&next, &["200 https://login.corp.example/"])?;
    let program = guide.run(&look(LAPTOP, WIKI))?;
    expect(&program, &["Sign in to open this", "not signed in"])?;
    Ok(verdict)
}

/// Signs her in again, and says so.
pub fn again(guide: &mut Guide, device: &str) -> Result<Done> {
    let page = guide.run(&browse(device, WIKI, &ADA))?;
    expect(&page, &[BACK])?;
    Ok(page)
}
