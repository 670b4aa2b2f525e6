//! Flows to what is there for everybody: the door, a provider's own names, and the redirect that leads to
//! the door. It decides nothing about apps and subnets.
//! Always true: an enrolled device gets here without a session, and nowhere else.

use std::time::Duration;

use protocol::target::Proto;
use rustls::server::Acceptor;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{DIRECT, Flow, SOCKET, Shell, table};
use crate::{
    access::{self, Denied, DenyReason, ResourceId, WayIn},
    door::{Visitor, lead_to_the_door},
    reach::Destination,
};

/// How long a hello may take.
const HELLO: Duration = Duration::from_secs(10);
/// Longer than any hello: it must fit the socket's buffer as a whole.
const LARGEST_HELLO: usize = 16 * 1024;
/// Between two looks at a hello that is not whole yet.
const LOOK: Duration = Duration::from_millis(5);

/// Where plain HTTP goes.
const HTTP: u16 = 80;

/// Whether a refused connection is a browser's that can be shown the way: plain HTTP into a network.
pub(super) fn leads_there(flow: &Flow, resource: &ResourceId, denied: &Denied) -> bool {
    let signs_in = denied.way_in == Some(WayIn::SignIn);
    let http = flow.proto == Proto::Tcp && flow.key.target.port() == HTTP;
    http && signs_in && matches!(resource, ResourceId::Subnet(_))
}

impl Shell {
    /// The portal.
    pub(super) async fn door(&self, flow: &Flow, secure: bool, row: &table::Row) {
        let Some(_descriptors) = self.0.descriptors.take(SOCKET) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        if !access::admit_door(&self.0.live.snapshot(), &flow.device) {
            return self.refuse(flow, &Denied::because(DenyReason::UnknownDevice)).await;
        }
        row.at_door();
        let Some(socket) = self.admit(flow, row.cut()).await else { return };
        let visitor = Visitor { device: flow.device.clone(), source: flow.key.device, secure };
        let serve = async {
            if !secure {
                return self.0.door.serve(socket, visitor).await;
            }
            let name = self.0.door.name();
            let cut = row.cut().token().cancelled();
            match self.0.tls.accept(socket, |asked| asked == name, cut).await {
                Ok(secured) => self.0.door.serve(secured.stream, visitor).await,
                Err(error) => {
                    tracing::info!(target: "flow", device = %flow.device, %error, "no TLS at the door");
                }
            }
        };
        tokio::select! {
            () = serve => {}
            () = row.cut().token().cancelled() => {}
        }
        self.0.data_plane.send(crate::dataplane::Command::Finished(flow.id)).await;
    }

    /// A redirect to the portal instead of a reset: it was plain HTTP, and signing in helps.
    pub(super) async fn lead(&self, flow: &Flow, denied: &Denied, row: &table::Row) {
        super::decide::record(&self.0.denials, flow, &flow.to(), denied);
        let Some(_descriptors) = self.0.descriptors.take(SOCKET) else {
            return self.reset(flow, &flow.to(), denied).await;
        };
        row.at_door();
        let Some(socket) = self.admit(flow, row.cut()).await else { return };
        let origin = self.0.door.origin();
        tokio::select! {
            () = lead_to_the_door(socket, &origin) => {}
            () = row.cut().token().cancelled() => {}
        }
        self.0.data_plane.send(crate::dataplane::Command::Finished(flow.id)).await;
    }

    /// TLS to a provider's own name, as it is: the hello must ask for that name.
    pub(super) async fn through(&self, flow: &Flow, to: &Destination, row: &table::Row) {
        let Some(_descriptors) = self.0.descriptors.take(SOCKET + DIRECT) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        let snapshot = self.0.live.snapshot();
        let Some(permit) = access::admit_through(&snapshot, &flow.device, to) else {
            return self.refuse(flow, &Denied::because(DenyReason::UnknownDevice)).await;
        };
        let Destination::Through { app, .. } = to else { return };
        let names = snapshot.app(app).map(|app| app.hosts.clone()).unwrap_or_default();
        row.front(app);
        let Some(socket) = self.admit(flow, row.cut()).await else { return };
        let asked = tokio::select! {
            biased;
            () = row.cut().token().cancelled() => None,
            asked = asked_name(&socket) => asked,
        };
        if !asked.as_ref().is_some_and(|asked| names.contains(asked)) {
            tracing::info!(target: "decision", flow = flow.id.0, device = %flow.device, %app, asked,
                decision = "deny", reason = "TLS to another name than the provider's");
            return self.cut_packets(flow, row.cut()).await;
        }
        match self.0.dialer.open(permit, flow.id.0).await {
            Ok(upstream) => {
                row.over(upstream.connector());
                self.relay(flow, socket, upstream, row).await;
            }
            Err(error) => {
                tracing::warn!(target: "flow", flow = flow.id.0, device = %flow.device, %app, %error,
                    "cannot open the provider");
                self.cut_packets(flow, row.cut()).await;
            }
        }
    }
}

/// The name that a TLS hello asks for, which stays in the socket.
async fn asked_name(socket: &TcpStream) -> Option<String> {
    let look = async {
        let mut bytes = vec![0; LARGEST_HELLO];
        let mut seen = 0;
        let end = Instant::now() + HELLO;
        while Instant::now() < end {
            let length = socket.peek(&mut bytes).await.ok()?;
            if length == 0 {
                return None;
            }
            if length > seen {
                seen = length;
                let mut acceptor = Acceptor::default();
                acceptor.read_tls(&mut bytes.get(..length)?).ok()?;
                match acceptor.accept() {
                    Ok(Some(hello)) => {
                        return hello.client_hello().server_name().map(str::to_ascii_lowercase);
                    }
                    Ok(None) => {}
                    Err(_) => return None,
                }
            }
            // Part of it is there, so that waiting for more to read would return at once.
            sleep(LOOK).await;
        }
        None
    };
    timeout(HELLO, look).await.ok().flatten()
}
