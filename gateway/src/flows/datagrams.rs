//! From "a device sent a datagram" to a carried flow of datagrams: decide, open, admit, carry.
//! It does not touch packets. Always true: registered before it is decided; the packet core hears how it
//! ended before the upstream is let go.

use std::convert::Infallible;

use tunnel::Refusal;

use super::{DIRECT, Flow, Shell, decide, decide::Asked, table};
use crate::{
    access::{Denied, DenyReason, ResourceId},
    datagrams::{self, End, Ended, Inbox, Upstream},
    dataplane::Command,
    live::Cut,
    reach::Destination,
};

/// Nobody listens for datagrams at an app; all else is a matter of access.
pub(super) fn refusal(denied: &Denied) -> Refusal {
    match denied.reasons.first() {
        Some(DenyReason::NoSuchPort | DenyReason::SpeaksTcp) => Refusal::PortUnreachable,
        Some(_) | None => Refusal::Prohibited,
    }
}

impl Shell {
    pub(super) async fn run_datagrams(&self, flow: Flow, inbox: Inbox, row: &table::Row) {
        if *self.0.draining.borrow() {
            return self.refuse(&flow, &Denied::because(DenyReason::Draining)).await;
        }
        let snapshot = self.0.live.snapshot();
        let reason = match snapshot.resolve(flow.key.target) {
            Destination::Subnet { subnet, target } => {
                let asked = Asked::new(&flow, ResourceId::Subnet(subnet), target);
                return self.datagrams(&flow, asked, inbox, row).await;
            }
            Destination::App { .. } | Destination::Front { .. } | Destination::Through { .. } => {
                DenyReason::SpeaksTcp
            }
            Destination::NoSuchPort { .. } => DenyReason::NoSuchPort,
            Destination::Dns | Destination::Door { .. } | Destination::Nothing => DenyReason::NoResource,
        };
        self.refuse(&flow, &Denied::because(reason)).await;
    }

    async fn datagrams(&self, flow: &Flow, asked: Asked, mut inbox: Inbox, row: &table::Row) {
        let (allowed, _guard) = match decide::decide(&self.0.live, &self.0.books, flow, &asked, row.cut()) {
            Ok(allowed) => allowed,
            Err(denied) => return self.refuse_for(flow, &asked.resource, &denied).await,
        };
        let direct = allowed.permit.site().is_local();
        let Some(_upstream) = self.0.descriptors.take(if direct { DIRECT } else { 0 }) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        row.decided(&asked.resource, &allowed);
        let opened = tokio::select! {
            biased;
            () = row.cut().token().cancelled() => None,
            opened = self.0.dialer.open_datagrams(allowed.permit, flow.id.0) => Some(opened),
        };
        match opened {
            None => self.refuse_for(flow, &asked.resource, &row.why_cut()).await,
            Some(Err(error)) => self.unreachable(flow, &asked, &error).await,
            Some(Ok(mut upstream)) => {
                row.over(upstream.connector());
                self.0.data_plane.send(Command::Admit(flow.id)).await;
                let carried =
                    datagrams::carry(flow.id, &mut inbox, &mut upstream, &self.0.data_plane, row.cut());
                let ended = self.until_draining(row.cut(), carried).await;
                self.ended(flow, upstream, ended, row).await;
            }
        }
    }

    /// A flow of datagrams has no end of its own that a drain could wait for: it is cut at once.
    async fn until_draining<T>(&self, cut: &Cut, work: impl Future<Output = T>) -> T {
        let mut draining = self.0.draining.clone();
        let drained = async {
            // An error says that the gateway has ended.
            let _ = draining.wait_for(|draining| *draining).await;
            cut.now(Denied::because(DenyReason::Draining));
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            never = drained => match never {},
            done = work => done,
        }
    }

    async fn ended(&self, flow: &Flow, upstream: Upstream, ended: Ended, row: &table::Row) {
        let command = match ended.how {
            End::Cut => Command::Cut(flow.id),
            End::Idle | End::Upstream => Command::Finished(flow.id),
        };
        self.0.data_plane.send(command).await;
        if ended.how == End::Idle {
            upstream.conclude();
        }
        let why = row.cut().why().map(Denied::to_string);
        let how = why.as_deref().unwrap_or(ended.how.as_str());
        self.0.books.ended(&self.0.books.id_of(flow.id), how, ended.up, ended.down);
        tracing::info!(target: "flow", flow = flow.id.0, device = %flow.device, proto = %flow.proto,
            to = %flow.key.target, end = ended.how.as_str(), up = ended.up, down = ended.down,
            dropped = ended.dropped, why, "flow ended");
    }
}
