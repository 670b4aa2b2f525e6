//! Takes out of a resolver's answer what points into our own networks: a foreign name that did
//! would let its owner's pages talk to our apps in the name of the person at the browser.
//! What is left is an answer without such records, at worst "no data": a refusal would only send
//! the device to ask elsewhere, and "no such name" would deny the name's other records.

use std::net::IpAddr;

use hickory_proto::{
    op::Message,
    rr::{RData, Record, rdata::svcb::SvcParamValue},
};
use ipnet::IpNet;
use protocol::target::canonical;

/// Removes guarded addresses; whether there were any.
pub fn remove(reply: &mut Message, guarded: &[IpNet]) -> bool {
    let mut found = false;
    for section in [&mut reply.answers, &mut reply.authorities, &mut reply.additionals] {
        let before = section.len();
        section.retain(|record| !points_into(record, guarded));
        found |= section.len() != before;
    }
    found
}

fn points_into(record: &Record, guarded: &[IpNet]) -> bool {
    let hit = |ip: IpAddr| {
        let inner = canonical(ip);
        guarded.iter().any(|net| net.contains(&ip) || net.contains(&inner))
    };
    match &record.data {
        RData::A(a) => hit(a.0.into()),
        RData::AAAA(aaaa) => hit(aaaa.0.into()),
        RData::HTTPS(https) => hints(&https.0.svc_params).any(hit),
        RData::SVCB(svcb) => hints(&svcb.svc_params).any(hit),
        _ => false,
    }
}

fn hints<K>(params: &[(K, SvcParamValue)]) -> impl Iterator<Item = IpAddr> {
    params.iter().flat_map(|(_, value)| match value {
        SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|a| IpAddr::V4(a.0)).collect::<Vec<_>>(),
        SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|aaaa| IpAddr::V6(aaaa.0)).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{MessageType, OpCode},
        rr::{
            Name,
            rdata::{
                A, AAAA, HTTPS, SVCB,
                svcb::{IpHint, SvcParamKey},
            },
        },
    };

    use super::*;

    fn guarded() -> Vec<IpNet> {
        ["100.64.0.0/16", "fd00:d00:d00::/48", "10.50.0.0/24"].map(|net| net.parse().expect("a net")).into()
    }

    fn left(data: RData) -> (bool, usize) {
        let mut reply = Message::new(1, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("rebind.example.").expect("a name");
        reply.add_answer(Record::from_rdata(name.clone(), 1, data.clone()));
        reply.add_additional(Record::from_rdata(name, 1, data));
        let found = remove(&mut reply, &guarded());
        (found, reply.answers.len() + reply.additionals.len())
    }

    #[test]
    fn takes_out_every_form_of_our_addresses() {
        for ip in ["100.64.128.7", "10.50.0.9"] {
            assert_eq!(left(RData::A(A(ip.parse().expect("v4")))), (true, 0), "{ip}");
        }
        for ip in ["fd00:d00:d00:2::7", "::ffff:10.50.0.9", "64:ff9b::a32:9", "2002:a32:9::1"] {
            assert_eq!(left(RData::AAAA(AAAA(ip.parse().expect("v6")))), (true, 0), "{ip}");
        }
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A::new(10, 50, 0, 9)]));
        let svcb = SVCB::new(1, Name::root(), vec![(SvcParamKey::Ipv4Hint, hint)]);
        assert_eq!(left(RData::HTTPS(HTTPS(svcb))), (true, 0));
    }

    #[test]
    fn leaves_the_world_alone() {
        assert_eq!(left(RData::A(A::new(192, 0, 2, 1))), (false, 2));
        assert_eq!(left(RData::AAAA(AAAA("2001:db8::1".parse().expect("v6")))), (false, 2));
    }
}
