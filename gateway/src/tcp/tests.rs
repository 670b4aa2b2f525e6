//! The copy between real sockets: both half-closes, and resets on both sides for everything else.

use std::io::ErrorKind;

use connector::{dial::Site, relay::Stalls};
use protocol::time::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    access::{self, Denied, DenyReason, Verdict},
    dial::Dialer,
    testing::{Company, connect},
};

/// Far above anything that should happen.
const HANG: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.expect("no hang")
}

/// A relay with both its ends in the test's hands.
struct World {
    device: TcpStream,
    target: TcpStream,
    cut: Cut,
    relay: JoinHandle<Ended>,
}

impl World {
    async fn new() -> Self {
        let (upstream, target) = opened().await;
        let (accepted, device) = pair().await;
        let cut = Cut::default();
        let watched = cut.clone();
        let relay =
            tokio::spawn(async move { relay(accepted, upstream, &Stalls::new(1).of(&()), &watched).await });
        let mut world = Self { device, target, cut, relay };
        world.passes().await;
        world
    }

    /// A word each way, so that nothing is under way afterwards.
    async fn passes(&mut self) {
        let mut word = [0; 2];
        self.device.write_all(b"up").await.unwrap();
        soon(self.target.read_exact(&mut word)).await.unwrap();
        self.target.write_all(b"dn").await.unwrap();
        soon(self.device.read_exact(&mut word)).await.unwrap();
    }

    async fn ended(self) -> (End, u64, u64) {
        let ended = soon(self.relay).await.unwrap();
        (ended.how, ended.up, ended.down)
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, dialled)
}

/// An upstream, opened as a permit allows, and the target's end of it.
async fn opened() -> (Upstream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = format!(
        "[[app]]\nname = \"desk\"\nsite = \"local\"\nkind = \"tcp\"\nhosts = [\"desk.corp.example\"]\n\
         ports = [{}]\ntarget = \"127.0.0.1\"",
        address.port()
    );
    let company = Company::new(&app, "@id(\"all\") permit (principal, action, resource);");
    let (snapshot, question) = (company.snapshot(1), connect("desk", &address.to_string()));
    let verdict = access::check(&snapshot, &question, Timestamp::from_millis(0));
    let Verdict::Allow(allowed) = verdict else { panic!("{verdict:?}") };
    let site = Site { rules: snapshot.config().sites.local.clone().unwrap(), own: Vec::new() };
    let upstream = Dialer::new(None, site).open(allowed.permit, 1).await.unwrap();
    (upstream, listener.accept().await.unwrap().0)
}

async fn rest(stream: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.map_err(|error| error.kind())?;
    Ok(rest)
}

#[tokio::test]
async fn half_closes_pass_either_way_first() {
    for device_first in [true, false] {
        let mut world = World::new().await;
        let (first, second) = if device_first {
            (&mut world.device, &mut world.target)
        } else {
            (&mut world.target, &mut world.device)
        };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(rest(second).await.unwrap(), b"question");
        second.write_all(b"answer").await.unwrap();
        second.shutdown().await.unwrap();
        assert_eq!(rest(first).await.unwrap(), b"answer");
        let (up, down) = if device_first { (10, 8) } else { (8, 10) };
        assert_eq!(world.ended().await, (End::Closed, up, down));
    }
}

#[tokio::test]
async fn a_cut_resets_both_sides() {
    let mut world = World::new().await;
    world.cut.now(Denied::because(DenyReason::UserDisabled));
    assert_eq!(rest(&mut world.device).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(rest(&mut world.target).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(world.ended().await, (End::Cut, 2, 2));
}

#[tokio::test]
async fn a_cut_after_a_half_close_is_still_a_reset() {
    let mut world = World::new().await;
    world.device.shutdown().await.unwrap();
    assert_eq!(rest(&mut world.target).await.unwrap(), b"");
    world.cut.now(Denied::because(DenyReason::UserDisabled));
    assert_eq!(rest(&mut world.device).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(soon(&mut world.relay).await.unwrap().how, End::Cut);
    let late = world.target.write_all(b"late").await;
    assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::BrokenPipe));
}

#[tokio::test]
async fn a_cut_comes_before_everything_that_waits() {
    let World { mut device, mut target, cut, relay } = World::new().await;
    // More than all the buffers take; the device reads none of it.
    let pouring = tokio::spawn(async move { while target.write_all(&[b'x'; 64 * 1024]).await.is_ok() {} });
    soon(device.readable()).await.unwrap();
    cut.now(Denied::because(DenyReason::UserDisabled));
    assert_eq!(rest(&mut device).await, Err(ErrorKind::ConnectionReset), "it looks complete");
    soon(pouring).await.unwrap();
    assert_eq!(soon(relay).await.unwrap().how, End::Cut);
}

#[tokio::test]
async fn a_reset_of_one_side_resets_the_other() {
    let world = World::new().await;
    let World { mut device, target, relay, .. } = world;
    reset(target);
    assert_eq!(rest(&mut device).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(soon(relay).await.unwrap().how, End::UpstreamReset);
    let World { device, mut target, relay, .. } = World::new().await;
    reset(device);
    assert_eq!(rest(&mut target).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(soon(relay).await.unwrap().how, End::DeviceReset);
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_side_takes_nothing() {
    let World { mut device, mut target, relay, .. } = World::new().await;
    // More than all the buffers take; the target reads none of it.
    let stuffed =
        timeout(Duration::from_millis(500), async { while device.write_all(&[0; 4096]).await.is_ok() {} });
    assert!(stuffed.await.is_err(), "this cannot end");
    reset(device);
    assert_eq!(soon(relay).await.unwrap().how, End::DeviceReset);
    assert_eq!(rest(&mut target).await, Err(ErrorKind::ConnectionReset));
}
