//! The providers of the configuration in force, each with what is known of it at the moment.
//! It asks none by itself. Always true: one that a reload leaves as it is keeps what is known of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use control::oidc::Provider;
use protocol::id::ProviderId;

use crate::config;

/// The providers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Providers(Arc<Mutex<HashMap<ProviderId, Arc<Provider>>>>);

impl Providers {
    /// What speaks to `provider`; `None` if it cannot be spoken to, which the configuration has checked.
    pub fn of(&self, provider: &config::Provider) -> Option<Arc<Provider>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&provider.spec.id).filter(|known| *known.spec() == provider.spec) {
            return Some(known.clone());
        }
        let new = Arc::new(Provider::new(provider.spec.clone()).ok()?);
        known.insert(provider.spec.id.clone(), new.clone());
        Some(new)
    }
}
