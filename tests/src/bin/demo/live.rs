//! A session with the database that is open while something happens to its right, and how it ends.
//! It takes no right away by itself. Always true: a session that ends has told so, and when.

use anyhow::{Context, Result, anyhow};

use crate::{
    board::Line,
    company::{Company, LAPTOP},
    guide::{Background, CONNECTOR, Done, GATEWAY, Guide, fault, ms, must},
};

/// What a session says when it is live.
const LIVE: &str = "connected as ada";

/// A session with the database that waits for an hour.
pub fn open(guide: &mut Guide, company: &Company) -> Result<Background> {
    guide.screen.say("A session with the database that would last for an hour:")?;
    let line = company.psql(LAPTOP, &["select 'connected as ' || current_user", "select pg_sleep(3600)"]);
    let mut session = guide.start(&line)?;
    guide.follow(&mut session, LIVE).map_err(|error| fault(CONNECTOR, format!("no session: {error:#}")))?;
    Ok(session)
}

/// Waits until a live session has ended; all of it, and the first line that tells.
pub fn ended(guide: &mut Guide, session: Background) -> Result<(Done, Line)> {
    let done = guide.finish(session).context("the session goes on")?;
    if done.ok {
        return Err(fault(GATEWAY, "the session ended as if all was well"));
    }
    let told = done.lines.iter().skip_while(|line| !line.text.contains(LIVE)).nth(1).cloned();
    let told = told.ok_or_else(|| anyhow!("psql ended without a word"))?;
    Ok((done, told))
}

/// Runs a command that takes a live session's right away; what it took to cut it.
pub fn cut_by(guide: &mut Guide, session: Background, line: &str) -> Result<String> {
    let first = guide.gateway_lines()?;
    let command = guide.run(line)?;
    must(&command, GATEWAY)?;
    guide.screen.say("Meanwhile, in the session:")?;
    let (_, end) = ended(guide, session)?;
    let total = ms(end.at.saturating_duration_since(command.started));
    guide.gateway_says(first, &["flow ended", LAPTOP, "cut"]).map_err(|error| {
        fault(GATEWAY, format!("the session ended, but not because it was cut: {error:#}"))
    })?;
    guide.measured("from_command_to_end_ms", total);
    Ok(format!("psql saw its connection end {total:.0} ms after the command was started"))
}
