//! How a device stands, for programs on it: `GET /device`. The tunnel proves which device asks.
//! Always true: a device is told of itself and its owner only.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Door, Visitor};
use crate::{
    access::{self, NotIn, ResourceId, WayIn},
    admin::now,
    http::obstacles,
    live::Open,
    snapshot::Snapshot,
};

/// The longest anybody waits for news.
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is looked for news.
const LOOK: Duration = Duration::from_millis(500);

/// What somebody knows already, and how long they want to wait for something else.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Known {
    since: Option<u64>,
    wait: Option<u64>,
}

pub(super) async fn device(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
    Query(known): Query<Known>,
) -> Response {
    let wait = Duration::from_secs(known.wait.unwrap_or(0)).min(LONGEST);
    let end = Instant::now() + wait;
    // With too many who wait, nobody else does.
    let place = door.0.watchers.try_acquire().ok();
    loop {
        let standing = standing(&door, &visitor);
        let version = version(&standing);
        if place.is_none() || Instant::now() >= end || known.since != Some(version) {
            let mut answer = standing;
            answer["version"] = json!(version);
            answer["now"] = json!(now().to_string());
            return Json(answer).into_response();
        }
        sleep(LOOK).await;
    }
}

/// Another in each run; 53 bits, as every reader of JSON can hold.
fn version(standing: &Value) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHER.hash_one(standing.to_string()) >> 11
}

fn standing(door: &Door, visitor: &Visitor) -> Value {
    let snapshot = door.snapshot();
    let device = &visitor.device;
    let owner = snapshot.device(device).map(|device| device.facts.owner.clone());
    let found = owner.as_ref().map(|owner| access::session(&snapshot, device, owner, now()));
    let required = snapshot.config().session.required;
    let open: Vec<Value> =
        door.0.parts.live.open_of(device).iter().map(|open| shown(&snapshot, device, open)).collect();
    json!({
        "device": device, "owner": owner, "door": format!("{}/", snapshot.config().door.origin()),
        "session": session(&snapshot, device, found.as_ref()),
        "sign_in_needed": required && !matches!(found, Some(Ok(_))),
        "open": open,
        "last_refusal": refusal(door, device),
    })
}

type Found = Result<std::sync::Arc<policy::facts::Session>, NotIn>;

fn session(snapshot: &Snapshot, device: &protocol::id::DeviceId, found: Option<&Found>) -> Value {
    let Some(session) = snapshot.directory().session(device) else { return Value::Null };
    let state = match found {
        Some(Ok(_)) => "active",
        Some(Err(NotIn::Suspended)) => "suspended",
        Some(Err(_)) | None => return Value::Null,
    };
    json!({
        "state": state, "user": session.user, "since": session.at.to_string(),
        "expires": session.expires.to_string(), "why": session.suspended.as_ref().map(|it| it.why.clone()),
    })
}

fn shown(snapshot: &Snapshot, device: &protocol::id::DeviceId, open: &Open) -> Value {
    let ends: Option<Timestamp> = snapshot.directory().session(device).map(|session| session.expires);
    let why =
        open.until.map(|until| if Some(until) == ends { "your session ends" } else { "a rule ends it" });
    json!({
        "resource": open.question.resource.to_string(), "to": place(snapshot, open),
        "since": open.since.to_string(), "until": open.until.map(|until| until.to_string()), "why_until": why,
    })
}

/// As a person would write it.
pub(super) fn place(snapshot: &Snapshot, open: &Open) -> String {
    let name = match &open.question.resource {
        ResourceId::App(app) => snapshot.app(app).and_then(|app| app.hosts.first().cloned()),
        ResourceId::Subnet(_) => None,
    };
    match (&open.question.ask, name) {
        (access::Ask::Http { host, .. }, _) => host.to_string(),
        (access::Ask::Connect { target, .. }, Some(name)) => format!("{name}:{}", target.port),
        (access::Ask::Connect { target, .. }, None) => target.to_string(),
    }
}

fn refusal(door: &Door, device: &protocol::id::DeviceId) -> Value {
    let Some(refused) = door.0.parts.denials.last_of(device) else { return Value::Null };
    let reasons: Vec<Value> = obstacles(&refused.denied)
        .into_iter()
        .map(|obstacle| {
            json!({
                "rule": obstacle.rule, "text": obstacle.text, "conditions": obstacle.conditions,
                "remedy": obstacle.remedy,
            })
        })
        .collect();
    let step_up = matches!(refused.denied.way_in, Some(WayIn::StepUp(_)));
    json!({ "at": refused.at.to_string(), "to": refused.to, "reasons": reasons, "step_up": step_up })
}
