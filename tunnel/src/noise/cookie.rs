//! The MACs that end a handshake message (WireGuard paper §5.4.4), and cookies (§5.4.7): mac1 says that
//! its sender knows our key, mac2 that it receives at the address and port it sends from.
//! It counts and remembers nothing. Always true: a cookie is of use only from the address and port it
//! was sent to, for two epochs at most, and MACs are compared in constant time.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use blake2::{
    Blake2s256, Blake2sMac, Blake2sMac256, Digest,
    digest::{KeyInit, Mac, consts::U16},
};
use chacha20poly1305::{AeadInPlace, XChaCha20Poly1305};
use protocol::key::WgKey;

use super::COOKIE_BYTES;
use crate::config::CookieSecret;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";
/// How long the secret behind cookies lasts, in seconds (§5.4.7). A client keeps its cookie as long, so
/// the epoch before is good as well.
const EPOCH: u64 = 120;

type Mac16 = Blake2sMac<U16>;

/// A handshake message whose mac1 is right.
pub(super) struct Message<'a> {
    sender: &'a [u8; 4],
    /// All that mac2 covers.
    covered: &'a [u8],
    mac1: &'a [u8; 16],
    mac2: &'a [u8; 16],
}

/// Verifies MACs, and makes cookies.
pub(super) struct Cookies {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    nonce_key: [u8; 32],
    seal: XChaCha20Poly1305,
    since: Instant,
}

impl Cookies {
    /// Of the gateway with this public key.
    pub(super) fn new(public: &WgKey, secret: &CookieSecret) -> Self {
        Self {
            mac1_key: labelled(LABEL_MAC1, public),
            cookie_key: derive(secret, b"cookie"),
            nonce_key: derive(secret, b"nonce"),
            seal: XChaCha20Poly1305::new(&labelled(LABEL_COOKIE, public).into()),
            since: secret.since,
        }
    }

    /// Reads an initiation or a response; none if its mac1 is wrong.
    pub(super) fn read<'a>(&self, datagram: &'a [u8]) -> Option<Message<'a>> {
        let (covered, mac2) = datagram.split_last_chunk()?;
        let (body, mac1) = covered.split_last_chunk()?;
        let (_, rest) = body.split_first_chunk::<4>()?;
        let message = Message { sender: rest.first_chunk()?, covered, mac1, mac2 };
        is_mac16(&self.mac1_key, body, mac1).then_some(message)
    }

    /// Whether the sender returns a cookie we sent to `from`.
    pub(super) fn returned(&self, message: &Message<'_>, from: SocketAddr, now: Instant) -> bool {
        let epoch = self.epoch(now);
        // Zero says that there is no cookie (§5.4.4).
        *message.mac2 != [0; 16]
            && (epoch.saturating_sub(1)..=epoch)
                .any(|epoch| is_mac16(&self.cookie(from, epoch), message.covered, message.mac2))
    }

    /// The reply that brings the sender its cookie.
    ///
    /// The key that seals it is the same for ever and for all our processes, so no counter can promise
    /// that a nonce is new. Instead the nonce is a 192-bit MAC of everything that differs between replies:
    /// two replies have the same nonce only if they are the same reply, which tells nothing new.
    pub(super) fn reply(&self, message: &Message<'_>, from: SocketAddr, now: Instant) -> [u8; COOKIE_BYTES] {
        let cookie = self.cookie(from, self.epoch(now));
        let nonce = &mac32(&self.nonce_key, &[message.mac1, &cookie])[..24];
        let mut sealed = cookie;
        let tag = self
            .seal
            .encrypt_in_place_detached(nonce.into(), message.mac1, &mut sealed)
            .expect("a cookie is not too long for the cipher");
        let mut reply = [0; COOKIE_BYTES];
        reply[..4].copy_from_slice(&3_u32.to_le_bytes());
        reply[4..8].copy_from_slice(message.sender);
        reply[8..32].copy_from_slice(nonce);
        reply[32..48].copy_from_slice(&sealed);
        reply[48..].copy_from_slice(&tag);
        reply
    }

    pub(super) fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs() / EPOCH
    }

    /// The paper's MAC of the source under a changing secret, the secret being a key and its epoch.
    fn cookie(&self, from: SocketAddr, epoch: u64) -> [u8; 16] {
        let addr = match from.ip() {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        let parts: [&[u8]; 3] = [&epoch.to_le_bytes(), &addr.octets(), &from.port().to_le_bytes()];
        mac16(&self.cookie_key, &parts)
    }
}

/// A key for one purpose.
pub(super) fn derive(secret: &CookieSecret, purpose: &[u8]) -> [u8; 32] {
    mac32(&secret.bytes, &[purpose])
}

pub(super) fn mac32(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    mac::<Blake2sMac256>(key, parts).finalize().into_bytes().into()
}

/// The paper's `Mac`.
fn mac16(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    mac::<Mac16>(key, parts).finalize().into_bytes().into()
}

fn is_mac16(key: &[u8], message: &[u8], claimed: &[u8; 16]) -> bool {
    mac::<Mac16>(key, &[message]).verify(claimed.into()).is_ok()
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    let mut mac = <M as Mac>::new_from_slice(key).expect("keys are of 16 or 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac
}

fn labelled(label: &[u8], public: &WgKey) -> [u8; 32] {
    Blake2s256::new().chain_update(label).chain_update(public.0).finalize().into()
}

/// What a client does with MACs and cookies; in the product, boringtun.
#[cfg(any(test, fuzzing))]
pub(crate) mod client {
    use super::*;

    /// Writes the MACs of a handshake message to `gateway`.
    pub(crate) fn prove(message: &mut [u8], gateway: &WgKey, cookie: Option<[u8; 16]>) {
        let (covered, mac2) = message.split_last_chunk_mut::<16>().expect("room for a MAC");
        let (body, mac1) = covered.split_last_chunk_mut::<16>().expect("room for a MAC");
        *mac1 = mac16(&labelled(LABEL_MAC1, gateway), &[body]);
        *mac2 = match cookie {
            Some(cookie) => mac16(&cookie, &[covered]),
            None => [0; 16],
        };
    }

    /// Opens the reply to a message that had `mac1`.
    pub(crate) fn open(reply: &[u8], gateway: &WgKey, mac1: &[u8]) -> Option<[u8; 16]> {
        let seal = XChaCha20Poly1305::new(&labelled(LABEL_COOKIE, gateway).into());
        let mut cookie: [u8; 16] = reply[32..48].try_into().expect("a cookie reply");
        seal.decrypt_in_place_detached(reply[8..32].into(), mac1, &mut cookie, reply[48..64].into()).ok()?;
        Some(cookie)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::{
        client::{open, prove},
        *,
    };
    use crate::testing::start;

    const GATEWAY: WgKey = WgKey([3; 32]);

    fn cookies(secret: u8, since: Instant) -> Cookies {
        Cookies::new(&GATEWAY, &CookieSecret::new([secret; 32], since))
    }

    fn initiation(n: u8, cookie: Option<[u8; 16]>) -> [u8; 148] {
        let mut message = [n; 148];
        prove(&mut message, &GATEWAY, cookie);
        message
    }

    /// What `from` gets for its first message, opened.
    fn exchange(cookies: &Cookies, from: SocketAddr, now: Instant) -> [u8; 16] {
        let first = initiation(1, None);
        let message = cookies.read(&first).unwrap();
        open(&cookies.reply(&message, from, now), &GATEWAY, &first[116..132]).unwrap()
    }

    fn accepts(cookies: &Cookies, cookie: [u8; 16], from: SocketAddr, now: Instant) -> bool {
        let second = initiation(2, Some(cookie));
        cookies.returned(&cookies.read(&second).unwrap(), from, now)
    }

    #[test]
    fn any_wrong_byte_fails_mac1() {
        let cookies = cookies(1, start());
        let good = initiation(1, None);
        assert!(cookies.read(&good).is_some());
        for at in 0..132 {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(cookies.read(&bad).is_none(), "byte {at}");
        }
        assert!(cookies.read(&good[..20]).is_none() && cookies.read(&[]).is_none());
    }

    /// Case D8: a cookie is bound to address and port.
    #[test]
    fn a_cookie_is_good_only_where_it_was_sent() {
        let now = start();
        let cookies = cookies(1, now);
        let home: SocketAddr = "198.51.100.7:4000".parse().unwrap();
        let cookie = exchange(&cookies, home, now);
        assert!(accepts(&cookies, cookie, home, now));
        assert!(accepts(&cookies, cookie, "[::ffff:198.51.100.7]:4000".parse().unwrap(), now));
        for elsewhere in ["198.51.100.7:4001", "198.51.100.8:4000", "[2001:db8::7]:4000"] {
            assert!(!accepts(&cookies, cookie, elsewhere.parse().unwrap(), now), "{elsewhere}");
        }
        let mut forged = initiation(2, Some(cookie));
        forged[147] ^= 1;
        assert!(!cookies.returned(&cookies.read(&forged).unwrap(), home, now));
        let none = initiation(2, None);
        assert!(!cookies.returned(&cookies.read(&none).unwrap(), home, now));
    }

    #[test]
    fn a_cookie_lasts_two_epochs_and_all_who_share_a_secret_take_it() {
        let since = start();
        let (one, other, stranger) = (cookies(1, since), cookies(1, since), cookies(2, since));
        let from = "[2001:db8::7]:4000".parse().unwrap();
        let at = |secs| since + Duration::from_secs(secs);
        let cookie = exchange(&one, from, at(119));
        assert!(accepts(&other, cookie, from, at(119)) && !accepts(&stranger, cookie, from, at(119)));
        assert!(accepts(&one, cookie, from, at(239)));
        assert!(!accepts(&one, cookie, from, at(240)));
        assert!(!accepts(&one, cookie, from, at(0) + Duration::from_secs(3600)));
        assert!(!accepts(&one, exchange(&one, from, at(120)), from, at(119)), "of an epoch to come");
    }

    #[test]
    fn a_nonce_comes_again_only_with_the_whole_reply() {
        let now = start();
        let cookies = cookies(1, now);
        let mut replies = HashSet::new();
        for _ in 0..2 {
            for n in 0..=255 {
                for port in 1..4 {
                    let first = initiation(n, None);
                    let from = SocketAddr::from(([198, 51, 100, 7], port));
                    replies.insert(cookies.reply(&cookies.read(&first).unwrap(), from, now));
                }
            }
        }
        let nonces: HashSet<_> = replies.iter().map(|reply| &reply[8..32]).collect();
        assert_eq!((replies.len(), nonces.len()), (768, 768));
    }
}
