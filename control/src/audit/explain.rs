//! What is known of one request, put so that a person at a help desk can act on it.
//! It decides nothing anew. Always true: what it says stands in the log; an erased person stays unnamed.

use std::{fmt, io, path::Path};

use serde::Serialize;

use super::{
    Decided, Entry, Line, Obstacle, Opener, Verdict, Who,
    files::{self, Lines},
};

/// A decision and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// When the decision was written down, at most a tenth of a second after it; RFC 3339 in UTC.
    pub at: String,
    /// Who asked.
    pub who: Who,
    /// The decision.
    pub decided: Decided,
    /// How it ended, if it has.
    pub ended: Option<Ending>,
    /// The line of the log that says so.
    pub n: u64,
}

/// How what was allowed ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Closed, cut, and why.
    pub why: String,
    /// Bytes from the device.
    pub sent: u64,
    /// Bytes to the device.
    pub received: u64,
}

/// What the log in `folder` knows of the request, latest files first; `None` if nothing. Blocks.
pub fn explain(folder: &Path, request_id: &str, opener: Opener<'_>) -> io::Result<Option<Explanation>> {
    let mut ended = None;
    for file in files::list(folder)?.iter().rev() {
        let mut decision = None;
        for raw in Lines::open(&file.path, u64::MAX)? {
            let Some(Line { n, at, entry, .. }) = raw?.line() else { continue };
            if let Entry::Decision(decided) = entry {
                if *decided.request_id == *request_id {
                    decision = Some((n, at, decided));
                }
            } else if let Entry::Ended { request_id: id, why, sent, received } = entry
                && *id == *request_id
            {
                ended = Some(Ending { at, why, sent, received });
            }
        }
        if let Some((n, at, decided)) = decision {
            let who = Who::of(&Entry::Decision(decided.clone()), opener);
            return Ok(Some(Explanation { at, who, decided: *decided, ended, n }));
        }
    }
    Ok(None)
}

impl Explanation {
    fn asked(&self) -> String {
        let Decided { resource, action, host, path, .. } = &self.decided;
        let mut text = format!("{action} on {resource}");
        for part in
            [host.as_deref().map(|host| format!(" at {host}")), path.as_ref().map(|path| format!(" {path}"))]
        {
            text.extend(part);
        }
        text
    }

    fn help(&self) -> String {
        let advice = self.decided.reasons.iter().filter_map(|reason| reason.advice.as_deref());
        let advice: Vec<_> = advice.collect();
        if !advice.is_empty() {
            return advice.join("; ");
        }
        match self.decided.reasons.first() {
            Some(Obstacle { policy: Some(policy), .. }) => {
                format!("what policy {policy} asks for; its text gives no advice")
            }
            Some(_) | None => "a policy that permits this person this resource; none does now".to_owned(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decided = &self.decided;
        let verdict = match decided.verdict {
            Verdict::Allow => "ALLOWED",
            Verdict::Deny => "DENIED",
        };
        writeln!(f, "Request {} was {verdict} at {}", decided.request_id, self.at)?;
        writeln!(f, "  who:      {}", self.who)?;
        writeln!(f, "  asked:    {}", self.asked())?;
        if !decided.policies.is_empty() {
            writeln!(f, "  policies: {}", decided.policies.join(", "))?;
        }
        for reason in &decided.reasons {
            let policy =
                reason.policy.as_ref().map(|policy| format!(" (policy {policy})")).unwrap_or_default();
            writeln!(f, "  because:  {}{policy}", reason.why.join("; "))?;
        }
        match decided.verdict {
            Verdict::Deny => writeln!(f, "  helps:    {}", self.help())?,
            Verdict::Allow => {}
        }
        if let Some(until) = &decided.until {
            writeln!(f, "  holds:    until {until}, when it is decided anew")?;
        }
        match &self.ended {
            Some(end) => {
                writeln!(
                    f,
                    "  ended:    {} at {} ({} bytes sent, {} received)",
                    end.why, end.at, end.sent, end.received
                )?;
            }
            None if decided.verdict == Verdict::Allow => writeln!(f, "  ended:    not yet, or not recorded")?,
            None => {}
        }
        write!(
            f,
            "  from:     facts at revision {}, policies {}; line {} of the log",
            decided.store_revision, decided.policy_fingerprint, self.n
        )
    }
}
