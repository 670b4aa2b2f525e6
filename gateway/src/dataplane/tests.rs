//! What is said to the data plane reaches the right thread, in the right order; the threads are played.

use std::{num::NonZeroU8, sync::Mutex};

use protocol::key::WgKey;
use tunnel::{KnownStamp, Stamp};

use super::*;
use crate::testing::address;

/// What each thread was told, in the order of all.
type Told = Arc<Mutex<Vec<(usize, &'static str)>>>;

fn shards(count: u8) -> Shards {
    Shards::new(NonZeroU8::new(count).unwrap(), [100, 64, 0, 0].into())
}

/// Threads that are nothing but their inboxes.
fn inboxes(count: u8) -> (DataPlane, Vec<mpsc::Receiver<Order>>) {
    let waker = Poller::new().unwrap().waker();
    let way = |_| {
        let (queue, inbox) = mpsc::channel(ORDERS);
        (Way { queue, waker: waker.clone() }, inbox)
    };
    let (threads, inboxes) = (0..count).map(way).unzip();
    let enrolled = ArcSwap::default();
    (DataPlane(Arc::new(Inner { shards: shards(count), steered: true, threads, enrolled })), inboxes)
}

fn spec(name: &str, n: u8, key: u8) -> PeerSpec {
    let v6 = format!("fd00:d00:d00:1::{n:x}").parse().unwrap();
    PeerSpec { device: name.parse().unwrap(), keys: vec![WgKey([key; 32])], v4: [100, 64, 0, n].into(), v6 }
}

fn stamp(key: u8) -> KnownStamp {
    KnownStamp { key: WgKey([key; 32]), stamp: Stamp([key; 12]) }
}

/// A thread that obeys, tells what it was told, and knows the stamps of keys 1 to 3.
async fn play(number: usize, mut inbox: mpsc::Receiver<Order>, told: Told, got: Arc<Mutex<Vec<NewPeers>>>) {
    while let Some(order) = inbox.recv().await {
        let name = match order {
            Order::Command(_) => "command",
            Order::Cut(_) => "cut",
            Order::Peers(mut peers) => {
                // Told late: nobody may go on before.
                tokio::task::yield_now().await;
                let done = std::mem::replace(&mut peers.done, oneshot::channel().0);
                told.lock().unwrap().push((number, "peers"));
                got.lock().unwrap().push(peers);
                done.send(()).unwrap();
                continue;
            }
            Order::SomePeers(_) => "some peers",
            Order::Enrolled(_) => "enrolled",
            Order::Report(answer) => {
                drop(answer.send(Report { flows: 1, shards: vec![Load::default()], ..Report::default() }));
                "report"
            }
            Order::Remember(answer) => {
                drop(answer.send(Known { stamps: vec![stamp(1), stamp(2), stamp(3)], ..Known::default() }));
                "remember"
            }
            Order::Stop => return,
        };
        told.lock().unwrap().push((number, name));
    }
}

#[tokio::test]
async fn cuts_are_divided_and_full_queues_are_left_alone() {
    let (plane, mut inboxes) = inboxes(2);
    while plane.0.threads[1].queue.try_send(Order::Stop).is_ok() {}
    assert!(!plane.cut_at_once([4, 7, 6].map(FlowId)));
    assert!(matches!(inboxes[0].try_recv(), Ok(Order::Cut(flows)) if flows == [4, 6].map(FlowId)));
    while matches!(inboxes[1].try_recv(), Ok(Order::Stop)) {}
    assert!(inboxes[1].try_recv().is_err(), "no room, so it was left to the flow's owner");
    assert!(plane.cut_at_once([9].map(FlowId)));
    assert!(matches!(inboxes[1].try_recv(), Ok(Order::Cut(flows)) if flows == [FlowId(9)]));
    assert!(inboxes[0].try_recv().is_err(), "whom it does not concern is not asked");
}

#[tokio::test]
async fn a_command_reaches_the_thread_it_concerns() {
    let (plane, mut inboxes) = inboxes(4);
    let (own, device) = (address("100.64.0.1:53"), address("100.64.0.6:4000"));
    let key = FlowKey { device, target: own };
    let payload = Vec::new;
    for (command, thread) in [
        (Command::Admit(FlowId(5)), 1),
        (Command::Refuse(FlowId(7), Refusal::Rst), 3),
        (Command::Cut(FlowId(8)), 0),
        (Command::Finished(FlowId(6)), 2),
        (Command::SendDatagram(FlowId(9), payload()), 1),
        (Command::Unreachable(FlowId(11), Refusal::Rst), 3),
        (Command::Accepted(key, 1), 2),
        (Command::SendUdp { from: own, to: device, payload: payload() }, 2),
        (Command::SendUdp { from: own, to: address("[fd00:d00:d00:1::7]:1"), payload: payload() }, 3),
    ] {
        let said = format!("{command:?}");
        plane.send(command).await;
        let got = inboxes.iter_mut().map(|inbox| inbox.try_recv().is_ok()).collect::<Vec<_>>();
        assert_eq!(got, [0, 1, 2, 3].map(|number| number == thread), "{said}");
    }
}

/// Whoever hands over must know of a peer after the thread that has it.
#[tokio::test]
async fn every_thread_has_its_peers_before_any_knows_of_them() {
    let (plane, inboxes) = inboxes(3);
    let (told, got) = (Told::default(), Arc::default());
    for (number, inbox) in inboxes.into_iter().enumerate() {
        tokio::spawn(play(number, inbox, told.clone(), Arc::clone(&got)));
    }
    let specs = vec![spec("a", 3, 1), spec("b", 4, 2), spec("c", 5, 3)];
    plane.set_peers(specs, Vec::new()).await;
    assert_eq!(plane.report().await.unwrap().flows, 3);
    let order = told.lock().unwrap().iter().map(|(_, name)| *name).collect::<Vec<_>>();
    assert_eq!(order[..3], ["peers"; 3]);
    assert_eq!(order[3..].iter().filter(|name| **name == "enrolled").count(), 3);
    assert!(got.lock().unwrap().iter().all(|peers| peers.specs.len() == 1 && peers.known.stamps.is_empty()));
}

/// Or the newest handshake of the key would be forgotten, and an older one could be replayed.
#[tokio::test]
async fn a_key_that_moves_takes_along_what_is_known_of_it() {
    let (plane, inboxes) = inboxes(2);
    let (told, got) = (Told::default(), Arc::default());
    for (number, inbox) in inboxes.into_iter().enumerate() {
        tokio::spawn(play(number, inbox, told.clone(), Arc::clone(&got)));
    }
    plane.set_peers(vec![spec("a", 4, 1), spec("b", 5, 2)], Vec::new()).await;
    plane.set_peers(vec![spec("a", 7, 1), spec("b", 5, 2)], Vec::new()).await;
    let got = got.lock().unwrap();
    let stamps = got.iter().map(|peers| peers.known.stamps.clone()).collect::<Vec<_>>();
    // Both threads told it; telling it twice does no harm.
    let moved = vec![stamp(1), stamp(1)];
    assert_eq!(stamps, [Vec::new(), Vec::new(), moved.clone(), moved]);
}

#[tokio::test]
async fn a_thread_that_ended_is_not_waited_for() {
    let (plane, mut inboxes) = inboxes(2);
    drop(inboxes.remove(0));
    plane.send(Command::Cut(FlowId(2))).await;
    assert!(plane.report().await.is_none());
    drop(inboxes);
    plane.set_peers(vec![spec("a", 4, 1)], Vec::new()).await;
    plane.stop().await;
}

#[test]
fn the_end_of_any_thread_is_told() {
    let (sender, mut ended) = mpsc::channel(1);
    let sentinels = [Sentinel(sender.clone()), Sentinel(sender)];
    let [first, second] = sentinels.map(|sentinel| {
        std::thread::spawn(move || {
            let _sentinel = sentinel;
            Err(io::Error::other("gone"))
        })
    });
    assert!(Threads(vec![first, second]).join().is_err());
    assert_eq!(ended.blocking_recv(), Some(()));
}
