//! Lets those who would change the same go one by one, once they have met: the first morning, when everybody
//! joins the same groups. It bounds no wait: whoever waits has the patience of a browser.
//! Always true: while nobody has met, nobody waits; one at a time has the turn.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// One turn for all. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// The turn, for who comes while others go one by one; `None` while nobody does.
    pub async fn if_taken(&self) -> Option<SemaphorePermit<'_>> {
        if self.0.available_permits() > 0 { None } else { self.next().await }
    }

    /// The turn, in the order of asking.
    pub async fn next(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_before_anybody_has_met() {
        let turns = Turns::default();
        assert!(turns.if_taken().await.is_none());
        let first = turns.next().await.expect("it is free");
        let other = turns.clone();
        let second = tokio::spawn(async move { other.if_taken().await.is_some() });
        tokio::task::yield_now().await;
        assert!(!second.is_finished(), "there is one turn");
        drop(first);
        assert!(second.await.expect("it ends"), "who came meanwhile has the next");
    }
}
