//! Asks the access check about one flow, writes its decision line, and counts denials.
//! It does not act on the answer. Always true: one decision line per flow.

use std::time::{Instant, SystemTime};

use protocol::{target::Target, time::Timestamp};

use super::Flow;
use crate::{
    access::{Allowed, Ask, Denied, DenyReason, Question, ResourceId, Verdict},
    books::Books,
    denials::{Denial, Denials, Refused},
    live::{Cut, Live, LiveGuard},
};

/// A flow's question.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) resource: ResourceId,
    question: Question,
}

impl Asked {
    pub(super) fn new(flow: &Flow, resource: ResourceId, target: Target) -> Self {
        let question = Question {
            device: flow.device.clone(),
            source: flow.key.device.ip(),
            resource: resource.clone(),
            ask: Ask::Connect { proto: flow.proto, target },
        };
        Self { resource, question }
    }
}

/// Registers and decides; the guard keeps the flow registered.
pub(super) fn decide(
    live: &Live,
    books: &Books,
    flow: &Flow,
    asked: &Asked,
    cut: &Cut,
) -> Result<(Allowed, LiveGuard), Denied> {
    let started = Instant::now();
    let (verdict, guard, snapshot) = live.decide_by(asked.question.clone(), cut);
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let request_id = books.id_of(flow.id);
    match verdict {
        Verdict::Allow(allowed) => {
            books.allowed(&snapshot, &asked.question, &request_id, &allowed);
            tracing::info!(target: "decision", flow = flow.id.0, request_id, user = %allowed.user.id, device = %flow.device,
                resource = %asked.resource, proto = %flow.proto, to = %flow.key.target, decision = "allow",
                policies = allowed.policies.join(","), until = allowed.until.map(|until| until.to_string()), micros);
            Ok((allowed, guard))
        }
        Verdict::Deny(denied) => {
            books.denied(&snapshot, &asked.question, &request_id, &denied);
            tracing::info!(target: "decision", flow = flow.id.0, request_id, user = denied.user.as_ref().map(|user| user.as_str()),
                device = %flow.device, resource = %asked.resource, proto = %flow.proto, to = %flow.key.target, decision = "deny",
                reason = %denied, until = denied.until.map(|until| until.to_string()), micros);
            Err(denied)
        }
    }
}

/// Counts a refused flow; a connection the device itself gave up was not denied.
pub(super) fn record(denials: &Denials, flow: &Flow, to: &str, denied: &Denied) {
    let Some(first) = denied.reasons.first().filter(|reason| **reason != DenyReason::Abandoned) else {
        return;
    };
    let denial = Denial {
        at: Timestamp::from_system(SystemTime::now()),
        device: flow.device.clone(),
        user: denied.user.clone(),
        to: to.to_owned(),
        code: first.code().to_owned(),
        reason: denied.to_string(),
    };
    let (at, to) = (denial.at, denial.to.clone());
    denials.record(denial, first.policy().map(AsRef::as_ref));
    denials.remember(&flow.device, Refused { at, to, denied: denied.clone() });
}
