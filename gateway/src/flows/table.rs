//! What is open, by flow: the handle to end it, and the row `doorward status` shows.
//! It does not decide or cut by itself. Always true: a row lives exactly as long as its task.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use protocol::{
    id::{AppId, ConnectorId, DeviceId, UserId},
    target::Proto,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tunnel::FlowId;

use super::Flow;
use crate::{
    access::{Allowed, Denied, DenyReason, ResourceId},
    datagrams::Outlet,
    live::Cut,
};

/// One open flow, for status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowRow {
    /// Its number in this run of the gateway.
    pub flow: u64,
    /// Whose device.
    pub device: DeviceId,
    /// Who, once decided.
    pub user: Option<UserId>,
    /// What it speaks.
    pub proto: Proto,
    /// The device's end; of an echo, its identifier.
    pub from: SocketAddr,
    /// The address the device asked for; of an echo, port 0.
    pub to: SocketAddr,
    /// What stands there.
    pub resource: Option<String>,
    /// `deciding`, `allow`, or `front` where every request is decided by itself.
    pub decision: String,
    /// The permits that matched.
    pub policies: Vec<String>,
    /// Until when it is allowed, if time will end or change that.
    pub until: Option<Timestamp>,
    /// The connector it runs over.
    pub connector: Option<ConnectorId>,
    /// When it was opened.
    pub since: Timestamp,
}

/// A flow's handles and its row.
#[derive(Debug)]
struct Entry {
    cut: Cut,
    /// Where its payloads go, if it is of datagrams.
    outlet: Option<Outlet>,
    row: FlowRow,
}

type Open = HashMap<FlowId, Entry>;

/// The open flows. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows(Arc<Mutex<Open>>);

/// A flow's place in the table, given up when dropped.
#[derive(Debug)]
pub(super) struct Row {
    flows: Flows,
    id: FlowId,
    cut: Cut,
}

impl Flows {
    pub(super) fn insert(&self, flow: &Flow, outlet: Option<Outlet>) -> Row {
        let row = FlowRow {
            flow: flow.id.0,
            device: flow.device.clone(),
            user: None,
            proto: flow.proto,
            from: flow.key.device,
            to: flow.key.target,
            resource: None,
            decision: "deciding".to_owned(),
            policies: Vec::new(),
            until: None,
            connector: None,
            since: Timestamp::from_system(SystemTime::now()),
        };
        let cut = Cut::of(flow.id);
        self.open().insert(flow.id, Entry { cut: cut.clone(), outlet, row });
        Row { flows: self.clone(), id: flow.id, cut }
    }

    pub(super) fn cut(&self, id: FlowId, why: Denied) {
        if let Some(entry) = self.open().get(&id) {
            entry.cut.now(why);
        }
    }

    /// Where the flow's payloads go.
    pub(super) fn outlet(&self, id: FlowId) -> Option<Outlet> {
        self.open().get(&id).and_then(|entry| entry.outlet.clone())
    }

    pub(super) fn cut_all(&self, why: &Denied) {
        for entry in self.open().values() {
            entry.cut.now(why.clone());
        }
    }

    pub(super) fn rows(&self) -> Vec<FlowRow> {
        let mut rows: Vec<_> = self.open().values().map(granted).collect();
        rows.sort_by_key(|row| row.flow);
        rows
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row with what allows the flow now: a load may have changed it since it was opened.
fn granted(entry: &Entry) -> FlowRow {
    let grant = entry.cut.grant();
    let policies = grant.policies.iter().map(|policy| policy.as_ref().to_owned()).collect();
    FlowRow { until: grant.until, policies, ..entry.row.clone() }
}

impl Row {
    /// How this flow's task learns that it must end.
    pub(super) fn cut(&self) -> &Cut {
        &self.cut
    }

    /// Why it was cut.
    pub(super) fn why_cut(&self) -> Denied {
        self.cut.why().cloned().unwrap_or_else(|| Denied::because(DenyReason::Abandoned))
    }

    pub(super) fn decided(&self, resource: &ResourceId, allowed: &Allowed) {
        self.update(|row| {
            row.user = Some(allowed.user.id.clone());
            row.resource = Some(resource.to_string());
            row.decision = "allow".to_owned();
        });
    }

    pub(super) fn front(&self, app: &AppId) {
        self.update(|row| {
            row.resource = Some(ResourceId::App(app.clone()).to_string());
            row.decision = "front".to_owned();
        });
    }

    pub(super) fn at_door(&self) {
        self.update(|row| {
            row.resource = Some("door".to_owned());
            row.decision = "front".to_owned();
        });
    }

    pub(super) fn over(&self, connector: Option<&ConnectorId>) {
        self.update(|row| row.connector = connector.cloned());
    }

    fn update(&self, change: impl FnOnce(&mut FlowRow)) {
        if let Some(entry) = self.flows.open().get_mut(&self.id) {
            change(&mut entry.row);
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.flows.open().remove(&self.id);
    }
}
