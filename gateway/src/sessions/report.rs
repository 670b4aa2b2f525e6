//! How many sessions there are and how it stands with asking about them, for status and metrics.
//! It names no person and asks nobody. Always true: active, suspended and over are all there are.

use control::object::Session;
use protocol::{id::ProviderId, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::refresh::{Refresh, jittered};
use crate::admin::now;

/// Sessions, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// That count.
    pub active: u64,
    /// That count for nothing until their person signs in again.
    pub suspended: u64,
    /// That have ended by the clock and are not forgotten yet.
    pub over: u64,
    /// About which the provider is to be asked now.
    pub due: u64,
    /// Those of them that are due for as long again as they should be good without asking.
    pub late: u64,
    /// Whether it is this gateway that asks.
    pub asks: bool,
    /// Every provider of the configuration.
    pub providers: Vec<Provider>,
}

/// How a provider was the last time it was spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Which.
    pub name: ProviderId,
    /// What was wrong.
    pub trouble: Option<Trouble>,
}

/// What is wrong with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// What, and what to do.
    pub text: String,
}

impl Refresh {
    /// How it stands now.
    pub fn report(&self) -> Report {
        let snapshot = self.sessions.live.snapshot();
        let (at, every) = (now(), snapshot.config().session.refresh);
        let mut report = Report { asks: self.leads(), ..Report::default() };
        for session in snapshot.directory().sessions() {
            report.count(session, at, every);
        }
        let provider = |provider: &crate::config::Provider| {
            let trouble = self.sessions.providers.trouble(provider);
            let trouble = trouble.map(|(since, alarm)| Trouble { since, text: alarm.text });
            Provider { name: provider.spec.id.clone(), trouble }
        };
        report.providers = snapshot.config().providers.iter().map(provider).collect();
        report
    }
}

impl Report {
    fn count(&mut self, session: &Session, at: Timestamp, every: std::time::Duration) {
        if session.expires <= at {
            self.over += 1;
            return;
        }
        match session.suspended {
            Some(_) => self.suspended += 1,
            None => self.active += 1,
        }
        if session.refresh.is_none() {
            return;
        }
        let since = session.refreshed;
        self.due += u64::from(since.plus(jittered(every, &session.id, since)) <= at);
        self.late += u64::from(since.plus(every * 2) <= at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control::object::session::Suspended;

    use super::*;

    const EVERY: Duration = Duration::from_secs(600);

    fn session(expires: u64, refreshed: u64) -> Session {
        let at = |seconds: u64| Timestamp::from_millis(0).plus(Duration::from_secs(seconds));
        Session {
            id: "s1".into(),
            user: "corp/a".parse().unwrap(),
            device: "laptop".parse().unwrap(),
            provider: "corp".parse().unwrap(),
            subject: "a".into(),
            at: at(0),
            expires: at(expires),
            auth_time: None,
            amr: Default::default(),
            acr: None,
            sid: None,
            refresh: Some("sealed".into()),
            refreshed: at(refreshed),
            refreshing: None,
            suspended: None,
            rest: Default::default(),
        }
    }

    #[test]
    fn each_session_is_counted_once_and_those_to_be_asked_about_beside_it() {
        let now = Timestamp::from_millis(10_000_000);
        let suspended = Suspended { at: now, why: "two places".to_owned() };
        let mut report = Report::default();
        for session in [
            session(10_000, 0),
            session(20_000, 9_990),
            session(20_000, 9_300),
            Session { refresh: None, ..session(20_000, 0) },
            Session { suspended: Some(suspended), ..session(20_000, 8_800) },
        ] {
            report.count(&session, now, EVERY);
        }
        let Report { active, suspended, over, due, late, .. } = report;
        assert_eq!((active, suspended, over), (3, 1, 1));
        assert_eq!((due, late), (2, 1), "what is late is due");
    }
}
