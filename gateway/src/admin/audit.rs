//! Questions about the audit log of this gateway.
//! It writes nothing but that it was asked. Always true: a person whose key is gone stays unnamed.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use control::{
    admin::Answer,
    audit::{Chain, Filter, Found, Head, Line, Report, Tail, explain, grep, verify},
    object::User,
    seal::Key,
};
use policy::{
    decision::{Decision, PolicyId, Reason},
    facts::{AdminKind, Administration, Operator},
};
use protocol::{config::Secret, id::UserId};
use serde_json::json;

use super::{Admin, Denial, now, request::AuditRequest};
use crate::books::{Books, place_of};

/// Where this gateway's chain is, in its state folder.
pub const FOLDER: &str = "audit";
/// What the heads of chains are kept under.
pub const HEADS: &str = "audit_head";

/// The keys of people by their audit ids.
#[derive(Default)]
struct People(HashMap<Arc<str>, (UserId, Arc<str>)>);

impl People {
    fn key(&self, books: &Books, store: &str, id: &str) -> Option<Key> {
        let (user, sealed) = self.0.get(id)?;
        let key = books.keys().open(&place_of(store, user), sealed).ok()?;
        let key: [u8; 32] = key.expose().as_slice().try_into().ok()?;
        Some(Secret::new(key))
    }
}

impl Admin {
    /// Answers a question, if who asks may ask it.
    pub(super) async fn audit(&self, operator: &Operator, request: AuditRequest) -> Result<Answer, String> {
        self.may_read_audit(operator, &request)?;
        let heads = match &request {
            AuditRequest::Verify => self.heads().await?,
            AuditRequest::Tail { .. } | AuditRequest::Grep { .. } | AuditRequest::Explain { .. } => {
                Vec::new()
            }
        };
        let admin = self.clone();
        let asked = tokio::task::spawn_blocking(move || admin.look(&request, &heads));
        asked.await.map_err(|error| error.to_string())?
    }

    /// What `audit tail --follow` shows: the lines so far, and where to go on.
    pub fn tail(&self, operator: &Operator, lines: usize) -> Result<(Answer, Tail), String> {
        self.may_read_audit(operator, &AuditRequest::Tail { lines, follow: true })?;
        let (lines, tail) = Tail::open(&self.folder(), lines).map_err(|error| error.to_string())?;
        Ok((self.shown(lines.into_iter()), tail))
    }

    /// The lines that came since.
    pub fn more(&self, tail: &mut Tail) -> Result<Option<Answer>, String> {
        let lines = tail.more().map_err(|error| error.to_string())?;
        Ok((!lines.is_empty()).then(|| self.shown(lines.into_iter())))
    }

    fn may_read_audit(&self, operator: &Operator, request: &AuditRequest) -> Result<(), String> {
        let (verb, object) = match request {
            AuditRequest::Verify => ("verify", None),
            AuditRequest::Tail { .. } => ("tail", None),
            AuditRequest::Grep { .. } => ("grep", None),
            AuditRequest::Explain { id } => ("explain", Some(id.as_str())),
        };
        match self.may(operator, AdminKind::Audit, false, verb, object) {
            Ok(_) => Ok(()),
            Err(reasons) => Err(Denial::said(operator, &format!("{verb} the audit"), reasons)),
        }
    }

    /// Whether the policies let an operator look at the gateway as a whole, or have it load.
    pub fn lets(&self, operator: &Operator, write: bool, verb: &str) -> Result<(), String> {
        let on = AdminKind::Store;
        let denied = |reasons| Denial::said(operator, &format!("{on} {verb}"), reasons);
        self.may(operator, on, write, verb, None).map(drop).map_err(denied)
    }

    /// Asks the policies about what is no object of the store.
    pub(super) fn may(
        &self,
        operator: &Operator,
        on: AdminKind,
        write: bool,
        verb: &str,
        object: Option<&str>,
    ) -> Result<Vec<PolicyId>, Vec<Reason>> {
        let command = Administration { operator, write, on, verb, object, owner: None, site: None };
        match self.0.live.snapshot().engine().administer(&command, now()) {
            Decision::Allow { policies, .. } => Ok(policies),
            Decision::Deny { reasons, .. } => Err(reasons),
        }
    }

    /// How far the chain of each gateway has come.
    pub(super) async fn heads(&self) -> Result<Vec<Head>, String> {
        let seen = self.0.store.engine().observed(HEADS).await.map_err(|error| error.to_string())?;
        Ok(seen.iter().filter_map(|one| serde_json::from_str(&one.body).ok()).collect())
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.state.join(FOLDER)
    }

    fn look(&self, request: &AuditRequest, heads: &[Head]) -> Result<Answer, String> {
        let folder = self.folder();
        let failed = |error: std::io::Error| format!("the audit log cannot be read: {error}");
        match request {
            AuditRequest::Verify => {
                let chain = Chain { folder: &folder, gateway: &self.0.gateway, keys: &[self.0.audit_key] };
                verified(&verify(&chain, heads).map_err(failed)?)
            }
            AuditRequest::Tail { lines, .. } => {
                let (lines, _) = Tail::open(&folder, *lines).map_err(failed)?;
                Ok(self.shown(lines.into_iter()))
            }
            AuditRequest::Grep { text, user, device, most } => {
                let user = user.as_ref().map(ToString::to_string);
                let device = device.as_ref().map(ToString::to_string);
                let filter = Filter { text: text.clone(), user, device, ..Filter::default() };
                self.found(filter, *most).map_err(failed)
            }
            AuditRequest::Explain { id } => {
                let (people, store) = self.people();
                let opener = |user: &str| people.key(&self.0.books, &store, user);
                let known = explain(&folder, id, &opener).map_err(failed)?;
                let known = known.ok_or_else(|| format!("the audit log of gateway {} knows no request {id}: another gateway may have decided it", self.0.gateway))?;
                let data = serde_json::to_value(&known).map_err(|error| error.to_string())?;
                Ok(Answer { data, text: Some(known.to_string()), ..Answer::default() })
            }
        }
    }

    fn found(&self, filter: Filter, most: usize) -> std::io::Result<Answer> {
        let (people, store) = self.people();
        let opener = |user: &str| people.key(&self.0.books, &store, user);
        let mut latest = std::collections::VecDeque::new();
        for found in grep(&self.folder(), filter, &opener)? {
            latest.push_back(found?);
            if latest.len() > most {
                latest.pop_front();
            }
        }
        Ok(rows(latest.into_iter()))
    }

    fn shown(&self, lines: impl Iterator<Item = Line>) -> Answer {
        let (people, store) = self.people();
        let opener = |user: &str| people.key(&self.0.books, &store, user);
        rows(lines.map(|line| Found::of(line, &opener)))
    }

    fn people(&self) -> (People, Arc<str>) {
        let view = self.0.reloader.view();
        let users = view.objects().all::<User>();
        let people = users.map(|user| (user.audit.clone(), (user.id.clone(), user.key.clone())));
        (People(people.collect()), view.directory().meta().store.clone())
    }
}

fn rows(found: impl Iterator<Item = Found>) -> Answer {
    let row = |found: Found| {
        json!({
            "n": found.line.n, "at": found.line.at, "kind": found.line.entry.kind(),
            "who": found.who.to_string(), "what": found.line.entry.to_string(), "entry": found.line.entry,
        })
    };
    let columns = ["n", "at", "kind", "who", "what"].map(str::to_owned).to_vec();
    Answer { data: found.map(row).collect(), columns, ..Answer::default() }
}

fn verified(report: &Report) -> Result<Answer, String> {
    let data = serde_json::to_value(report).map_err(|error| error.to_string())?;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let counts = format!(
        "{} lines in {} files, {} to {}; {} checkpoints, {} lines not signed yet",
        report.lines, report.files, report.begins, report.ends, report.checkpoints, report.unsigned
    );
    if report.is_sound() {
        let text = format!("sound: {counts}");
        Ok(Answer { data, notes: problems, text: Some(text), ..Answer::default() })
    } else {
        Err(format!("NOT SOUND: {counts}\n{}", problems.join("\n")))
    }
}
