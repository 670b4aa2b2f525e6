//! Opens the sealed head of a handshake initiation (WireGuard paper §5.4.2): the sender's key, then
//! its label. boringtun shows the key but keeps the label to itself, and we must refuse replays
//! before making cipher state. It seals nothing, and agrees on no session key.

use blake2::{Blake2s256, Digest};
use hmac::{Mac, SimpleHmac};
use protocol::key::WgKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{HANDSHAKE_BYTES, Opened};
use crate::config::Stamp;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

type Hash = [u8; 32];

/// The part of the handshake that is the same for every initiation to us.
pub(super) struct Opener {
    secret: StaticSecret,
    chain: Hash,
    hash: Hash,
}

/// The fields of an initiation.
struct Fields<'a> {
    ephemeral: &'a [u8; 32],
    sealed_key: &'a [u8; 48],
    sealed_stamp: &'a [u8; 28],
}

impl<'a> Fields<'a> {
    fn of(datagram: &'a [u8]) -> Option<Self> {
        let (_, rest) = datagram.first_chunk::<HANDSHAKE_BYTES>()?.split_first_chunk::<8>()?;
        let (ephemeral, rest) = rest.split_first_chunk()?;
        let (sealed_key, rest) = rest.split_first_chunk()?;
        Some(Self { ephemeral, sealed_key, sealed_stamp: rest.first_chunk()? })
    }
}

impl Opener {
    pub(super) fn new(secret: &StaticSecret) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        let public = PublicKey::from(secret);
        let hash = hash(&[&hash(&[&chain, IDENTIFIER]), public.as_bytes()]);
        Self { secret: secret.clone(), chain, hash }
    }

    pub(super) fn open(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Opened {
        self.try_open(datagram, known).unwrap_or(Opened::Invalid)
    }

    fn try_open(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Option<Opened> {
        let fields = Fields::of(datagram)?;
        let hashed = hash(&[&self.hash, fields.ephemeral]);
        let chain = mac(&mac(&self.chain, &[fields.ephemeral]), &[&[1]]);
        let shared = self.secret.diffie_hellman(&PublicKey::from(*fields.ephemeral));
        let (chain, key) = derive(&chain, shared.as_bytes());
        let claimed = WgKey(unseal(&key, *fields.sealed_key, &hashed)?);
        if !known(&claimed) {
            return Some(Opened::Stranger(claimed));
        }
        let hashed = hash(&[&hashed, fields.sealed_key]);
        let shared = self.secret.diffie_hellman(&PublicKey::from(claimed.0));
        let (_, key) = derive(&chain, shared.as_bytes());
        Some(Opened::Known(claimed, Stamp(unseal(&key, *fields.sealed_stamp, &hashed)?)))
    }
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut digest = Blake2s256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

fn mac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let mut mac = SimpleHmac::<Blake2s256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The paper's `Kdf2`.
fn derive(chain: &Hash, input: &[u8]) -> (Hash, Hash) {
    let extracted = mac(chain, &[input]);
    let first = mac(&extracted, &[&[1]]);
    let second = mac(&extracted, &[&first, &[2]]);
    (first, second)
}

/// Opens `sealed` under counter zero; the plain text is the front of it.
fn unseal<const SEALED: usize, const PLAIN: usize>(
    key: &Hash,
    mut sealed: [u8; SEALED],
    hashed: &Hash,
) -> Option<[u8; PLAIN]> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
    let plain =
        key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::from(hashed), &mut sealed).ok()?;
    <[u8; PLAIN]>::try_from(&*plain).ok()
}

#[cfg(test)]
mod tests {
    use boringtun::noise::{Tunn, TunnResult};

    use super::*;

    fn initiation(from: &StaticSecret, to: &StaticSecret) -> Vec<u8> {
        let mut tunn = Tunn::new(from.clone(), PublicKey::from(to), None, None, 1, None);
        let mut out = [0; 256];
        match tunn.format_handshake_initiation(&mut out, false) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_what_boringtun_seals() {
        let (device, gateway) = (StaticSecret::from([1; 32]), StaticSecret::from([2; 32]));
        let key = WgKey(PublicKey::from(&device).to_bytes());
        let opener = Opener::new(&gateway);
        let message = initiation(&device, &gateway);
        assert_eq!(opener.open(&message, &|_| false), Opened::Stranger(key));
        let Opened::Known(claimed, stamp) = opener.open(&message, &|_| true) else { panic!("not opened") };
        assert_eq!(claimed, key);
        // TAI64 labels of this era begin with 2^62, so 0x40 0 0 0 (TAI64N, D. J. Bernstein).
        assert_eq!(&stamp.0[..4], &[0x40, 0, 0, 0]);
        let Opened::Known(_, later) = opener.open(&initiation(&device, &gateway), &|_| true) else {
            panic!("not opened")
        };
        assert!(later >= stamp);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let (device, gateway) = (StaticSecret::from([1; 32]), StaticSecret::from([2; 32]));
        let opener = Opener::new(&gateway);
        let message = initiation(&device, &gateway);
        for at in (8..116).step_by(9) {
            let mut changed = message.clone();
            changed[at] ^= 4;
            assert_eq!(opener.open(&changed, &|_| true), Opened::Invalid, "byte {at}");
        }
        assert_eq!(opener.open(&message[..147], &|_| true), Opened::Invalid);
    }
}
