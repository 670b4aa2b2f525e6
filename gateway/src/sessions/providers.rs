//! The providers of the configuration in force, each with what is known of it at the moment.
//! It asks none by itself. Always true: one that a reload leaves as it is keeps what is known of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use control::oidc::{Alarm, Provider};
use protocol::{id::ProviderId, time::Timestamp};

use crate::config;

/// The providers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Providers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    clients: HashMap<ProviderId, Arc<Provider>>,
    /// What kept sessions from being confirmed, the last time it was asked about one.
    troubles: HashMap<ProviderId, (Timestamp, Alarm)>,
}

impl Providers {
    /// What speaks to `provider`; `None` if it cannot be spoken to, which the configuration has checked.
    pub fn of(&self, provider: &config::Provider) -> Option<Arc<Provider>> {
        let (mut known, id) = (self.known(), &provider.spec.id);
        if let Some(client) = known.clients.get(id).filter(|client| *client.spec() == provider.spec) {
            return Some(client.clone());
        }
        let new = Arc::new(Provider::new(provider.spec.clone()).ok()?);
        known.clients.insert(id.clone(), new.clone());
        Some(new)
    }

    /// What was wrong with it the last time it was spoken to, and since when.
    pub fn trouble(&self, provider: &config::Provider) -> Option<(Timestamp, Alarm)> {
        let looked = self.of(provider).and_then(|client| client.health());
        looked.or_else(|| self.known().troubles.get(&provider.spec.id).cloned())
    }

    /// It could not confirm a session.
    pub(super) fn failed(&self, provider: &ProviderId, at: Timestamp, alarm: Alarm) {
        let mut known = self.known();
        let since = known.troubles.get(provider).map_or(at, |(since, _)| *since);
        known.troubles.insert(provider.clone(), (since, alarm));
    }

    /// It could; whether it could not before.
    pub(super) fn answered(&self, provider: &ProviderId) -> bool {
        self.known().troubles.remove(provider).is_some()
    }

    /// Forgets the trouble with those that nobody waits for; whether there was any.
    pub(super) fn forgot(&self, waits: impl Fn(&ProviderId) -> bool) -> bool {
        let mut known = self.known();
        let before = known.troubles.len();
        known.troubles.retain(|provider, _| waits(provider));
        known.troubles.len() < before
    }

    /// Whether it could not, the last time it was asked about one.
    pub(super) fn is_failing(&self, provider: &ProviderId) -> bool {
        self.known().troubles.contains_key(provider)
    }

    /// Tells of those that could not, in the order of their names; nobody tells anything else meanwhile.
    pub(super) fn tell_failing(&self, tell: impl FnOnce(&[(&ProviderId, &Alarm)])) {
        let known = self.known();
        let all = known.troubles.iter().map(|(provider, (_, alarm))| (provider, alarm));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(provider, _)| *provider);
        tell(&all);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
