//! Follows the store: whatever is committed, here or by another gateway, is handed on in order, whole
//! revisions at a time. It applies nothing. Always true: the lease is renewed only after everything
//! that was committed before the look began has been handed on and taken over.

use std::time::Duration;

use tokio::time::sleep;

use super::{Boot, Change, Changes, Engine, Lease, Loaded, Meta, Store, StoreError};

/// A hint may be lost; the store is looked at this often whatever hints say.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that are read at once.
const MOST: usize = 10_000;

/// What was committed since the last news.
#[derive(Debug)]
pub enum News {
    /// These changes, in order.
    Changes(Meta, Vec<Change>),
    /// Too much, or another store: everything anew.
    Loaded(Loaded),
}

/// Hands news on for ever. `known` is what has been taken over; `take` returns once its news are in force.
pub async fn follow(store: Store, lease: Lease, mut known: Meta, mut take: impl AsyncFnMut(News)) {
    loop {
        // A shared store is asked each second, which renews the lease. Of one that nobody shares all is
        // known that was committed here.
        let shared = store.engine().is_shared();
        tokio::select! {
            () = store.committed() => {}
            () = store.engine().hint() => {}
            () = sleep(LOOK), if shared || store.not_reading().is_some() => {}
        }
        // What cannot be read now is noted where health is asked, and read later.
        let _ = store.looked(look(&store, &lease, &mut known, &mut take).await);
    }
}

/// Reads until there is nothing new.
async fn look(
    store: &Store,
    lease: &Lease,
    known: &mut Meta,
    take: &mut impl AsyncFnMut(News),
) -> Result<(), StoreError> {
    loop {
        let asked = Boot::now();
        let (news, whole) = news(store.engine(), known).await?;
        let meta = news.meta();
        if *meta != *known {
            known.clone_from(meta);
            take(news).await;
        }
        if whole {
            lease.confirm(asked);
            return Ok(());
        }
    }
}

/// What was committed since `known`, and whether that is all there is.
pub async fn news(engine: &dyn Engine, known: &Meta) -> Result<(News, bool), StoreError> {
    match engine.changes(&known.store, known.revision, MOST).await? {
        Changes::Since { meta, changes } => {
            let whole = changes.len() < MOST;
            let last = changes.last().map_or(known.revision, |change| change.revision);
            // Commits that changed no object leave no changes behind.
            let revision = if whole { meta.revision } else { last };
            Ok((News::Changes(Meta { revision, ..meta }, changes), whole))
        }
        Changes::Behind => Ok((News::Loaded(engine.load().await?), true)),
    }
}

impl News {
    /// Of which moment they are.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Changes(meta, _) => meta,
            Self::Loaded(loaded) => &loaded.meta,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::store::{
        Engine,
        memory::{Fault, Memory, put},
    };

    #[tokio::test]
    async fn news_come_in_order_and_failures_only_delay_them() {
        let engine = Arc::new(Memory::default());
        let store = Store::new(engine.clone());
        let known = engine.load().await.unwrap().meta;
        let (told, mut news) = mpsc::channel(16);
        let following = tokio::spawn(follow(store.clone(), Lease::alone(), known, async move |news| {
            told.send(news).await.unwrap();
        }));
        let mut seen = Vec::new();
        for n in 0..20 {
            if n == 7 {
                engine.fail(Fault::Reading);
            }
            let revision = store.commit(put(&format!("a{n}"))).await.unwrap();
            while seen.last() < Some(&revision) {
                match news.recv().await.unwrap() {
                    News::Changes(meta, changes) => {
                        seen.extend(changes.iter().map(|change| change.revision));
                        assert_eq!(seen.last(), Some(&meta.revision));
                    }
                    News::Loaded(_) => panic!("nothing was forgotten"),
                }
            }
        }
        assert!(seen.is_sorted() && seen.len() == 20);
        following.abort();
    }

    #[tokio::test]
    async fn who_is_behind_loads_again() {
        let engine = Arc::new(Memory::default());
        let store = Store::new(engine.clone());
        let known = engine.load().await.unwrap().meta;
        store.commit(put("a")).await.unwrap();
        engine.prune(Duration::ZERO).await.unwrap();
        let (told, mut news) = mpsc::channel(1);
        let following = tokio::spawn(follow(store, Lease::alone(), known, async move |news| {
            told.send(news).await.unwrap();
        }));
        let News::Loaded(loaded) = news.recv().await.unwrap() else { panic!("the log is gone") };
        assert_eq!(loaded.objects.len(), 1);
        following.abort();
    }
}
