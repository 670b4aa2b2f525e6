//! What `fuzz/` feeds with bytes, and what must hold for any of them: questions and resolvers' answers.
//! Part of no product: it is built for the fuzzer and for the tests that replay its corpus.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::RData,
};
use ipnet::IpNet;

use super::{Answer, DnsView, answer, answer::refuse, rebinding};

const V4: Ipv4Addr = Ipv4Addr::new(100, 64, 128, 7);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xd00, 0xd00, 2, 0, 0, 0, 7);
const APP: &str = "wiki.corp.example";
const ZONE: &str = "corp.example";

/// A message, taken as a device's question and as a resolver's answer: the first byte says which.
pub fn message(bytes: &[u8]) {
    match bytes.split_first() {
        Some((kind, question)) if kind & 1 == 0 => asked(question),
        Some((_, reply)) => replied(reply),
        None => {}
    }
}

/// Our answer is a whole message that answers this question and names no address but that of the app.
fn asked(question: &[u8]) {
    let view = DnsView {
        names: [(APP.to_owned(), (V4, V6))].into(),
        zones: vec![ZONE.to_owned()],
        ..DnsView::default()
    };
    let reply = match answer(&view, question) {
        Answer::Reply(reply) => reply,
        Answer::Relay => {
            let parsed = Message::from_vec(question).expect("only what parses is relayed");
            let name = parsed.queries[0].name().to_ascii().to_ascii_lowercase();
            assert!(!format!(".{name}").ends_with(".corp.example."), "{name} is ours");
            answers(question, &refuse(question, ResponseCode::ServFail));
            return;
        }
        Answer::Ignore => {
            assert!(question.len() < 12 || question[2] & 0x80 != 0, "every question gets an answer");
            return;
        }
    };
    let reply = answers(question, &reply);
    for record in &reply.answers {
        assert_eq!(
            record.name.to_ascii().trim_end_matches('.').to_ascii_lowercase().as_str(),
            match &record.data {
                RData::A(a) if a.0 == V4 => APP,
                RData::AAAA(aaaa) if aaaa.0 == V6 => APP,
                RData::SOA(_) => ZONE,
                other => panic!("we never say {other:?}"),
            }
        );
    }
}

/// The reply parses, is one, and carries the question's id.
fn answers(question: &[u8], reply: &[u8]) -> Message {
    let parsed = Message::from_vec(reply).expect("our answers parse");
    assert_eq!(parsed.metadata.message_type, MessageType::Response);
    assert_eq!(reply[..2], question[..2], "the id is the question's");
    if let Ok(asked) = Message::from_vec(question)
        && asked.metadata.op_code == OpCode::Query
    {
        assert!(asked.queries.starts_with(&parsed.queries), "it repeats the question");
    }
    parsed
}

/// After filtering, nothing that a device will read from the reply leads into our networks.
fn replied(reply: &[u8]) {
    let guarded: Vec<IpNet> =
        ["100.64.0.0/16", "fd00:d00:d00::/48", "10.50.0.0/24"].map(|net| net.parse().expect("a net")).into();
    let Ok(mut message) = Message::from_vec(reply) else { return };
    let sent = match rebinding::remove(&mut message, &guarded) {
        true => message.to_vec().unwrap_or_default(),
        false => reply.to_vec(),
    };
    for (kind, data) in records(&sent) {
        for ip in addresses(kind, data) {
            let inside = guarded.iter().any(|net| net.contains(&ip) || net.contains(&carried(ip)));
            assert!(!inside, "{ip} of a record of type {kind} leads inside");
        }
    }
}

/// The records of a message, type and data, read by nothing but RFC 1035 §4.1, as far as they make sense.
fn records(message: &[u8]) -> Vec<(u16, &[u8])> {
    let word = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    let mut found = Vec::new();
    let mut walk = || {
        let mut at = 12;
        for _ in 0..word(4)? {
            at = after_name(message, at)? + 4;
        }
        for _ in 0..u32::from(word(6)?) + u32::from(word(8)?) + u32::from(word(10)?) {
            at = after_name(message, at)?;
            let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
            found.push((kind, message.get(at + 10..at + 10 + length)?));
            at += 10 + length;
        }
        Some(())
    };
    walk();
    found
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// A, AAAA, and the hints of SVCB and HTTPS (RFC 9460 §2.2, §7.3).
fn addresses(kind: u16, data: &[u8]) -> Vec<IpAddr> {
    match kind {
        1 => v4s(data),
        28 => v6s(data),
        64 | 65 => hints(data).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn hints(data: &[u8]) -> Option<Vec<IpAddr>> {
    let mut at = after_name(data, 2)?;
    let mut found = Vec::new();
    while let Some(&[k1, k2, l1, l2]) = data.get(at..)?.first_chunk() {
        let value = data.get(at + 4..)?.get(..usize::from(u16::from_be_bytes([l1, l2])))?;
        at += 4 + value.len();
        match u16::from_be_bytes([k1, k2]) {
            4 => found.extend(v4s(value)),
            6 => found.extend(v6s(value)),
            _ => {}
        }
    }
    Some(found)
}

fn v4s(data: &[u8]) -> Vec<IpAddr> {
    data.as_chunks::<4>().0.iter().map(|&octets| Ipv4Addr::from(octets).into()).collect()
}

fn v6s(data: &[u8]) -> Vec<IpAddr> {
    data.as_chunks::<16>().0.iter().map(|&octets| Ipv6Addr::from(octets).into()).collect()
}

/// The v4 address within a mapped, NAT64 or 6to4 one.
fn carried(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let o = v6.octets();
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => [o[12], o[13], o[14], o[15]].into(),
        [0x2002, ..] => [o[2], o[3], o[4], o[5]].into(),
        _ => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay;

    #[test]
    fn every_unit_of_dns_holds() {
        replay::corpus("dns", message);
    }
}
