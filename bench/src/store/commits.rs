//! Commits as the gateway makes them: alone, many at a time, and until who follows the store has them.
//! A commit writes one device with its three unique values. Always true: an answer that counts was durable.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use control::{
    directory::View,
    object::Body,
    store::{Boot, Commit, Lease, News, Revision, Store, follow},
};
use protocol::time::Timestamp;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Options, place::Place};
use crate::{
    enrolled::{self, Enrolled, Size},
    figures::Series,
    grid::Grid,
};

/// How many commit at a time.
const TOGETHER: [u32; 2] = [64, 256];
/// Longer than any measurement: what is measured needs no lease.
const LEASE: Duration = Duration::from_secs(3600);

/// Measures all of it.
pub async fn measure(
    place: &Place,
    size: Size,
    options: &Options,
    database: &str,
    grid: &mut Grid,
) -> Result<()> {
    let store = Store::new(place.open().await?);
    let mut changes = Changes { size, made: 0 };
    let alone = alone(&store, &mut changes, options.commits.get()).await?;
    add(grid, database, "commit", &alone);
    for many in TOGETHER {
        let rate = together(&store, &mut changes, many, Duration::from_secs(options.seconds)).await?;
        grid.add(&format!("commits/s, {many} at a time"), database, rate);
    }
    let follower = Follower::start(store.clone()).await?;
    add(grid, database, "followed", &followed(&store, follower, &mut changes, options.commits.get()).await?);
    if place.is_shared() {
        let follower = Follower::start(Store::new(place.open().await?)).await?;
        let series = followed(&store, follower, &mut changes, options.commits.get()).await?;
        add(grid, database, "followed by another", &series);
    }
    Ok(())
}

fn add(grid: &mut Grid, database: &str, name: &str, series: &Series) {
    for (part, title) in [(0.5, "p50"), (0.99, "p99")] {
        let sample = series.percentile(part).unwrap_or_default();
        grid.add(&format!("{name} {title} ms"), database, sample);
    }
}

/// Commits of which each is another than the last of its device.
struct Changes {
    size: Size,
    made: u32,
}

impl Changes {
    fn next(&mut self) -> Result<Commit> {
        self.made += 1;
        one(self.size, self.made)
    }
}

fn one(size: Size, number: u32) -> Result<Commit> {
    let at = Timestamp::from_millis(enrolled::since().millis() + i64::from(number));
    Ok(enrolled::commit(vec![Enrolled(number % size.devices).device(size, at)?.put()]))
}

async fn alone(store: &Store, changes: &mut Changes, count: u16) -> Result<Series> {
    let mut series = Series::default();
    for _ in 0..count {
        let commit = changes.next()?;
        let start = Instant::now();
        store.commit(commit).await?;
        series.extend([ms(start.elapsed())]);
    }
    Ok(series)
}

/// Commits per second while `many` tasks each wait for theirs.
async fn together(store: &Store, changes: &mut Changes, many: u32, time: Duration) -> Result<f64> {
    let (size, first, start) = (changes.size, changes.made, Instant::now());
    let mut tasks = JoinSet::new();
    for task in 0..many {
        let store = store.clone();
        tasks.spawn(async move {
            let mut number = first + task;
            let mut made = 0_u32;
            while start.elapsed() < time {
                number += many;
                store.commit(one(size, number)?).await?;
                made += 1;
            }
            anyhow::Ok(made)
        });
    }
    let mut made = 0;
    while let Some(task) = tasks.join_next().await {
        made += task??;
    }
    let took = start.elapsed();
    changes.made += made + many;
    Ok(f64::from(made) / took.as_secs_f64())
}

/// Somebody with a view who follows a store, until it is dropped.
struct Follower {
    news: mpsc::UnboundedReceiver<(Revision, Instant)>,
    _following: JoinSet<()>,
}

impl Follower {
    async fn start(store: Store) -> Result<Self> {
        let began = Boot::now();
        let loaded = store.engine().load().await?;
        let mut view = View::new(&loaded, []);
        let (told, news) = mpsc::unbounded_channel();
        let mut following = JoinSet::new();
        let lease = if store.engine().is_shared() { Lease::shared(LEASE, began) } else { Lease::alone() };
        following.spawn(follow(store, lease, loaded.meta.clone(), async move |news| {
            match news {
                News::Changes(meta, changes) => view.apply(meta, &changes),
                News::Loaded(loaded) => view.replace(&loaded),
            };
            // Nobody listens any more when the measurement is over.
            let _ = told.send((view.directory().meta().revision, Instant::now()));
        }));
        Ok(Self { news, _following: following })
    }
}

/// From the call of `commit` until the follower's view has it.
async fn followed(
    store: &Store,
    mut follower: Follower,
    changes: &mut Changes,
    count: u16,
) -> Result<Series> {
    let mut series = Series::default();
    for _ in 0..count {
        let commit = changes.next()?;
        let start = Instant::now();
        let revision = store.commit(commit).await?;
        let seen = loop {
            let (known, at) = follower.news.recv().await.context("the follower ended")?;
            if known >= revision {
                break at;
            }
        };
        series.extend([ms(seen.saturating_duration_since(start))]);
    }
    Ok(series)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
