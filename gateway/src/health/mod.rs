//! Degraded states: what the gateway does not do as it should, why, and what helps.
//! It finds none of them itself; who notices one sets it, and clears it when it is over.
//! Always true: at most one state of a name, known since it began; a change is logged once.

mod listener;
mod metrics;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use listener::routes;
pub use listener::{bind, serve};

/// A state in which the gateway does less than it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// What it is called in status, log and metrics: lower case and `_`.
    pub name: Cow<'static, str>,
    /// What happened, and what does not work because of it.
    pub cause: String,
    /// What a person can do about it.
    pub remedy: String,
    /// When it began.
    pub since: Timestamp,
    /// Whether the gateway should get no new devices meanwhile: `/readyz` says 503.
    pub refuses: bool,
}

impl Degraded {
    /// One that begins now; the gateway goes on taking devices.
    pub fn new(name: &'static str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cause: cause.into(),
            remedy: remedy.into(),
            since: Timestamp::from_system(SystemTime::now()),
            refuses: false,
        }
    }

    /// The same, but the gateway should get no new devices.
    pub fn refusing(self) -> Self {
        Self { refuses: true, ..self }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.cause, &self.remedy, self.refuses) == (&other.cause, &other.remedy, other.refuses)
    }
}

/// The states there are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By name; every name stands in our sources, so that there are few.
    states: Mutex<BTreeMap<Cow<'static, str>, Degraded>>,
    turned_away: AtomicU64,
}

impl Health {
    /// From now on this holds. Saying the same again changes nothing; saying something else of the
    /// same name keeps when it began.
    pub fn set(&self, mut state: Degraded) {
        let mut states = self.states();
        if let Some(old) = states.get(&state.name) {
            if old.says_the_same_as(&state) {
                return;
            }
            state.since = old.since;
        }
        let Degraded { name, cause, remedy, refuses, .. } = &state;
        tracing::warn!(%name, refuses, "DEGRADED {name}: {cause}; what helps: {remedy}");
        states.insert(name.clone(), state);
    }

    /// This does not hold any more.
    pub fn clear(&self, name: &str) {
        if self.states().remove(name).is_some() {
            tracing::info!(%name, "{name} is over");
        }
    }

    /// Every state that holds, by name.
    pub fn states_now(&self) -> Vec<Degraded> {
        self.states().values().cloned().collect()
    }

    /// Connections to the listener that were dropped because too many were open.
    pub fn turned_away(&self) -> u64 {
        self.0.turned_away.load(Ordering::Relaxed)
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Degraded>> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_known_since_it_began_and_until_it_is_over() {
        let health = Health::default();
        let began =
            Degraded { since: Timestamp::MIN, ..Degraded::new("store", "the disk is full", "free some") };
        health.set(began.clone());
        health.set(Degraded::new("store", "the disk is full", "free some"));
        assert_eq!(health.states_now(), [began]);
        health.set(Degraded::new("store", "the disk is gone", "find it").refusing());
        let [now] = health.states_now().try_into().expect("one of a name");
        assert_eq!((now.since, now.refuses, &*now.cause), (Timestamp::MIN, true, "the disk is gone"));
        health.clear("audit");
        assert_eq!(health.states_now().len(), 1);
        health.clear("store");
        assert!(health.states_now().is_empty());
    }
}
