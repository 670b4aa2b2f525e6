//! The composition root of `doorward gateway`: starts the parts, joins them, ends them in order.
//! It decides nothing itself. Always true: ready means that every listener is open and the first
//! snapshot is in force; the end resets what did not end by itself in time.

mod certificates;
mod keeping;

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, anyhow};
use connector::relay::Stalls;
use netio::gateway_ns;
use protocol::{id::DeviceId, time::Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
};
use tunnel::{CookieSecret, Event, Gone, Limits, PeerSpec, PrivateKey, Shard, Tunnel};

use self::keeping::{Around, LookedAfter, first_snapshot, keep, look_after, open_audit};
use crate::{
    access::DenyReason,
    config::{Config, Join, MAX_SHARDS, Namespace},
    connectors::{LinkKey, Registry},
    dataplane::{self, DataPlane, Divided, Part, Shards},
    denials::Denials,
    desk::Desk,
    dial::Dialer,
    door::{self, Door, Renewals},
    duplicates::Duplicates,
    flows::{self, FlowSet, Pending},
    gate::Gate,
    health::{self, Degraded, Health},
    http::HttpFront,
    limits::Descriptors,
    live::Live,
    names::Names,
    outside::{self, Outside},
    peerfile::{self, Known},
    sessions::Sessions,
    shadow,
    signals::{Signals, Told},
    snapshot::Snapshot,
    socket::ControlSocket,
    tls::TlsFront,
    truth::{self, Files, Loader, Reloader, Scope},
    unknown::Unknown,
};

/// The transparent listeners' port inside the private namespace; nothing else listens there.
const PROXY_PORT: u16 = 4040;
/// Inner MTU unless the configuration says otherwise: wg-quick's own, right for a 1500-byte path.
const MTU: u16 = 1420;
/// How long open connections may go on after a request to end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long cut connections may take to be reset.
const AFTER_CUT: Duration = Duration::from_secs(3);

/// Runs the gateway of the configuration at `path` until SIGTERM or SIGINT.
pub async fn run(path: PathBuf) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let files = read(&path).await?;
    tracing::info!("the configuration in force:\n{}", files.config.effective());
    let gateway = &files.config.gateway;
    let control =
        ControlSocket::bind(&gateway.state, gateway.admins.as_deref()).context("the state folder")?;
    let kept = keep(&files.config).await?;
    let live = Live::new(Arc::new(first_snapshot(&files, &kept)));
    let (packets, net) = packet_path(&files.config, &live)?;
    let data_plane = packets.handle;
    let registry = link_listener(&live.snapshot()).await?;
    let (health, probes) = (Health::default(), health::bind(&files.config.health.listen).await?);
    let strangers = outside::bind(files.config.join.as_ref().map_or(&[], |join| join.listen.as_slice()))?;
    let dialer = Dialer::new(registry.clone(), files.local()?);
    let (denials, unknown) = (Denials::default(), Unknown::default());
    let audit = open_audit(&files.config, &kept).await?;
    let names = Names::new(live.clone(), data_plane.clone());
    let tls = certificates::front(&files.config, &health)?;
    let (config, held) = (files.config.clone(), kept.held());
    let (shadow, samples) = shadow::new();
    let in_force = truth::Parts {
        live: live.clone(),
        data_plane: data_plane.clone(),
        dialer: dialer.clone(),
        registry: registry.clone(),
        certificates: tls.certificates().clone(),
        shadow,
    };
    let (loader, reloader) = Loader::new(path, files, kept, in_force);
    shadow::start(samples, reloader.clone(), health.clone()).context("a thread")?;
    tokio::spawn(loader.run());
    let around = Around {
        live: &live,
        reloader: &reloader,
        health: &health,
        registry: registry.as_ref(),
        config: &config,
        tls: &tls,
    };
    let books = audit.books.clone();
    let LookedAfter { admin, sessions, refresh, roots } = look_after(held, audit, &around).await?;
    let (drain, draining) = watch::channel(false);
    let descriptors = Descriptors::new(netio::limits::raise_nofile(), netio::limits::open());
    let renewals = Renewals::default();
    let gate = Gate::new(live.clone(), denials.clone(), books.clone(), renewals.clone());
    let outside = outside_of(&config, &sessions, &tls, &descriptors).context("the listener of [join]")?;
    let door = Door::new(door::Parts {
        live: live.clone(),
        sessions: sessions.clone(),
        denials: denials.clone(),
        roots,
        renewals,
    });
    let parts = flows::Parts {
        live: live.clone(),
        data_plane: data_plane.clone(),
        dialer: dialer.clone(),
        front: HttpFront::new(gate, dialer.clone(), descriptors.clone(), tls.clone()),
        names: names.clone(),
        door,
        tls: tls.clone(),
        pending: Pending::default(),
        denials: denials.clone(),
        books,
        stalls: Stalls::new(flows::STALLS),
        descriptors,
        draining: draining.clone(),
    };
    let front = parts.front.clone();
    let flows = FlowSet::new(parts);
    let unpaired = accept(net.listeners, &flows, &data_plane)?;
    tokio::spawn(live.clone().watch_clock());
    let state = config.gateway.state.clone();
    let desk = Desk {
        started: Timestamp::from_system(SystemTime::now()),
        notes: net.notes,
        health: health.clone(),
        live,
        data_plane: data_plane.clone(),
        flows: flows.clone(),
        denials,
        unknown: unknown.clone(),
        registry: registry.clone(),
        names: names.clone(),
        tls,
        outside: outside.clone(),
        unpaired,
        reloader: reloader.clone(),
        admin: admin.clone(),
        refresh,
    };
    let scraped = desk.clone();
    health::serve(probes, &health, move || {
        let desk = scraped.clone();
        async move { desk.status().await }
    });
    if let Some(outside) = outside {
        outside.serve(strangers, &draining);
    }
    tokio::spawn(desk.serve(control));
    let handshakes = Arc::new(Notify::new());
    let remember = tokio::spawn(remember(state, data_plane.clone(), handshakes.clone(), health.clone()));
    let heard = Heard { flows: flows.clone(), names, unknown, handshakes, sessions };
    tokio::spawn(follow(packets.events, heard));
    tokio::task::spawn_blocking(netio::memory::give_back).await?;
    tracing::info!("ready");
    let ended = until_told(&mut signals, &reloader, packets.ended).await;
    drain_all(&mut signals, &drain, &flows, &front, registry.as_ref(), &health).await;
    remember.abort();
    data_plane.stop().await;
    admin.close().await;
    let threads = tokio::task::spawn_blocking(move || packets.threads.join());
    threads.await?.context("the data plane")?;
    ended
}

/// What stands on the internet, if anything does.
fn outside_of(
    config: &Config,
    sessions: &Sessions,
    tls: &TlsFront,
    descriptors: &Descriptors,
) -> Result<Option<Outside>, rustls::Error> {
    let of = |join: &Join| {
        Outside::new(outside::Parts {
            name: join.name.clone(),
            sessions: sessions.clone(),
            certificates: tls.certificates().clone(),
            descriptors: descriptors.clone(),
        })
    };
    config.join.as_ref().map(of).transpose()
}

/// Starts accepting what the private namespace hands over; returns the count of sockets that belong
/// to no flow.
fn accept(
    listeners: Vec<std::net::TcpListener>,
    flows: &FlowSet,
    data_plane: &DataPlane,
) -> io::Result<Arc<AtomicU64>> {
    let unpaired = Arc::new(AtomicU64::new(0));
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        let (pending, unpaired) = (flows.pending().clone(), unpaired.clone());
        tokio::spawn(flows::accept_all(listener, pending, data_plane.clone(), unpaired));
    }
    Ok(unpaired)
}

async fn read(path: &Path) -> anyhow::Result<Files> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Files::read(&path, None)).await?.map_err(|mistakes| anyhow!(mistakes))
}

struct Net {
    listeners: Vec<std::net::TcpListener>,
    notes: Vec<String>,
}

/// What the configuration allows has sockets and a queue.
const _: () = assert!(MAX_SHARDS <= netio::shards::MAX_SHARDS);

fn packet_path(config: &Config, live: &Live) -> anyhow::Result<(dataplane::Running, Net)> {
    let shards = Shards::new(config.gateway.shards(), config.tunnel.v4().network());
    let sharded = netio::shards::bind(&config.gateway.listen, shards.count().get())?;
    let mtu = config.devices.mtu.unwrap_or(MTU);
    let net = gateway_ns::set_up(&gateway_ns::Spec {
        mode: match config.gateway.namespace {
            Namespace::Private => gateway_ns::Mode::Private,
            Namespace::Own => gateway_ns::Mode::Own,
        },
        mtu,
        gateway_v4: config.tunnel.gateway_v4(),
        gateway_v6: config.tunnel.gateway_v6(),
        device_nets: config.tunnel.nets().to_vec(),
        proxy_port: PROXY_PORT,
        queues: shards.count().get(),
        offload: true,
    })?;
    for note in &net.notes {
        tracing::warn!("{note}");
    }
    let divided = shards.divide(live.snapshot().peers());
    let tunnels = tunnels(config, live, shards, &divided)?;
    let parts = tunnels.into_iter().zip(sharded.shards).zip(net.queues);
    let parts = parts.map(|((tunnel, sockets), tun)| Part { tunnel, sockets, tun }).collect();
    tracing::info!(shards = shards.count(), steered = sharded.steered, "the data plane");
    let running =
        dataplane::start(shards, sharded.steered, divided.enrolled, parts).context("the data plane")?;
    live.cut_first(running.handle.clone());
    Ok((running, Net { listeners: net.listeners, notes: net.notes }))
}

/// The cores, each with its part of the devices and what the last run knew of them.
fn tunnels(config: &Config, live: &Live, shards: Shards, divided: &Divided) -> anyhow::Result<Vec<Tunnel>> {
    let now = Instant::now();
    let cookies = CookieSecret::new(random()?, now);
    let echo: HashSet<_> = live.snapshot().echo().collect();
    let known = peerfile::read(&config.gateway.state).unwrap_or_else(|error| {
        tracing::warn!(%error, "peers.json is unreadable: clients come back by themselves, later");
        Known::default()
    });
    let tunnel = |(shard, peers): (Shard, &Vec<PeerSpec>)| {
        let mut tunnel = Tunnel::new(tunnel::Config {
            private_key: PrivateKey::new(*config.gateway.private_key.expose()),
            cookies: cookies.clone(),
            gateway_addrs: vec![config.tunnel.gateway_v4().into(), config.tunnel.gateway_v6().into()],
            limits: Limits::default().of_one(shards.count().into()),
            seed: u64::from_ne_bytes(random()?),
            mtu: config.devices.mtu.unwrap_or(MTU).into(),
            shard,
        });
        tunnel.set_peers(peers, now);
        tunnel.set_enrolled(divided.enrolled.clone());
        tunnel.set_echo(echo.clone());
        tunnel.restore_endpoints(&known.endpoints);
        tunnel.restore_stamps(&known.stamps);
        Ok(tunnel)
    };
    shards.all().zip(&divided.peers).map(tunnel).collect()
}

fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}

async fn link_listener(snapshot: &Snapshot) -> anyhow::Result<Option<Registry>> {
    let Some(listener) = &snapshot.config().links else { return Ok(None) };
    let key = LinkKey::from_pem(listener.private_key.expose()).context("connectors.private_key")?;
    let registry = Registry::start(&listener.listen, key).await?;
    registry.configure(truth::connector_specs(snapshot));
    Ok(Some(registry))
}

/// Who hears of the packet core's events.
struct Heard {
    flows: FlowSet,
    names: Names,
    unknown: Unknown,
    handshakes: Arc<Notify>,
    sessions: Sessions,
}

/// Follows the packet core's events until it ends.
async fn follow(mut events: mpsc::Receiver<Event>, heard: Heard) {
    let Heard { flows, names, unknown, handshakes, sessions } = heard;
    let mut duplicates = Duplicates::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::FlowOpened { flow, device, key, isn } => flows.opened(flow, device, key, isn),
            Event::DatagramFlowOpened { flow, device, proto, key } => {
                flows.opened_datagrams(flow, device, proto, key);
            }
            Event::Datagram { flow, payload } => flows.datagram(flow, payload),
            Event::FlowGone { flow, why } => flows.gone(flow, why_gone(why)),
            Event::PermitExpired { flow } => flows.gone(flow, DenyReason::Abandoned),
            Event::Dns { device, from, to, payload } => names.asked(device, from, to, payload),
            Event::Handshake { device, key, endpoint } => {
                tracing::debug!(%device, %key, %endpoint, "handshake");
                handshakes.notify_one();
                if let Some(other) = duplicates.handshake(&device, key, endpoint, Instant::now()) {
                    tokio::spawn(suspend(sessions.clone(), device, [endpoint, other]));
                }
                if duplicates.is_full() {
                    let snapshot = sessions.live.snapshot();
                    let is_enrolled = |device: &DeviceId, key| {
                        snapshot.device(device).is_some_and(|device| device.keys.contains(&key))
                    };
                    duplicates.keep(is_enrolled);
                }
            }
            Event::UnknownKey { key, from } => {
                unknown.knocked(key, from, Timestamp::from_system(SystemTime::now()));
            }
        }
    }
}

/// One key is used from two places: somebody has a copy.
async fn suspend(sessions: Sessions, device: DeviceId, places: [SocketAddr; 2]) {
    tracing::warn!(target: "session", %device, ?places, "one key is used from two places in turn: its configuration was copied");
    let why = "the device's key was used from two places in turn: its configuration may have been copied";
    if let Err(error) = sessions.suspend(&device, why).await {
        tracing::error!(target: "session", %device, %error, "its session could not be suspended");
    }
}

fn why_gone(why: Gone) -> DenyReason {
    match why {
        Gone::DeviceRemoved => DenyReason::UnknownDevice,
        Gone::OverLimit => DenyReason::Exhausted,
        Gone::Idle => DenyReason::Idle,
        Gone::HoldExpired | Gone::Superseded | Gone::DeviceReset => DenyReason::Abandoned,
    }
}

/// A handshake is remembered this long after it, when data has proven the endpoint: a kill -9 loses
/// no more, and a storm of handshakes is one write.
const REMEMBER_AFTER: Duration = Duration::from_millis(100);
/// A peer that moved without a handshake is remembered this late.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// One part in so many of the time goes into it: with many peers each handshake would be a large file.
const REMEMBER_SHARE: u32 = 10;

/// The degraded state in which nothing is remembered.
const PEERS_FILE: &str = "peers_file";

fn unwritten(state: &Path, error: &io::Error) -> Degraded {
    let cause = format!("peers.json cannot be written ({error}): after a restart clients come back later");
    let remedy = format!("give the gateway's user room and the right to write in {}", state.display());
    Degraded::new(PEERS_FILE, cause, remedy)
}

async fn remember(state: PathBuf, data_plane: DataPlane, handshakes: Arc<Notify>, health: Health) {
    // Of what was written no more than a hash is kept: it may be as large as the peers are.
    let (hasher, mut written) = (RandomState::new(), None);
    loop {
        tokio::select! {
            () = handshakes.notified() => tokio::time::sleep(REMEMBER_AFTER).await,
            () = tokio::time::sleep(REMEMBER_EVERY) => {}
        }
        let began = Instant::now();
        let Some(known) = data_plane.remember().await else { return };
        let fresh = Some(hasher.hash_one(&known));
        if written == fresh {
            health.clear(PEERS_FILE);
            continue;
        }
        let folder = state.clone();
        match tokio::task::spawn_blocking(move || peerfile::write(&folder, &known)).await {
            Ok(Ok(())) => {
                written = fresh;
                health.clear(PEERS_FILE);
            }
            Ok(Err(error)) => health.set(unwritten(&state, &error)),
            Err(_) => {}
        }
        tokio::time::sleep(began.elapsed() * (REMEMBER_SHARE - 1)).await;
    }
}

/// Until a signal to end, or until a thread of the data plane ends by itself, which is an error.
async fn until_told(
    signals: &mut Signals,
    reloader: &Reloader,
    mut ended: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::End => return Ok(()),
                Told::Reload => {
                    let reloader = reloader.clone();
                    // What came of it is in the log; there is no caller to tell.
                    tokio::spawn(async move { reloader.load(Scope::All).await });
                }
            },
            _ = ended.recv() => return Err(anyhow!("the data plane ended by itself")),
        }
    }
}

/// No new flows; open ones may end in time, or until told again; then they are reset.
async fn drain_all(
    signals: &mut Signals,
    drain: &watch::Sender<bool>,
    flows: &FlowSet,
    front: &HttpFront,
    registry: Option<&Registry>,
    health: &Health,
) {
    let cause = "the gateway is ending and takes no new connections";
    health.set(Degraded::new("draining", cause, "start it again when it has ended").refusing());
    tracing::info!(seconds = DRAIN.as_secs(), "draining: no new connections; open ones may end");
    // Every flow has ended when nobody watches any more.
    let _ = drain.send(true);
    let ended = async { tokio::join!(front.drain(), flows.ended()) };
    tokio::select! {
        _ = ended => {}
        () = tokio::time::sleep(DRAIN) => {}
        () = signals.end() => {}
    }
    flows.cut_all();
    if tokio::time::timeout(AFTER_CUT, flows.ended()).await.is_err() {
        tracing::warn!("some connections did not end");
    }
    front.retire();
    if let Some(registry) = registry {
        registry.drain().await;
    }
}
