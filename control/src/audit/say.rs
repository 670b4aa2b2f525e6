//! An entry in one line, for who reads along. It opens no person.
//! Always true: what it says stands in the entry.

use std::fmt;

use super::{Admin, Decided, Entry, Session, Verdict};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allowed",
            Self::Deny => "denied",
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { version } => write!(f, "gateway {version} started"),
            Self::Stop => f.write_str("gateway stopped"),
            Self::Admin(admin) => admin.fmt(f),
            Self::Session(session) => session.fmt(f),
            Self::Revocation { what, by, durable, .. } => {
                write!(f, "{by} revoked {what}{}", if *durable { "" } else { " (not durable yet)" })
            }
            Self::Decision(decided) => decided.fmt(f),
            Self::Ended { request_id, why, sent, received } => {
                write!(f, "{request_id} ended: {why}; {sent} B from the device, {received} B to it")
            }
            Self::Erasure { user } => write!(f, "the key of {user} was destroyed"),
            Self::Gap { lost } => write!(f, "{lost} entries were lost"),
            Self::Repair(repair) => write!(f, "{}", repair.reason),
            Self::Retired { through, .. } => write!(f, "lines up to {through} were deleted by policy"),
            Self::Checkpoint { n, .. } => write!(f, "everything before line {n} is signed"),
            Self::Unknown => f.write_str("written by a newer version"),
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.actor.name, self.verb, self.object)?;
        match self.decision {
            Verdict::Allow => Ok(()),
            Verdict::Deny => write!(f, " (denied)"),
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.user.as_deref().unwrap_or("somebody");
        write!(f, "{who}: {} by {}: {}", self.event, self.provider, self.why)
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.verdict, self.resource, self.action, self.request_id)?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        if !self.policies.is_empty() {
            write!(f, " [{}]", self.policies.join(", "))?;
        }
        self.reasons.iter().flat_map(|reason| &reason.why).try_for_each(|why| write!(f, "; {why}"))
    }
}
