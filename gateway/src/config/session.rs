//! `[session]`: whether a person must have signed in, and for how long that is good.
//! Absent: they must, and it is good as the table in docs/sessions.md says.

use std::time::Duration;

use protocol::config::{Mistake, Section};

/// `[session]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Whether a device alone reaches nothing but the door.
    pub required: bool,
    /// From sign-in to the end.
    pub lifetime: Duration,
    /// Without anything open for so long it ends as well.
    pub idle: Duration,
    /// How often the provider is asked whether it still holds.
    pub refresh: Duration,
    /// From sign-in to the end if the provider cannot be asked.
    pub unrefreshed: Duration,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            required: true,
            lifetime: Duration::from_secs(12 * 3600),
            idle: Duration::from_secs(2 * 3600),
            refresh: Duration::from_secs(600),
            unrefreshed: Duration::from_secs(3600),
        }
    }
}

const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Asking more often than that is a burden to providers, and some answer it with 429.
const SHORTEST_REFRESH: Duration = Duration::from_secs(60);

pub(super) fn read(s: &mut Section<'_>, warnings: &mut Vec<Mistake>) -> Session {
    s.optional_section("session", |s| Some(walk(s, warnings))).unwrap_or_default()
}

fn walk(s: &mut Section<'_>, warnings: &mut Vec<Mistake>) -> Session {
    let usual = Session::default();
    let lifetime = s.duration_or("lifetime", usual.lifetime);
    let session = Session {
        required: s.flag_or("required", usual.required),
        lifetime,
        idle: s.duration_or("idle", usual.idle),
        refresh: s.duration_or("refresh", usual.refresh.min(lifetime)),
        unrefreshed: s.duration_or("unrefreshed", usual.unrefreshed),
    };
    for (key, value) in
        [("lifetime", session.lifetime), ("idle", session.idle), ("unrefreshed", session.unrefreshed)]
    {
        if !(SHORTEST..=LONGEST).contains(&value) {
            s.mistake(key, "between \"5m\" and \"30d\"");
        }
    }
    if !(SHORTEST_REFRESH..=session.lifetime).contains(&session.refresh) {
        s.mistake("refresh", "between \"1m\" and session.lifetime");
    }
    if !session.required {
        let reason = "devices reach what policies allow without anybody having signed in: who holds a device, or a copy of its configuration, is its owner";
        warnings.push(s.at("required", reason));
    }
    session
}
