//! Answers what comes over the control socket: status, and loads.
//! It changes nothing itself. Always true: one caller at a time is answered by its own task, and
//! a caller that says nothing is let go.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use control::admin::Answer;
use policy::facts::Operator;
use protocol::time::Timestamp;
use tokio::{net::UnixStream, sync::Semaphore};

use crate::{
    admin::{
        Admin,
        request::{AdminRequest, AuditRequest},
    },
    connectors::Registry,
    dataplane::DataPlane,
    denials::Denials,
    flows::FlowSet,
    health::Health,
    live::Live,
    names::Names,
    outside::Outside,
    sessions::Refresh,
    socket::{self, ControlSocket, Question},
    status::{Policies, Status},
    tls::TlsFront,
    truth::{Reloader, Scope},
    unknown::Unknown,
};

/// Rest after a failed accept, so that the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Callers at a time; more wait to be answered.
const CALLERS: usize = 64;
/// How often who follows the audit log is told what is new.
const FOLLOW: Duration = Duration::from_millis(250);

/// Everything status is gathered from.
#[derive(Debug, Clone)]
pub struct Desk {
    /// When the gateway started.
    pub started: Timestamp,
    /// What the set-up fell back to.
    pub notes: Vec<String>,
    /// Degraded states.
    pub health: Health,
    /// The snapshot in force.
    pub live: Live,
    /// The packet path.
    pub data_plane: DataPlane,
    /// Open flows.
    pub flows: FlowSet,
    /// Counted denials.
    pub denials: Denials,
    /// Who knocked in vain.
    pub unknown: Unknown,
    /// Connectors, if any are configured.
    pub registry: Option<Registry>,
    /// The name server.
    pub names: Names,
    /// The TLS front.
    pub tls: TlsFront,
    /// What stands on the internet, if anything does.
    pub outside: Option<Outside>,
    /// Accepted sockets that belonged to nobody.
    pub unpaired: Arc<AtomicU64>,
    /// Loads files.
    pub reloader: Reloader,
    /// Administration.
    pub admin: Admin,
    /// Asks providers about sessions.
    pub refresh: Refresh,
}

impl Desk {
    /// Serves callers for ever.
    pub async fn serve(self, control: ControlSocket) {
        let places = Arc::new(Semaphore::new(CALLERS));
        while let Ok(place) = places.clone().acquire_owned().await {
            match control.next().await {
                Ok(caller) => {
                    let desk = self.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = desk.attend(caller).await {
                            tracing::debug!(%error, "a caller of the control socket went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn attend(&self, mut caller: UnixStream) -> std::io::Result<()> {
        let who = caller.peer_cred()?;
        let operator = Admin::operator(who.uid(), who.gid());
        match socket::question(&mut caller).await? {
            Question::Status => {
                let status = match self.may(&operator, false, "status") {
                    Ok(()) => self.status().await,
                    Err(why) => Err(why),
                };
                socket::answer(&mut caller, &status).await
            }
            Question::Reload => self.load(caller, &operator, "reload", Scope::All).await,
            Question::LoadPolicies => self.load(caller, &operator, "load-policies", Scope::Policies).await,
            Question::Admin(request) => match *request {
                AdminRequest::Audit(AuditRequest::Tail { lines, follow: true }) => {
                    self.tail(caller, operator, lines).await
                }
                request => socket::answer(&mut caller, &self.admin.serve(operator, request).await).await,
            },
        }
    }

    async fn load(
        &self,
        mut caller: UnixStream,
        operator: &Operator,
        verb: &str,
        scope: Scope,
    ) -> std::io::Result<()> {
        let loaded = match self.may(operator, true, verb) {
            Ok(()) => self.reloader.load(scope).await,
            Err(why) => Err(why),
        };
        socket::answer(&mut caller, &loaded).await
    }

    /// Root may always look and load: a policy that shuts everyone out must be possible to mend.
    fn may(&self, operator: &Operator, write: bool, verb: &str) -> Result<(), String> {
        if operator.root { Ok(()) } else { self.admin.lets(operator, write, verb) }
    }

    /// The gateway as it is now.
    ///
    /// # Errors
    /// It is shutting down.
    pub async fn status(&self) -> Result<Status, String> {
        let tunnel = self.data_plane.report().await.ok_or("the data plane has ended")?;
        let snapshot = self.live.snapshot();
        let engine = snapshot.engine();
        let shadow = engine.shadow();
        let (denials, latest_denials) = self.denials.report();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            notes: self.notes.clone(),
            degraded: self.health.states_now(),
            policies: Policies {
                fingerprint: engine.fingerprint(),
                count: engine.len(),
                lints: engine.lints().iter().map(ToString::to_string).collect(),
                compared: shadow.compared,
                not_compared: shadow.dropped,
                mismatches: shadow.mismatches,
            },
            tunnel,
            flows: self.flows.rows(),
            denials,
            latest_denials,
            unknown_keys: self.unknown.rows(),
            connectors: self.registry.as_ref().map(Registry::status).unwrap_or_default(),
            sessions: self.refresh.report(),
            strangers: self.registry.as_ref().map(Registry::strangers).unwrap_or_default(),
            limits: self.limits(),
        })
    }

    /// Until the caller goes.
    async fn tail(&self, mut caller: UnixStream, operator: Operator, lines: usize) -> std::io::Result<()> {
        let (first, mut tail) = match self.admin.tail(&operator, lines) {
            Ok(begun) => begun,
            Err(why) => return socket::answer(&mut caller, &socket::Answer::<Answer>::Err(why)).await,
        };
        socket::say(&mut caller, &socket::Answer::Ok(first)).await?;
        loop {
            tokio::select! {
                // Who follows says nothing more: this is the caller going away.
                _ = caller.readable() => return Ok(()),
                () = tokio::time::sleep(FOLLOW) => {}
            }
            let more = self.admin.more(&mut tail);
            if let Some(more) = more.map_err(std::io::Error::other)? {
                socket::say(&mut caller, &socket::Answer::Ok(more)).await?;
            }
        }
    }

    fn limits(&self) -> BTreeMap<String, u64> {
        let (used, most) = self.flows.descriptors();
        let joins = self.registry.iter().flat_map(Registry::joins).filter(|(name, _)| *name != "joins");
        let joins = joins.map(|(name, count)| (name.to_owned(), count));
        let own = [
            ("descriptors_used".to_owned(), used),
            ("descriptors_most".to_owned(), most),
            ("registered".to_owned(), self.live.len() as u64),
            ("sockets_unpaired".to_owned(), self.unpaired.load(Ordering::Relaxed)),
            ("dns_dropped".to_owned(), self.names.dropped()),
            ("flows_stuck".to_owned(), self.flows.stuck()),
            ("datagrams_dropped".to_owned(), self.flows.datagrams_dropped()),
            ("health_turned_away".to_owned(), self.health.turned_away()),
        ];
        let tls = self.tls.refused().into_iter().map(|(why, count)| (why.to_owned(), count));
        let outside = self.outside.iter().flat_map(Outside::refused);
        own.into_iter().chain(joins).chain(tls).chain(outside).collect()
    }
}
