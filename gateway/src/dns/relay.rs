//! Asks the configured resolvers on behalf of a device: the first, then the second, all within two
//! seconds. It keeps nothing of a name or an answer.
//! Always true: bounded per device and in total, and every question gets some answer in time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::op::ResponseCode;
use protocol::id::DeviceId;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    DnsView,
    answer::refuse,
    rebinding,
    upstream::{Asking, Replied},
};
use crate::rate::{Allowance, Rates};

/// Stub resolvers give up after 5 s; two tries of this fit well inside, and inside 2 s.
const TRY: Duration = Duration::from_millis(900);
/// How many resolvers, or how often one, is asked.
const TRIES: usize = 2;
const _: () = assert!(TRY.as_millis() * TRIES as u128 <= 2000, "a failure is told within two seconds");
/// Questions under way at once; each holds one socket.
const UNDER_WAY: usize = 512;
/// A browser opening a full session asks some tens of names.
const ALLOWANCE: Allowance = Allowance { burst: 200.0, per_second: 50.0, remembered: 100_000 };

/// Asks resolvers.
#[derive(Debug)]
pub struct Relay {
    rates: Mutex<Rates<DeviceId>>,
    under_way: Semaphore,
    relayed: AtomicU64,
    limited: AtomicU64,
    overloaded: AtomicU64,
    unanswered: AtomicU64,
    rebinding: AtomicU64,
}

/// What the relay has seen, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayCounters {
    /// Questions that went to a resolver.
    pub relayed: u64,
    /// Refused: the device asks too fast.
    pub limited: u64,
    /// Refused: too many under way.
    pub overloaded: u64,
    /// No resolver answered usefully in time.
    pub unanswered: u64,
    /// Answers that pointed into our networks.
    pub rebinding: u64,
}

/// How the device asked, and so how large an answer it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            rates: Mutex::new(Rates::new(ALLOWANCE)),
            under_way: Semaphore::new(UNDER_WAY),
            relayed: AtomicU64::new(0),
            limited: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            rebinding: AtomicU64::new(0),
        }
    }
}

impl Relay {
    /// The answer to a question that came over UDP. A truncated one goes back as it is: the device
    /// asks again over TCP, through [`serve_tcp`](super::serve_tcp).
    pub async fn relay(&self, device: &DeviceId, view: &DnsView, query: &[u8]) -> Vec<u8> {
        self.ask(device, view, query, Over::Udp).await
    }

    /// What it has seen.
    pub fn counters(&self) -> RelayCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayCounters {
            relayed: read(&self.relayed),
            limited: read(&self.limited),
            overloaded: read(&self.overloaded),
            unanswered: read(&self.unanswered),
            rebinding: read(&self.rebinding),
        }
    }

    pub(super) async fn ask(&self, device: &DeviceId, view: &DnsView, query: &[u8], over: Over) -> Vec<u8> {
        if view.resolvers.is_empty() {
            // It will not change by asking again, which SERVFAIL would invite.
            return refuse(query, ResponseCode::Refused);
        }
        let within_rate =
            self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(device, Instant::now());
        if !within_rate {
            return self.fail(query, &self.limited);
        }
        let Ok(_slot) = self.under_way.try_acquire() else { return self.fail(query, &self.overloaded) };
        count(&self.relayed);
        match self.first_useful(view, query, over).await {
            Some(replied) => self.cleaned(replied, view),
            None => self.fail(query, &self.unanswered),
        }
    }

    /// The first answer that is no failure; else the last failure, which the device may read.
    async fn first_useful(&self, view: &DnsView, query: &[u8], over: Over) -> Option<Replied> {
        let mut failure = None;
        for resolver in view.resolvers.iter().take(TRIES).cycle().take(TRIES) {
            let asking = Asking::new(query)?;
            let asked = async {
                let replied = asking.by_udp(*resolver).await?;
                let whole = over == Over::Udp || !replied.message.metadata.truncation;
                if whole { Ok(replied) } else { asking.by_tcp(*resolver).await }
            };
            let Ok(Ok(replied)) = timeout(TRY, asked).await else { continue };
            match replied.message.metadata.response_code {
                ResponseCode::ServFail | ResponseCode::Refused => failure = Some(replied),
                _ => return Some(replied),
            }
        }
        failure
    }

    fn cleaned(&self, mut replied: Replied, view: &DnsView) -> Vec<u8> {
        if !rebinding::remove(&mut replied.message, &view.guarded) {
            return replied.bytes;
        }
        count(&self.rebinding);
        match replied.message.to_vec() {
            Ok(bytes) => bytes,
            Err(_) => refuse(&replied.bytes, ResponseCode::ServFail),
        }
    }

    fn fail(&self, query: &[u8], counter: &AtomicU64) -> Vec<u8> {
        count(counter);
        refuse(query, ResponseCode::ServFail)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::{future::Future, net::SocketAddr};

    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query},
        rr::{Name, RData, Record, RecordType, rdata::A},
    };
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::dns::upstream::{read_message, write_message};

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(60), future).await.expect("no hang")
    }

    fn device() -> DeviceId {
        "laptop".parse().expect("a name")
    }

    fn query() -> Vec<u8> {
        let mut message = Message::new(4242, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("example.com.").expect("a name"), RecordType::A));
        message.to_vec().expect("bytes")
    }

    fn with_address(query: &[u8], address: A) -> Message {
        let mut reply = Message::from_vec(query).expect("a message");
        reply.metadata.message_type = MessageType::Response;
        reply.add_answer(Record::from_rdata(reply.queries[0].name().clone(), 60, RData::A(address)));
        reply
    }

    /// A resolver that answers each question with what `replies` makes of it.
    async fn resolver(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                for reply in replies(&buffer[..length]) {
                    socket.send_to(&reply, from).await.expect("sent");
                }
            }
        });
        address
    }

    fn view(resolvers: Vec<SocketAddr>) -> DnsView {
        let guarded = vec!["100.64.0.0/16".parse().expect("a net")];
        DnsView { resolvers, guarded, ..DnsView::default() }
    }

    async fn asked(relay: &Relay, resolvers: Vec<SocketAddr>) -> Message {
        let reply = soon(relay.relay(&device(), &view(resolvers), &query())).await;
        let reply = Message::from_vec(&reply).expect("a message");
        assert_eq!((reply.metadata.id, reply.metadata.message_type), (4242, MessageType::Response));
        reply
    }

    fn good(query: &[u8]) -> Vec<Vec<u8>> {
        vec![with_address(query, A::new(192, 0, 2, 1)).to_vec().expect("bytes")]
    }

    #[tokio::test]
    async fn passes_a_good_answer_on() {
        let relay = Relay::default();
        let reply = asked(&relay, vec![resolver(good).await]).await;
        assert_eq!(reply.answers[0].data, RData::A(A::new(192, 0, 2, 1)));
        assert_eq!(relay.counters().relayed, 1);
    }

    #[tokio::test]
    async fn takes_no_answer_with_another_id_or_question() {
        let relay = Relay::default();
        let forging = resolver(|query| {
            let mut wrong_id = with_address(query, A::new(6, 6, 6, 6));
            wrong_id.metadata.id ^= 1;
            let mut wrong_name = with_address(query, A::new(6, 6, 6, 6));
            wrong_name.queries[0].set_name(Name::from_ascii("evil.example.").expect("a name"));
            let mut forged: Vec<_> =
                [wrong_id, wrong_name].map(|reply| reply.to_vec().expect("bytes")).into();
            forged.push(vec![0; 3]);
            forged.push(query.to_vec());
            forged.extend(good(query));
            forged
        })
        .await;
        let reply = asked(&relay, vec![forging]).await;
        assert_eq!(reply.answers[0].data, RData::A(A::new(192, 0, 2, 1)));
    }

    #[tokio::test]
    async fn asks_the_second_when_the_first_is_silent_or_fails() {
        let relay = Relay::default();
        let silent = resolver(|_| vec![]).await;
        let failing = resolver(|query| {
            let mut reply = with_address(query, A::new(6, 6, 6, 6));
            reply.answers.clear();
            reply.metadata.response_code = ResponseCode::ServFail;
            vec![reply.to_vec().expect("bytes")]
        })
        .await;
        let second = resolver(good).await;
        assert_eq!(asked(&relay, vec![silent, second]).await.answers.len(), 1);
        assert_eq!(asked(&relay, vec![failing, second]).await.answers.len(), 1);
    }

    #[tokio::test]
    async fn says_servfail_when_nobody_answers() {
        let relay = Relay::default();
        let silent = resolver(|_| vec![]).await;
        let reply = asked(&relay, vec![silent, silent]).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(relay.counters().unanswered, 1);
    }

    #[tokio::test]
    async fn without_resolvers_foreign_names_are_refused() {
        let reply = asked(&Relay::default(), vec![]).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    }

    #[tokio::test]
    async fn an_answer_into_our_networks_becomes_no_data() {
        let relay = Relay::default();
        let rebinding = resolver(|query| {
            let mut reply = with_address(query, A::new(100, 64, 128, 7));
            reply.add_answers([Record::from_rdata(Name::root(), 60, RData::A(A::new(100, 64, 0, 1)))]);
            vec![reply.to_vec().expect("bytes")]
        })
        .await;
        let reply = asked(&relay, vec![rebinding]).await;
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
        assert_eq!(relay.counters().rebinding, 1);
    }

    #[tokio::test]
    async fn a_device_that_asks_too_fast_is_slowed() {
        let relay = Relay::default();
        // In the future, so that nothing is earned until the question below.
        let ahead = Instant::now() + Duration::from_secs(3600);
        while relay.rates.lock().expect("no panic").take(&device(), ahead) {}
        let reply = asked(&relay, vec![resolver(good).await]).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        let counters = relay.counters();
        assert_eq!((counters.limited, counters.relayed), (1, 0));
    }

    #[tokio::test]
    async fn a_long_answer_is_fetched_over_tcp_for_who_asks_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).await.expect("the same port");
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let mut short = with_address(&buffer[..length], A::new(192, 0, 2, 1));
                short.metadata.truncation = true;
                short.answers.clear();
                udp.send_to(&short.to_vec().expect("bytes"), from).await.expect("sent");
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let query = read_message(&mut stream).await.expect("a question");
                let reply = with_address(&query, A::new(192, 0, 2, 2)).to_vec().expect("bytes");
                write_message(&mut stream, &reply).await.expect("sent");
            }
        });
        let (relay, view) = (Relay::default(), view(vec![address]));
        let by_udp = soon(relay.ask(&device(), &view, &query(), Over::Udp)).await;
        assert!(Message::from_vec(&by_udp).expect("a message").metadata.truncation);
        let by_tcp = soon(relay.ask(&device(), &view, &query(), Over::Tcp)).await;
        let by_tcp = Message::from_vec(&by_tcp).expect("a message");
        assert_eq!((by_tcp.metadata.truncation, by_tcp.answers.len()), (false, 1));
    }
}
