//! Ends sessions that nobody uses, and forgets those that are over.
//! When a device was used is seen, not decided: it is in memory, and told to the other gateways each
//! minute. Always true: what is open is used; losing what was seen makes a session look older at most.

use std::{collections::HashMap, sync::Arc, time::Duration};

use control::{object::Session, session::over, store::Observation};
use protocol::{id::DeviceId, time::Timestamp};
use tokio::time::{Instant, sleep};

use super::{Sessions, Which};
use crate::admin::now;

/// How often sessions are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often gateways tell each other what they saw.
const TELL: Duration = Duration::from_secs(60);
/// What they saw may be older than it was by so much.
const LATE: Duration = Duration::from_secs(120);
/// How long what is over is kept, for whoever asks what became of it; longer than a logout token is good.
const KEPT: Duration = Duration::from_secs(3600);
/// How much is forgotten at once.
const MOST: usize = 500;
/// What use is told under, by device.
const USED: &str = "device used";

/// Looks after what nobody uses.
#[derive(Debug)]
pub struct Idle {
    sessions: Sessions,
    /// By this gateway and the others, as told.
    told: HashMap<Arc<str>, Timestamp>,
}

impl Idle {
    /// Over `sessions`.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions, told: HashMap::new() }
    }

    /// Looks for ever; only the one of several gateways for which `leads` says so ends anything.
    pub async fn run(mut self, leads: impl Fn() -> bool) {
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                self.tell().await;
                next = Instant::now() + TELL;
            }
            if leads() {
                self.look().await;
            }
            sleep(LOOK).await;
        }
    }

    /// Tells what was used here since the last time, and hears what was elsewhere.
    async fn tell(&mut self) {
        let snapshot = self.sessions.live.snapshot();
        let at = now();
        let mut seen = Vec::new();
        for session in snapshot.directory().sessions() {
            let used = self.sessions.live.last_used(&session.device);
            let id: Arc<str> = session.device.as_str().into();
            let Some(used) = used.filter(|used| self.told.get(&id).is_none_or(|told| told < used)) else {
                continue;
            };
            let body = serde_json::to_string(&used).unwrap_or_default().into();
            seen.push(Observation { kind: USED.into(), id: id.clone(), body, at });
            self.told.insert(id, used);
        }
        self.sessions.live.forget_used(|device: &DeviceId| snapshot.directory().session(device).is_some());
        let store = &self.sessions.carrier.store;
        // What cannot be told or heard now is told and heard in a minute.
        if !seen.is_empty() && store.wrote(store.engine().observe(&seen).await).is_err() {
            return;
        }
        let Ok(others) = store.engine().observed(USED).await else { return };
        for Observation { id, body, .. } in others {
            let Ok(used) = serde_json::from_str::<Timestamp>(&body) else { continue };
            let known = self.told.entry(id).or_insert(used);
            *known = used.max(*known);
        }
        self.told.retain(|device, _| {
            device.parse().is_ok_and(|device| snapshot.directory().session(&device).is_some())
        });
    }

    async fn look(&self) {
        let snapshot = self.sessions.live.snapshot();
        let limit = snapshot.config().session.idle;
        let shared = self.sessions.carrier.store.engine().is_shared();
        let limit = limit + if shared { LATE } else { Duration::ZERO };
        let at = now();
        let idle: Vec<DeviceId> = snapshot
            .directory()
            .sessions()
            .filter(|session| session.expires > at && self.is_idle(session, limit, at))
            .map(|session| session.device.clone())
            .collect();
        for device in idle {
            let why = "nothing was open for too long";
            if let Err(error) = self.sessions.end(&Which::On(device), why).await {
                tracing::warn!(%error, "a session that nobody uses cannot be ended now");
                return;
            }
        }
        self.forget(at).await;
    }

    async fn forget(&self, at: Timestamp) {
        let before =
            Timestamp::from_millis(at.millis().saturating_sub(i64::try_from(KEPT.as_millis()).unwrap_or(0)));
        let done = self.sessions.carry("the clock", |view, _| Some((over(view, before, MOST)?, Vec::new())));
        if let Err(error) = done.await {
            tracing::debug!(%error, "sessions that are over cannot be forgotten now");
        }
    }

    /// Whether it was not used for so long, as far as anybody knows: signing in is use.
    fn is_idle(&self, session: &Session, limit: Duration, at: Timestamp) -> bool {
        let told = self.told.get(session.device.as_str()).copied();
        let is_old = |used: Timestamp| used.plus(limit) <= at;
        // What is open now is looked up last: that holds up those who open something.
        told.into_iter().chain([session.at]).all(is_old)
            && self.sessions.live.last_used(&session.device).is_none_or(is_old)
    }
}
