//! H8: every call to the store fails once, before it was done or after, while people are taken away and
//! given back. Always true: the calls are counted in a run without faults, so that none is left out.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use control::{
    directory::View,
    object::{Device, User},
    store::{
        Batch, BatchId, Changes, Fence, Loaded, Meta, Observation, Outcome, Record, Replacement, Revision,
        StoreError,
    },
};

use super::*;
use crate::{
    access::{self, Question, Verdict},
    testing::connect,
};

/// Before or after it was done.
#[derive(Debug, Clone, Copy)]
enum When {
    Before,
    After,
}

/// A store whose call of one number fails.
#[derive(Debug)]
struct Faulty {
    engine: Arc<dyn Engine>,
    calls: AtomicUsize,
    /// No call has this number before it is set.
    fails: AtomicUsize,
    when: When,
}

const NEVER: usize = usize::MAX;

impl Faulty {
    async fn call<T>(&self, done: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let lost = || StoreError::Unreachable { why: "a fault of the test".to_owned() };
        let fails = self.calls.fetch_add(1, Ordering::SeqCst) == self.fails.load(Ordering::SeqCst);
        match (fails, self.when) {
            (true, When::Before) => Err(lost()),
            (true, When::After) => done.await.and_then(|_| Err(lost())),
            (false, _) => done.await,
        }
    }
}

#[async_trait]
impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn is_shared(&self) -> bool {
        false
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.call(self.engine.load()).await
    }
    async fn changes(&self, store: &str, since: Revision, most: usize) -> Result<Changes, StoreError> {
        self.call(self.engine.changes(store, since, most)).await
    }
    async fn hint(&self) {
        self.engine.hint().await;
    }
    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
        let done = self.call(self.engine.commit(batch)).await;
        match (done, self.when) {
            (Err(StoreError::Unreachable { why }), When::After) => {
                Err(StoreError::Uncertain { batch: batch.id.clone(), why })
            }
            (done, _) => done,
        }
    }
    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
        self.call(self.engine.outcome(batch)).await
    }
    async fn records(&self, gateway: &str) -> Result<Vec<Record>, StoreError> {
        self.call(self.engine.records(gateway)).await
    }
    async fn written(&self, records: &[Arc<str>]) -> Result<(), StoreError> {
        self.call(self.engine.written(records)).await
    }
    async fn observe(&self, seen: &[Observation]) -> Result<(), StoreError> {
        self.call(self.engine.observe(seen)).await
    }
    async fn observed(&self, kind: &str) -> Result<Vec<Observation>, StoreError> {
        self.call(self.engine.observed(kind)).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<Option<Fence>, StoreError> {
        self.call(self.engine.lease(name, holder, time)).await
    }
    async fn release(&self, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError> {
        self.call(self.engine.release(name, holder, fence)).await
    }
    async fn prune(&self, horizon: Duration) -> Result<(), StoreError> {
        self.call(self.engine.prune(horizon)).await
    }
    async fn replace(&self, with: Replacement) -> Result<Meta, StoreError> {
        self.call(self.engine.replace(with)).await
    }
    async fn confirm(&self, records: &[Record]) -> Result<Meta, StoreError> {
        self.call(self.engine.confirm(records)).await
    }
}

/// What is done in turn, and what the store says of it once it was.
type Step = (Value, fn(&View) -> bool);

fn script() -> Vec<Step> {
    vec![
        (json!({ "device": { "disable": { "device": "laptop", "why": null } } }), |view| !is_open(view)),
        (json!({ "device": { "enable": { "device": "laptop" } } }), is_open),
        (json!({ "device": { "disable": { "device": "laptop", "why": null } } }), |view| !is_open(view)),
        (json!({ "device": { "enable": { "device": "laptop" } } }), is_open),
        (json!({ "group": { "remove-member": { "group": "corp/dev", "user": "corp/alice" } } }), |view| {
            !is_dev(view)
        }),
        (json!({ "group": { "add-member": { "group": "corp/dev", "user": "corp/alice" } } }), is_dev),
        (json!({ "device": { "remove": { "device": "laptop" } } }), |view| {
            view.objects().get::<Device>("laptop").is_none()
        }),
    ]
}

fn is_open(view: &View) -> bool {
    view.objects().get::<Device>("laptop").is_some_and(|laptop| laptop.disabled.is_none())
}

fn is_dev(view: &View) -> bool {
    let dev = "corp/dev".parse().expect("a name");
    view.objects().get::<User>("corp/alice").is_some_and(|alice| alice.groups.contains(&dev))
}

fn asked() -> Question {
    connect("desk", "127.0.0.1:9")
}

/// Who is let in after each step of a run in which call `fails` fails; and how many calls there were.
async fn run(fails: usize, when: When) -> (Vec<bool>, usize) {
    let mut faulty = None;
    let world = World::over(|engine| {
        let (calls, none) = (AtomicUsize::new(0), AtomicUsize::new(NEVER));
        let wrapped = Arc::new(Faulty { engine, calls, fails: none, when });
        faulty = Some(wrapped.clone());
        wrapped
    })
    .await;
    let faulty = faulty.expect("wrapped");
    faulty.calls.store(0, Ordering::SeqCst);
    faulty.fails.store(fails, Ordering::SeqCst);
    let mut allowed = Vec::new();
    for (request, done) in script() {
        let request: Request = serde_json::from_value(request).expect("a request");
        let root = Operator { name: "root".to_owned(), uid: 0, groups: Default::default(), root: true };
        let said = world.admin.serve(root, AdminRequest::Control(request.clone())).await;
        let kept = View::new(&faulty.engine.load().await.expect("the file is well"), []);
        assert!(
            said.is_err() || done(&kept),
            "call {fails} {when:?}: {request:?} was acknowledged and is lost"
        );
        let verdict = access::check(&world.admin.0.live.snapshot(), &asked(), now());
        allowed.push(matches!(verdict, Verdict::Allow(_)));
    }
    (allowed, faulty.calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_call_to_the_store_that_fails_lets_nobody_in() {
    let (reference, calls) = run(NEVER, When::Before).await;
    assert_eq!(reference, [false, true, false, true, false, true, false]);
    assert!(calls >= script().len() * 3, "{calls} calls");
    for call in 0..calls {
        for when in [When::Before, When::After] {
            let (allowed, _) = run(call, when).await;
            let worse = allowed.iter().zip(&reference).any(|(allowed, reference)| *allowed && !reference);
            assert!(!worse, "call {call} fails {when:?}: {allowed:?} where {reference:?} is right");
        }
    }
}
