//! Tokens that were proven and whose sender was not told of success yet: the same token, sent again, is no
//! replay then. It ends no session. Always true: bounded, and forgotten when no token lives any more.

use std::time::Duration;

use moka::sync::Cache;
use protocol::id::ProviderId;

/// Longer than a token can be shown.
const KEPT: Duration = Duration::from_secs(900);
/// Each is a provider's word; one that is forgotten is refused as a replay.
const MOST: u64 = 10_000;

/// By provider and the token's own name.
#[derive(Debug)]
pub(super) struct Unanswered(Cache<(ProviderId, String), ()>);

impl Default for Unanswered {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_live(KEPT).build())
    }
}

impl Unanswered {
    /// Somebody waits for the answer; whether they, or others, did so before in vain.
    pub fn begun(&self, token: (ProviderId, String)) -> bool {
        !self.0.entry(token).or_insert(()).is_fresh()
    }

    /// There is an answer that holds.
    pub fn answered(&self, token: &(ProviderId, String)) {
        self.0.invalidate(token);
    }
}
