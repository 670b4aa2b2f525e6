//! The words with which a connector joins: one request, one answer, each a whole QUIC stream's side.
//! They carry nothing and speak of no link: who has joined links by [`crate::link`] like any other.
//! Always true: a message is at most [`MAX`] bytes; of another version's request only the number is
//! read; `Debug` shows no token; decoding any bytes ends without a panic.

use crate::{
    config::Secret,
    id::{ConnectorId, SiteId},
    link::{FrameError, clip, put_text, take_text, text},
};

/// The ALPN protocol name; another major version is another name.
pub const ALPN: &[u8] = b"doorward-join/1";
/// The version of the words below.
pub const VERSION: u16 = 1;
/// The longest message, in bytes.
pub const MAX: usize = 600;

/// Kinds of the link begin with other numbers: the words of one are never those of the other.
mod kind {
    pub const JOIN: u8 = 0x41;
    pub const JOINED: u8 = 0x42;
    pub const REFUSED: u8 = 0x43;
}

/// Who has joined, as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The name it has from now on.
    pub connector: ConnectorId,
    /// The site it speaks for.
    pub site: SiteId,
}

/// One message; the end of the stream is its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The connector's: let the key I have shown join by this token.
    Join(Secret<String>),
    /// The connector's, in another version than [`VERSION`].
    Unspoken(u16),
    /// The gateway's: you may link from now on.
    Joined(Joined),
    /// The gateway's: no, and why.
    Refused(String),
}

impl Message {
    /// The message's bytes. Texts are clipped to [`crate::link::MAX_TEXT`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind()];
        match self {
            Self::Join(token) => {
                bytes.extend(VERSION.to_be_bytes());
                bytes.extend(clip(token.expose()).bytes());
            }
            Self::Unspoken(version) => bytes.extend(version.to_be_bytes()),
            Self::Joined(Joined { connector, site }) => {
                put_text(&mut bytes, connector.as_str());
                put_text(&mut bytes, site.as_str());
            }
            Self::Refused(why) => bytes.extend(clip(why).bytes()),
        }
        bytes
    }

    /// The message that `bytes` are.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let (&kind, body) = bytes.split_first().ok_or(FrameError::Malformed(0))?;
        let read = match kind {
            kind::JOIN => read_join(body),
            kind::JOINED => read_joined(body),
            kind::REFUSED => text(body).map(Self::Refused),
            _ => return Err(FrameError::Unknown(kind)),
        };
        read.ok_or(FrameError::Malformed(kind))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Join(_) | Self::Unspoken(_) => kind::JOIN,
            Self::Joined(_) => kind::JOINED,
            Self::Refused(_) => kind::REFUSED,
        }
    }
}

fn read_join(body: &[u8]) -> Option<Message> {
    let (version, token) = body.split_first_chunk()?;
    match u16::from_be_bytes(*version) {
        VERSION => text(token).map(|token| Message::Join(Secret::new(token))),
        other => Some(Message::Unspoken(other)),
    }
}

fn read_joined(body: &[u8]) -> Option<Message> {
    let (connector, rest) = take_text(body)?;
    let (site, rest) = take_text(rest)?;
    let joined = Joined { connector: connector.parse().ok()?, site: site.parse().ok()? };
    rest.is_empty().then_some(Message::Joined(joined))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::link::{Decoded, Frame, MAX_TEXT};

    fn any_message() -> impl Strategy<Value = Message> {
        let joined = ("[a-z0-9][a-z0-9-]{0,62}", "[a-z0-9][a-z0-9-]{0,62}");
        prop_oneof![
            "[ -~]{0,255}".prop_map(|token| Message::Join(Secret::new(token))),
            (VERSION + 1..).prop_map(Message::Unspoken),
            joined.prop_map(|(connector, site)| {
                let (connector, site) = (connector.parse().unwrap(), site.parse().unwrap());
                Message::Joined(Joined { connector, site })
            }),
            "[a-zA-Z0-9 äß€.:]{0,60}".prop_map(Message::Refused),
        ]
    }

    #[test]
    fn of_another_version_only_the_number_is_read() {
        assert_eq!(Message::decode(b"A\x00\x07\xff\n"), Ok(Message::Unspoken(7)));
        assert_eq!(Message::decode(b"A\x00\x01\xff"), Err(FrameError::Malformed(kind::JOIN)));
    }

    #[test]
    fn bounds_hold_and_no_token_is_shown() {
        let join = Message::Join(Secret::new("x".repeat(1000)));
        assert_eq!(join.encode().len(), 3 + MAX_TEXT);
        assert!(!format!("{join:?}").contains('x'));
        assert_eq!(Message::decode(&[kind::REFUSED; MAX + 1]), Err(FrameError::TooLong(MAX + 1)));
        assert_eq!(Message::decode(&[]), Err(FrameError::Malformed(0)));
        assert_eq!(Message::decode(b"C\n"), Err(FrameError::Malformed(kind::REFUSED)), "no line is forged");
        assert_eq!(Message::decode(b"B\x01a\x01A"), Err(FrameError::Malformed(kind::JOINED)), "not a name");
    }

    proptest! {
        #[test]
        fn messages_survive_a_round_trip_and_are_no_frames(message in any_message()) {
            let bytes = message.encode();
            prop_assert!(bytes.len() <= MAX);
            prop_assert!(!matches!(Frame::decode(&bytes), Ok(Decoded::Frame(..))), "the link must not know it");
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(kind in 0x40u8..0x45, body in vec(any::<u8>(), 0..300)) {
            let mut bytes = vec![kind];
            bytes.extend(body);
            let _ = Message::decode(&bytes);
        }
    }
}
