//! Keeps links to every address of every gateway.
//! It carries nothing; a link and its flows are their own tasks.
//! Always true: an address that is no longer named is left after its flows; a lost link is dialled
//! again; a name that cannot be resolved keeps the addresses it had.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use protocol::target::{Host, Target};
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agent::Agent,
    backoff::{Backoff, draw},
    link,
};

/// Connections to each address: over more than one, flows share losses and cores less.
const LINKS_PER_ADDRESS: usize = 2;
/// Addresses of all gateways together that are dialled.
const MAX_ADDRESSES: usize = 32;
/// Names are resolved anew this often, and sooner when a link was lost or a name not resolved.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);
const RESOLVE_SOON: Duration = Duration::from_secs(2);
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// A link that held this long was no failed attempt.
const STEADY: Duration = Duration::from_secs(3);
/// The gateway has enough links of ours: no use in asking soon.
const ENOUGH: Duration = Duration::from_secs(60);

/// Keeps the links until `leaving`, or nobody can change the gateways any more; then until their flows
/// have ended.
pub(crate) async fn keep(
    agent: Arc<Agent>,
    mut gateways: watch::Receiver<Vec<Target>>,
    leaving: CancellationToken,
) {
    let mut known = HashMap::new();
    let mut kept: HashMap<SocketAddr, CancellationToken> = HashMap::new();
    let links = TaskTracker::new();
    loop {
        let named = gateways.borrow_and_update().clone();
        let resolved = leaving.run_until_cancelled(resolve(&named, &mut known)).await;
        let Some((wanted, complete)) = resolved else { break };
        kept.retain(|address, link_leaving| {
            let stays = wanted.contains(address);
            if !stays {
                tracing::info!(%address, "no longer an address of a gateway: leaving it");
                link_leaving.cancel();
            }
            stays
        });
        for address in wanted {
            kept.entry(address).or_insert_with(|| begin(&agent, &links, address, &leaving));
        }
        tokio::select! {
            () = leaving.cancelled() => break,
            changed = gateways.changed() => if changed.is_err() { break },
            () = sleep(if complete { RESOLVE_EVERY } else { RESOLVE_SOON }) => {}
            () = after_loss(&agent) => {}
        }
    }
    leaving.cancel();
    links.close();
    links.wait().await;
}

async fn after_loss(agent: &Agent) {
    agent.lost.notified().await;
    sleep(RESOLVE_SOON).await;
}

/// All addresses of the gateways, and whether every name was resolved; `known` remembers those of each.
async fn resolve(
    named: &[Target],
    known: &mut HashMap<Target, Vec<SocketAddr>>,
) -> (HashSet<SocketAddr>, bool) {
    let mut complete = true;
    known.retain(|gateway, _| named.contains(gateway));
    for gateway in named {
        match addresses(gateway).await {
            Some(found) => {
                known.insert(gateway.clone(), found);
            }
            None => {
                complete = false;
                tracing::warn!(%gateway, "cannot resolve the gateway's name");
            }
        }
    }
    (known.values().flatten().copied().take(MAX_ADDRESSES).collect(), complete)
}

/// Every address of a gateway; `None` if its name cannot be resolved.
pub(crate) async fn addresses(gateway: &Target) -> Option<Vec<SocketAddr>> {
    match &gateway.host {
        Host::Ip(ip) => Some(vec![SocketAddr::new(*ip, gateway.port)]),
        Host::Name(name) => {
            let found =
                timeout(RESOLVE_LIMIT, lookup_host((name.as_str(), gateway.port))).await.ok()?.ok()?;
            Some(found.collect()).filter(|found: &Vec<_>| !found.is_empty())
        }
    }
}

fn begin(
    agent: &Arc<Agent>,
    links: &TaskTracker,
    address: SocketAddr,
    leaving: &CancellationToken,
) -> CancellationToken {
    let link_leaving = leaving.child_token();
    for _ in 0..LINKS_PER_ADDRESS {
        links.spawn(keep_one(agent.clone(), address, link_leaving.clone()));
    }
    link_leaving
}

async fn keep_one(agent: Arc<Agent>, address: SocketAddr, leaving: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let Err(error) = link::run(&agent, address, &leaving).await else { return };
        if began.elapsed() >= STEADY {
            backoff.reset();
        }
        let wait = if error.is_enough() { ENOUGH } else { backoff.next(draw()) };
        tracing::warn!(gateway = %address, %error, retry_ms = wait.as_millis(), "no link to the gateway");
        agent.lost.notify_one();
        if leaving.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}
