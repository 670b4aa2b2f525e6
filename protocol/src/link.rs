//! The words of the connector link: frames, and the codes that end streams and connections.
//! It carries nothing: both ends read and write these over QUIC streams of their own.
//! Always true: a frame is at most [`HEAD`] + [`MAX_BODY`] bytes; an unknown required kind is an
//! error, an unknown optional one is skipped; decoding any bytes ends without a panic.

use std::fmt;

use crate::target::{Proto, Target};

/// The ALPN protocol name; another major version is another name.
pub const ALPN: &[u8] = b"doorward-link/1";
/// The version of the words below.
pub const VERSION: u16 = 1;
/// Bytes before a body: the kind, and the body's length in network order.
pub const HEAD: usize = 3;
/// The longest body.
pub const MAX_BODY: usize = 2048;
/// Bytes kept of a text; a longer one is clipped by its sender.
pub const MAX_TEXT: usize = 255;
/// Versions or capabilities that one Hello may list.
pub const MAX_LIST: usize = 3;
/// The capability to carry flows of UDP and echo.
pub const DATAGRAMS: &str = "datagrams";

/// Kinds from here on are optional: who does not know one skips it.
const OPTIONAL: u8 = 0x80;

/// Why bytes are not a frame. Each is the peer's fault and ends the stream or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame.
    #[error("a frame of {0} bytes, more than {MAX_BODY}")]
    TooLong(usize),
    /// A kind this version must understand and does not.
    #[error("an unknown required frame of kind {0:#04x}")]
    Unknown(u8),
    /// The body does not fit its kind.
    #[error("a malformed frame of kind {0:#04x}")]
    Malformed(u8),
}

/// One message.
///
/// The connector opens one control stream, on which both sides begin with [`Frame::Hello`]. Every
/// flow is a stream opened by the gateway: it sends [`Frame::Open`], the connector answers
/// [`Frame::Accepted`] before it dials and [`Frame::Outcome`] after, then the stream is the flow's.
///
/// The payloads of a flow of datagrams travel beside its stream: each in a QUIC datagram (RFC 9221)
/// or, too large for one, alone in a unidirectional stream; both begin with [`Label`]. On the flow's
/// stream the connector then only tells, by more outcomes, what the network said of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Control, first from both sides.
    Hello(Hello),
    /// Control: the sender is leaving; open no more flows.
    Goaway,
    /// Control: are you there? Answered by a pong of the same number.
    Ping(u64),
    /// Control: the answer to a ping.
    Pong(u64),
    /// Flow, first from the gateway.
    Open(Open),
    /// Flow: the connector has the flow and dials now.
    Accepted,
    /// Flow: how the dial ended. The flow's bytes follow [`Outcome::Connected`], nothing any other.
    Outcome(Outcome),
    /// Control: how many datagrams the sender has dropped on this link so far.
    Dropped(u64),
    /// An optional frame of a kind that this version does not know: to be skipped.
    Skipped(u8),
}

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The versions it speaks, at most [`MAX_LIST`].
    pub versions: Vec<u16>,
    /// What it can do beyond the version, at most [`MAX_LIST`]: [`DATAGRAMS`].
    pub capabilities: Vec<String>,
    /// Its software version, for people.
    pub software: String,
    /// Drawn at random when the process starts: connections of one process belong together.
    pub instance: [u8; 16],
}

impl Hello {
    /// The Hello of this version of the software.
    pub fn new(software: &str, instance: [u8; 16]) -> Self {
        let capabilities = vec![DATAGRAMS.to_owned()];
        Self { versions: vec![VERSION], capabilities, software: software.to_owned(), instance }
    }

    /// Whether it can do this beyond the version.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// The version both sides speak, if any.
    pub fn agreed(&self) -> Option<u16> {
        self.versions.contains(&VERSION).then_some(VERSION)
    }
}

/// A flow's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The gateway's number of the flow, for both logs.
    pub flow: u64,
    /// What it speaks; all but TCP only to who can do [`DATAGRAMS`].
    pub proto: Proto,
    /// Where it goes.
    pub target: Target,
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target answers; its bytes follow.
    Connected,
    /// The target refused.
    Refused,
    /// The target did not answer in time.
    Timeout,
    /// The site's rules do not let this be dialled; the text names the address and the rule.
    NotAllowed(String),
    /// The name does not resolve at the site.
    NameNotFound,
    /// The network says that the target cannot be reached.
    Unreachable,
    /// The connector carries as many flows as it may.
    Overloaded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Refused => f.write_str("refused"),
            Self::Timeout => f.write_str("timeout"),
            Self::NotAllowed(why) => write!(f, "not allowed: {why}"),
            Self::NameNotFound => f.write_str("name not found"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Overloaded => f.write_str("overloaded"),
        }
    }
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A frame, and how many bytes it took.
    Frame(Frame, usize),
    /// Not yet a frame: at least this many bytes are missing, and reading just as many never reads
    /// beyond the frame's end.
    Missing(usize),
}

mod kind {
    pub const HELLO: u8 = 0x01;
    pub const GOAWAY: u8 = 0x02;
    pub const PING: u8 = 0x03;
    pub const PONG: u8 = 0x04;
    pub const OPEN: u8 = 0x10;
    pub const ACCEPTED: u8 = 0x11;
    pub const CONNECTED: u8 = 0x12;
    pub const REFUSED: u8 = 0x13;
    pub const TIMEOUT: u8 = 0x14;
    pub const NOT_ALLOWED: u8 = 0x15;
    pub const NAME_NOT_FOUND: u8 = 0x16;
    pub const UNREACHABLE: u8 = 0x17;
    pub const OVERLOADED: u8 = 0x18;
    pub const OPEN_UDP: u8 = 0x19;
    pub const OPEN_ECHO: u8 = 0x1a;
    pub const DROPPED: u8 = super::OPTIONAL;
}

impl Frame {
    /// The frame's bytes. Texts are clipped to [`MAX_TEXT`], lists to [`MAX_LIST`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind(), 0, 0];
        match self {
            Self::Hello(hello) => hello.write(&mut bytes),
            Self::Ping(number) | Self::Pong(number) | Self::Dropped(number) => {
                bytes.extend(number.to_be_bytes());
            }
            Self::Open(open) => open.write(&mut bytes),
            Self::Outcome(Outcome::NotAllowed(why)) => bytes.extend(clip(why).bytes()),
            Self::Goaway | Self::Accepted | Self::Outcome(_) | Self::Skipped(_) => {}
        }
        let body = u16::try_from(bytes.len() - HEAD).expect("texts and lists are clipped");
        bytes[1..HEAD].copy_from_slice(&body.to_be_bytes());
        bytes
    }

    /// The frame at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, FrameError> {
        let Some((&[kind, high, low], rest)) = bytes.split_first_chunk() else {
            return Ok(Decoded::Missing(HEAD - bytes.len()));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_BODY {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(Decoded::Missing(length - rest.len())) };
        Ok(Decoded::Frame(Self::read(kind, body)?, HEAD + length))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Goaway => kind::GOAWAY,
            Self::Ping(_) => kind::PING,
            Self::Pong(_) => kind::PONG,
            Self::Open(open) => match open.proto {
                Proto::Tcp => kind::OPEN,
                Proto::Udp => kind::OPEN_UDP,
                Proto::Icmp => kind::OPEN_ECHO,
            },
            Self::Accepted => kind::ACCEPTED,
            Self::Outcome(Outcome::Connected) => kind::CONNECTED,
            Self::Outcome(Outcome::Refused) => kind::REFUSED,
            Self::Outcome(Outcome::Timeout) => kind::TIMEOUT,
            Self::Outcome(Outcome::NotAllowed(_)) => kind::NOT_ALLOWED,
            Self::Outcome(Outcome::NameNotFound) => kind::NAME_NOT_FOUND,
            Self::Outcome(Outcome::Unreachable) => kind::UNREACHABLE,
            Self::Outcome(Outcome::Overloaded) => kind::OVERLOADED,
            Self::Dropped(_) => kind::DROPPED,
            Self::Skipped(kind) => *kind,
        }
    }

    fn read(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(kind);
        let bare = |frame| if body.is_empty() { Ok(frame) } else { Err(malformed) };
        match kind {
            kind::HELLO => Hello::read(body).map(Self::Hello).ok_or(malformed),
            kind::GOAWAY => bare(Self::Goaway),
            kind::PING => number(body).map(Self::Ping).ok_or(malformed),
            kind::PONG => number(body).map(Self::Pong).ok_or(malformed),
            kind::DROPPED => number(body).map(Self::Dropped).ok_or(malformed),
            kind::OPEN => Open::read(body, Proto::Tcp).map(Self::Open).ok_or(malformed),
            kind::OPEN_UDP => Open::read(body, Proto::Udp).map(Self::Open).ok_or(malformed),
            kind::OPEN_ECHO => Open::read(body, Proto::Icmp).map(Self::Open).ok_or(malformed),
            kind::ACCEPTED => bare(Self::Accepted),
            kind::CONNECTED => bare(Self::Outcome(Outcome::Connected)),
            kind::REFUSED => bare(Self::Outcome(Outcome::Refused)),
            kind::TIMEOUT => bare(Self::Outcome(Outcome::Timeout)),
            kind::NOT_ALLOWED => {
                text(body).map(|why| Self::Outcome(Outcome::NotAllowed(why))).ok_or(malformed)
            }
            kind::NAME_NOT_FOUND => bare(Self::Outcome(Outcome::NameNotFound)),
            kind::UNREACHABLE => bare(Self::Outcome(Outcome::Unreachable)),
            kind::OVERLOADED => bare(Self::Outcome(Outcome::Overloaded)),
            _ if kind >= OPTIONAL => Ok(Self::Skipped(kind)),
            _ => Err(FrameError::Unknown(kind)),
        }
    }
}

impl Hello {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.instance);
        put_text(bytes, &self.software);
        let versions = &self.versions[..self.versions.len().min(MAX_LIST)];
        bytes.push(u8::try_from(versions.len()).expect("MAX_LIST is small"));
        versions.iter().for_each(|version| bytes.extend(version.to_be_bytes()));
        self.capabilities.iter().take(MAX_LIST).for_each(|name| put_text(bytes, name));
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (instance, rest) = body.split_first_chunk()?;
        let (software, rest) = take_text(rest)?;
        let (&count, rest) = rest.split_first()?;
        let (list, mut rest) = rest.split_at_checked(usize::from(count) * 2)?;
        let versions: Vec<u16> =
            list.as_chunks().0.iter().map(|&version| u16::from_be_bytes(version)).collect();
        let mut capabilities = Vec::new();
        while !rest.is_empty() {
            let (name, after) = take_text(rest)?;
            capabilities.push(name);
            rest = after;
        }
        let listed = versions.len() <= MAX_LIST && capabilities.len() <= MAX_LIST;
        listed.then_some(Self { versions, capabilities, software, instance: *instance })
    }
}

impl Open {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.flow.to_be_bytes());
        match self.proto {
            Proto::Tcp | Proto::Udp => bytes.extend(self.target.to_string().bytes()),
            Proto::Icmp => bytes.extend(self.target.host.to_string().bytes()),
        }
    }

    fn read(body: &[u8], proto: Proto) -> Option<Self> {
        let (flow, target) = body.split_first_chunk()?;
        let target = std::str::from_utf8(target).ok()?;
        let target = match proto {
            Proto::Tcp | Proto::Udp => target.parse().ok()?,
            Proto::Icmp => Target { host: target.parse().ok()?, port: 0 },
        };
        Some(Self { flow: u64::from_be_bytes(*flow), proto, target })
    }
}

/// Which flow a payload beside the streams belongs to: the number of the flow's stream among those the
/// gateway opened, as a QUIC variable-length integer (RFC 9000 section 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(pub u64);

impl Label {
    /// The label's bytes and the payload's.
    pub fn before(self, payload: &[u8]) -> Vec<u8> {
        let number = self.0.to_be_bytes();
        // The first two bits say how many bytes there are: 1, 2, 4 or 8.
        let (length, mark) = match self.0 {
            0..0x40 => (1, 0x00),
            0x40..0x4000 => (2, 0x40),
            0x4000..0x4000_0000 => (4, 0x80),
            _ => (8, 0xc0),
        };
        let mut bytes = Vec::with_capacity(length + payload.len());
        bytes.extend(&number[number.len() - length..]);
        bytes[0] |= mark;
        bytes.extend(payload);
        bytes
    }

    /// The label at the beginning of `bytes`, and how many bytes it took.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let first = *bytes.first()?;
        let length = 1 << (first >> 6);
        let rest = bytes.get(1..length)?;
        let number = rest.iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte));
        Some((Self(number), length))
    }
}

fn number(body: &[u8]) -> Option<u64> {
    body.try_into().ok().map(u64::from_be_bytes)
}

/// The longest beginning of `text` that fits [`MAX_TEXT`].
pub(crate) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// A text that goes into a log: the peer may not forge lines of it.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_TEXT)?;
    (!text.contains(char::is_control)).then(|| text.to_owned())
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let text = clip(text);
    bytes.push(u8::try_from(text.len()).expect("clipped"));
    bytes.extend(text.bytes());
}

pub(crate) fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (head, rest) = rest.split_at_checked(usize::from(length))?;
    Some((text(head)?, rest))
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $code:literal, $words:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$item])* $variant,)* }

        impl $name {
            /// The number on the wire.
            pub const fn code(self) -> u32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// What a number on the wire means, if this version knows it.
            pub const fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $words,)* })
            }
        }
    };
}

codes! {
    /// Why a flow's stream ends otherwise than by FIN: in RESET_STREAM and STOP_SENDING.
    StreamEnd {
        /// The gateway cut it, or the device's side was reset.
        Cut = 0x01, "the flow was cut";
        /// The target reset its connection.
        TargetReset = 0x02, "the target reset the connection";
        /// The gateway went on to another connector.
        GivenUp = 0x03, "the gateway gave up waiting";
        /// The connector is leaving.
        Leaving = 0x04, "the connector is leaving";
        /// The site's rules changed and forbid the target.
        NotAllowed = 0x05, "the site's rules forbid the target now";
        /// The peer does not keep to these words.
        Protocol = 0x06, "the peer broke the protocol";
        /// The target does not take what it is sent.
        Stuck = 0x07, "the target takes nothing, and too many flows to it wait";
    }
}

codes! {
    /// Why a link ends: in the connection's close.
    LinkEnd {
        /// The process is ending.
        Shutdown = 0x10, "the other side is shutting down";
        /// The peer does not keep to these words.
        Protocol = 0x11, "the peer broke the protocol";
        /// There is no version that both speak.
        Version = 0x12, "no common version of the link protocol: upgrade the older side";
        /// The gateway has no connector of this key.
        UnknownKey = 0x13, "the gateway has no connector with this key";
        /// Another process with the same key is connected.
        SecondInstance = 0x14, "another connector with the same key is connected";
        /// The connector was removed from the gateway's configuration.
        Removed = 0x15, "the connector was removed from the gateway's configuration";
        /// A newer process with the same key took over.
        Replaced = 0x16, "a newer connector with the same key took over";
        /// The process has as many connections as one set may have.
        Enough = 0x17, "the gateway has enough connections of this connector";
        /// Too many from the same address have failed to join.
        Shut = 0x18, "too many from this address have failed to join: try again in a minute";
        /// As many join as may at a time.
        Crowded = 0x19, "too many join at once: try again";
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn any_text() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9 äß€.:]{0,60}"
    }

    fn any_target() -> impl Strategy<Value = Target> {
        let hosts = prop_oneof![
            any::<u32>().prop_map(|v4| crate::target::Host::Ip(std::net::Ipv4Addr::from(v4).into())),
            any::<u128>().prop_map(|v6| crate::target::Host::Ip(std::net::Ipv6Addr::from(v6).into())),
            "[a-z][a-z0-9]{0,61}(\\.[a-z]{1,63}){0,2}".prop_map(crate::target::Host::Name),
        ];
        (hosts, 1u16..).prop_map(|(host, port)| Target { host, port })
    }

    fn any_open() -> impl Strategy<Value = Open> {
        let protos = prop::sample::select(vec![Proto::Tcp, Proto::Udp, Proto::Icmp]);
        (any::<u64>(), protos, any_target()).prop_map(|(flow, proto, target)| {
            let port = if proto == Proto::Icmp { 0 } else { target.port };
            Open { flow, proto, target: Target { port, ..target } }
        })
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let hello =
            (vec(any::<u16>(), 0..=MAX_LIST), vec(any_text(), 0..=MAX_LIST), any_text(), any::<[u8; 16]>());
        let outcomes = vec![
            Outcome::Connected,
            Outcome::Refused,
            Outcome::Timeout,
            Outcome::NameNotFound,
            Outcome::Unreachable,
            Outcome::Overloaded,
        ];
        prop_oneof![
            hello.prop_map(|(versions, capabilities, software, instance)| {
                Frame::Hello(Hello { versions, capabilities, software, instance })
            }),
            Just(Frame::Goaway),
            any::<u64>().prop_map(Frame::Ping),
            any::<u64>().prop_map(Frame::Pong),
            any_open().prop_map(Frame::Open),
            any::<u64>().prop_map(Frame::Dropped),
            Just(Frame::Accepted),
            prop::sample::select(outcomes).prop_map(Frame::Outcome),
            any_text().prop_map(|why| Frame::Outcome(Outcome::NotAllowed(why))),
            (OPTIONAL + 1..).prop_map(Frame::Skipped),
        ]
    }

    #[test]
    fn unknown_kinds_stop_or_are_skipped() {
        assert_eq!(Frame::decode(&[0x7f, 0, 0]), Err(FrameError::Unknown(0x7f)));
        assert_eq!(Frame::decode(&[0x81, 0, 1, 9, 9]), Ok(Decoded::Frame(Frame::Skipped(0x81), 4)));
        assert_eq!(Frame::decode(&[0x81, 0xff, 0xff]), Err(FrameError::TooLong(0xffff)));
    }

    #[test]
    fn a_body_that_does_not_fit_is_malformed() {
        for kind in [kind::OPEN, kind::OPEN_UDP, kind::OPEN_ECHO] {
            let mut zero_port = *b"\x10\x00\x0b\0\0\0\0\0\0\0\0a:0";
            zero_port[0] = kind;
            assert_eq!(Frame::decode(&zero_port), Err(FrameError::Malformed(kind)));
        }
        assert_eq!(Frame::decode(&[kind::GOAWAY, 0, 1, 0]), Err(FrameError::Malformed(kind::GOAWAY)));
        assert_eq!(Frame::decode(b"\x15\x00\x02\xff\xff"), Err(FrameError::Malformed(kind::NOT_ALLOWED)));
        assert_eq!(Frame::decode(b"\x15\x00\x02a\n"), Err(FrameError::Malformed(kind::NOT_ALLOWED)));
    }

    #[test]
    fn long_texts_are_clipped_at_a_character() {
        let why = "€".repeat(200);
        let bytes = Frame::Outcome(Outcome::NotAllowed(why)).encode();
        let clipped = Frame::Outcome(Outcome::NotAllowed("€".repeat(85)));
        assert_eq!(Frame::decode(&bytes), Ok(Decoded::Frame(clipped, bytes.len())));
    }

    #[test]
    fn the_longest_hello_fits() {
        let name = "x".repeat(1000);
        let hello = Hello {
            versions: vec![1; 9],
            capabilities: vec![name.clone(); 9],
            software: name,
            instance: [1; 16],
        };
        let bytes = Frame::Hello(hello).encode();
        assert!(matches!(Frame::decode(&bytes), Ok(Decoded::Frame(Frame::Hello(_), _))));
    }

    #[test]
    fn versions_agree_or_not() {
        let mut hello = Hello::new("1", [0; 16]);
        assert_eq!(hello.agreed(), Some(VERSION));
        hello.versions = vec![VERSION + 1];
        assert_eq!(hello.agreed(), None);
    }

    #[test]
    fn codes_are_their_own_inverse() {
        for code in 0..=0xff_u32 {
            assert_eq!(StreamEnd::from_code(code.into()).map_or(code, StreamEnd::code), code);
            assert_eq!(LinkEnd::from_code(code.into()).map_or(code, LinkEnd::code), code);
        }
    }

    proptest! {
        #[test]
        fn frames_survive_a_round_trip(frame in any_frame(), after in vec(any::<u8>(), 0..9)) {
            let mut bytes = frame.encode();
            let length = bytes.len();
            bytes.extend(after);
            prop_assert_eq!(Frame::decode(&bytes), Ok(Decoded::Frame(frame, length)));
        }

        #[test]
        fn labels_survive_a_round_trip(bits in 0u32..62, number in any::<u64>(), payload in vec(any::<u8>(), 0..9)) {
            let label = Label(number & ((1 << 62) - 1) >> bits);
            let bytes = label.before(&payload);
            let (read, length) = Label::read(&bytes).unwrap();
            prop_assert_eq!((read, &bytes[length..]), (label, &payload[..]));
            prop_assert!((0..length).all(|cut| Label::read(&bytes[..cut]).is_none()));
        }

        #[test]
        fn every_truncation_needs_more(frame in any_frame()) {
            let bytes = frame.encode();
            for cut in 0..bytes.len() {
                let Ok(Decoded::Missing(more)) = Frame::decode(&bytes[..cut]) else {
                    return Err(TestCaseError::fail(format!("decoded at {cut}")));
                };
                prop_assert!(more > 0 && cut + more <= bytes.len(), "{} + {}", cut, more);
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(&bytes);
        }

        #[test]
        fn any_body_is_decoded_without_panic(kind in 0u8..0x20, body in vec(any::<u8>(), 0..60)) {
            let mut bytes = vec![kind, 0, u8::try_from(body.len()).unwrap()];
            bytes.extend(body);
            let _ = Frame::decode(&bytes);
        }
    }
}
