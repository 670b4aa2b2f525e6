//! `admin backup`: the store of one moment into a file, while running; and what backup, restore and rotation
//! of keys have in common. It restores nothing. Always true: what leaves in a file stands in the audit log
//! before it leaves.

use std::{path::PathBuf, sync::Arc};

use control::{
    admin::Answer,
    audit as log,
    backup::{Backup, FORMAT, Header},
    object::READER,
};
use policy::{
    decision::PolicyId,
    facts::{AdminKind, Operator},
};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use super::{Admin, Denial, now, policies_of, random_id};

impl Admin {
    /// Keeps everything in `file`, which must not be there yet.
    pub(super) async fn backup(&self, operator: &Operator, file: PathBuf) -> Result<Answer, String> {
        let _alone = self.alone()?;
        let policies = self.permits(operator, AdminKind::Backup, true, "make").await?;
        let (marker, at, told) = (random_id(), now(), json!({ "file": file }));
        let entry = self.deed(marker.clone(), operator, (AdminKind::Backup, "make"), &policies, told);
        self.0.books.log().write(vec![entry]).await.map_err(|error| error.to_string())?;
        // Heads first: what a gateway writes after them counts as unknown to the backup.
        let heads = self.heads().await?;
        let engine = self.0.store.engine();
        let loaded = engine.load().await.map_err(|error| error.to_string())?;
        let (store, epoch, revision) = (loaded.meta.store, loaded.meta.epoch, loaded.meta.revision);
        let (engine, gateway) = (engine.name().to_owned(), self.0.gateway.clone());
        let header =
            Header { format: FORMAT, reader: READER, store, epoch, revision, at, engine, gateway, marker };
        let backup = Backup::new(header, loaded.objects, heads);
        let objects = backup.objects.len();
        let to = file.clone();
        let written = tokio::task::spawn_blocking(move || backup.write(&to)).await;
        let bytes = written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let text = format!("revision {revision}: {objects} objects, {bytes} bytes, in {}", file.display());
        let notes = [
            "its secrets open with the keys of [store] key only: keep a copy of that file elsewhere",
            "it holds the kinds of objects that this version knows",
        ];
        Ok(Answer {
            data: json!({ "file": file, "revision": revision, "objects": objects, "bytes": bytes }),
            notes: notes.map(str::to_owned).to_vec(),
            text: Some(text),
            ..Answer::default()
        })
    }

    /// The only one to do something with the whole store, until it is dropped.
    pub(super) fn alone(&self) -> Result<SemaphorePermit<'_>, String> {
        let busy = "a backup, a restore or a rotation of keys is under way: wait for its end";
        self.0.alone.try_acquire().map_err(|_| busy.to_owned())
    }

    /// By which policies the operator may; a refusal is written down.
    pub(super) async fn permits(
        &self,
        operator: &Operator,
        on: AdminKind,
        write: bool,
        verb: &str,
    ) -> Result<Vec<PolicyId>, String> {
        self.permits_on(operator, on, write, (verb, None)).await
    }

    /// The same of something that has a name.
    pub(super) async fn permits_on(
        &self,
        operator: &Operator,
        on: AdminKind,
        write: bool,
        (verb, object): (&str, Option<&str>),
    ) -> Result<Vec<PolicyId>, String> {
        let reasons = match self.may(operator, on, write, verb, object) {
            Ok(policies) => return Ok(policies),
            Err(reasons) => reasons,
        };
        let entry = self.deed(random_id(), operator, (on, verb), &policies_of(&reasons), Value::Null);
        self.tell_refused(entry).await;
        Err(Denial::said(operator, &format!("{on} {verb}"), reasons))
    }

    /// What the audit log says of something done to the store as a whole.
    pub(super) fn deed(
        &self,
        id: Arc<str>,
        operator: &Operator,
        (on, verb): (AdminKind, &str),
        policies: &[PolicyId],
        details: Value,
    ) -> log::Entry {
        log::Entry::Admin(Box::new(log::Admin {
            id,
            actor: log::Operator { uid: operator.uid, name: operator.name.clone() },
            verb: format!("{on} {verb}"),
            object: String::new(),
            user: None,
            sealed: "".into(),
            revision: None,
            decision: log::Verdict::Allow,
            policies: policies.iter().map(ToString::to_string).collect(),
            details,
        }))
    }
}
