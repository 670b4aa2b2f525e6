//! Compares one in so many decisions with the oracle, in a thread of its own so that nobody waits for it.
//! It does not pick or compare them: `policy` does.
//! Always true: it takes a tenth of one core at most; after a mismatch everything open is asked again.

use std::{
    io,
    num::NonZeroU64,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use policy::{Sample, Shadow};

use crate::{
    health::{Degraded, Health},
    truth::Reloader,
};

/// Of so many decisions one is compared, beginning with the first.
const EVERY: NonZeroU64 = NonZeroU64::new(1024).expect("not zero");
/// How many times the length of a comparison the thread rests after it: a comparison looks at every policy.
const REST: u32 = 9;

/// What decides which decisions are compared, and where they arrive.
pub fn new() -> (Shadow, Receiver<Sample>) {
    Shadow::new(EVERY)
}

/// Compares `samples` until whoever sends them is gone.
pub fn start(samples: Receiver<Sample>, reloader: Reloader, health: Health) -> io::Result<()> {
    let compare = move || compare_all(samples, &reloader, &health);
    thread::Builder::new().name("shadow".to_owned()).spawn(compare).map(drop)
}

fn compare_all(samples: Receiver<Sample>, reloader: &Reloader, health: &Health) {
    for sample in samples {
        let started = Instant::now();
        if let Err(mismatch) = sample.compare() {
            tracing::error!(
                policy = &*mismatch.policy,
                "{}: this is a fault of the program",
                mismatch.reason
            );
            health.set(Degraded::new(
                "policy_index",
                "the index of the policies contradicted Cedar's authorizer, which decides alone now, slowly",
                "the log names the policy: report it, and restart when a release mends it",
            ));
            reloader.ask_again();
        }
        // What comes meanwhile and finds no place is dropped and counted.
        thread::sleep(started.elapsed().min(Duration::from_secs(10)) * REST);
    }
}
