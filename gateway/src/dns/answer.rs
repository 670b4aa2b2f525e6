//! What is answered from what we know, without asking anyone; pure.
//! Always true: a question under our zones is never relayed, and every answer repeats the question.

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, SOA},
    },
};

use super::DnsView;

/// Short, so that a moved app is found again soon.
const TTL: u32 = 30;
/// How large an answer over UDP we take and give (DNS flag day 2020: fits every path unfragmented).
const PAYLOAD: u16 = 1232;
/// The size of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// No question is that long; names end at 255 bytes.
const LONGEST_QUERY: usize = 4096;

/// Names by which browsers and systems ask whether they may bypass this name server; "no such
/// name" is the documented way to say no.
const CANARIES: [&str; 3] = ["use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com"];

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This is the answer.
    Reply(Vec<u8>),
    /// A resolver knows.
    Relay,
    /// Not a question at all.
    Ignore,
}

/// What a name is to us.
enum Known {
    App(std::net::Ipv4Addr, std::net::Ipv6Addr),
    /// A zone of ours, or a name between a zone and an app: there, but without addresses.
    Between(Name),
    /// Under a zone of ours, and nothing.
    Nothing(Name),
    Foreign,
}

/// Answers a question, or says who should.
pub fn answer(view: &DnsView, query: &[u8]) -> Answer {
    if query.len() < HEADER || query.get(2).is_none_or(|flags| flags & 0x80 != 0) {
        return Answer::Ignore;
    }
    let parsed = if query.len() > LONGEST_QUERY { None } else { Message::from_vec(query).ok() };
    let Some(asked) = parsed else { return formerr(query) };
    if asked.metadata.op_code != OpCode::Query {
        return reply(&asked, ResponseCode::NotImp, vec![], None);
    }
    let [question] = asked.queries.as_slice() else {
        return reply(&asked, ResponseCode::FormErr, vec![], None);
    };
    if asked.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return reply(&asked, ResponseCode::BADVERS, vec![], None);
    }
    if question.query_class() != DNSClass::IN {
        return reply(&asked, ResponseCode::Refused, vec![], None);
    }
    judge(view, &asked, question)
}

fn judge(view: &DnsView, asked: &Message, question: &Query) -> Answer {
    let name = plain(question.name());
    if CANARIES.contains(&name.as_str()) {
        return reply(asked, ResponseCode::NXDomain, vec![], Some(question.name().clone()));
    }
    match known(view, &name) {
        Known::App(v4, v6) => {
            let data = match question.query_type() {
                RecordType::A => Some(RData::A(A(v4))),
                RecordType::AAAA => Some(RData::AAAA(AAAA(v6))),
                _ => None,
            };
            let records = data.map(|data| Record::from_rdata(question.name().clone(), TTL, data));
            let zone = zone_of(view, &name);
            let apex = if records.is_some() { None } else { zone };
            reply(asked, ResponseCode::NoError, records.into_iter().collect(), apex)
        }
        Known::Between(zone) => {
            let is_apex = plain(&zone) == name && question.query_type() == RecordType::SOA;
            let records = if is_apex { vec![authority(zone.clone())] } else { vec![] };
            let apex = if is_apex { None } else { Some(zone) };
            reply(asked, ResponseCode::NoError, records, apex)
        }
        Known::Nothing(zone) => reply(asked, ResponseCode::NXDomain, vec![], Some(zone)),
        Known::Foreign => Answer::Relay,
    }
}

fn known(view: &DnsView, name: &str) -> Known {
    if let Some((v4, v6)) = view.names.get(name) {
        return Known::App(*v4, *v6);
    }
    let Some(zone) = zone_of(view, name) else { return Known::Foreign };
    let has_children = view.names.keys().any(|app| is_under(app, name));
    if has_children || plain(&zone) == name { Known::Between(zone) } else { Known::Nothing(zone) }
}

/// The zone of ours that holds a name, the longest if zones nest.
fn zone_of(view: &DnsView, name: &str) -> Option<Name> {
    let holding = view.zones.iter().filter(|zone| *zone == name || is_under(name, zone));
    let zone = holding.max_by_key(|zone| zone.len())?;
    Name::from_ascii(format!("{zone}.")).ok()
}

fn is_under(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

/// As we write names: lower case, without the trailing dot. Labels with odd bytes are escaped, so
/// they match nothing of ours but still count as under our zones.
fn plain(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map(str::to_owned).unwrap_or(text)
}

/// For how long "no" may be remembered is the last number (RFC 2308 §5).
fn authority(zone: Name) -> Record {
    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, TTL);
    Record::from_rdata(zone, TTL, RData::SOA(soa))
}

fn reply(asked: &Message, code: ResponseCode, answers: Vec<Record>, apex: Option<Name>) -> Answer {
    let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&asked.metadata);
    reply.metadata.response_code = code;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = apex.is_some() || !answers.is_empty();
    reply.add_queries(asked.queries.iter().take(1).cloned());
    reply.add_answers(answers);
    reply.add_authorities(apex.map(authority));
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        reply.set_edns(edns);
    }
    reply.to_vec().map_or(Answer::Ignore, Answer::Reply)
}

/// For what cannot be parsed: the id and opcode are all there is to repeat.
fn formerr(query: &[u8]) -> Answer {
    let (Some(high), Some(low), Some(flags)) = (query.first(), query.get(1), query.get(2)) else {
        return Answer::Ignore;
    };
    let id = u16::from_be_bytes([*high, *low]);
    let op_code = OpCode::from_u8((flags >> 3) & 0x0f);
    let mut reply = Message::new(id, MessageType::Response, op_code);
    reply.metadata.response_code = ResponseCode::FormErr;
    reply.to_vec().map_or(Answer::Ignore, Answer::Reply)
}

/// The answer that says only `code`, to a question that may or may not parse.
pub(super) fn refuse(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let answer = match Message::from_vec(query) {
        Ok(asked) => reply(&asked, code, vec![], None),
        Err(_) => formerr(query),
    };
    match answer {
        Answer::Reply(reply) => reply,
        Answer::Relay | Answer::Ignore => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const V4: Ipv4Addr = Ipv4Addr::new(100, 64, 128, 7);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xd00, 0xd00, 2, 0, 0, 0, 7);

    fn view() -> DnsView {
        DnsView {
            names: [("wiki.corp.example", (V4, V6)), ("a.b.corp.example", (V4, V6))]
                .map(|(name, addresses)| (name.to_owned(), addresses))
                .into(),
            zones: vec!["corp.example".to_owned()],
            ..DnsView::default()
        }
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message
    }

    fn asked(message: &Message) -> Message {
        match answer(&view(), &message.to_vec().expect("bytes")) {
            Answer::Reply(reply) => Message::from_vec(&reply).expect("a message"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn apps_have_both_addresses() {
        let reply = asked(&query("Wiki.CORP.example.", RecordType::A));
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (77, ResponseCode::NoError));
        assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
        assert_eq!(reply.answers.len(), 1);
        assert_eq!((&reply.answers[0].data, reply.answers[0].ttl), (&RData::A(A(V4)), 30));
        assert_eq!(reply.answers[0].name.to_ascii(), "Wiki.CORP.example.", "spelled as asked");
        let reply = asked(&query("wiki.corp.example.", RecordType::AAAA));
        assert_eq!(reply.answers[0].data, RData::AAAA(AAAA(V6)));
    }

    #[test]
    fn other_types_of_an_app_are_no_data() {
        for kind in [RecordType::MX, RecordType::TXT, RecordType::HTTPS, RecordType::ANY, RecordType::SOA] {
            let reply = asked(&query("wiki.corp.example.", kind));
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{kind}");
            assert!(reply.answers.is_empty(), "{kind}");
            assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{kind}");
        }
    }

    #[test]
    fn unknown_names_of_ours_do_not_exist() {
        for name in ["x.corp.example.", "x.wiki.corp.example.", "*.corp.example."] {
            let reply = asked(&query(name, RecordType::A));
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
            assert_eq!(reply.authorities[0].name.to_ascii(), "corp.example.", "{name}");
        }
    }

    #[test]
    fn names_above_an_app_exist_without_addresses() {
        for name in ["b.corp.example.", "corp.example."] {
            let reply = asked(&query(name, RecordType::A));
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
            assert!(reply.answers.is_empty(), "{name}");
        }
        assert_eq!(asked(&query("corp.example.", RecordType::SOA)).answers[0].record_type(), RecordType::SOA);
    }

    #[test]
    fn bypasses_are_declined() {
        for name in ["use-application-dns.net.", "mask.icloud.com.", "MASK-H2.icloud.com."] {
            assert_eq!(
                asked(&query(name, RecordType::A)).metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
        }
    }

    #[test]
    fn foreign_names_are_relayed() {
        for name in ["example.com.", "notcorp.example.", "example.", ".", "corp.example.evil."] {
            let bytes = query(name, RecordType::A).to_vec().expect("bytes");
            assert_eq!(answer(&view(), &bytes), Answer::Relay, "{name}");
        }
    }

    #[test]
    fn edns_is_answered_with_edns() {
        let mut message = query("wiki.corp.example.", RecordType::A);
        assert!(asked(&message).edns.is_none());
        message.set_edns(Edns::new());
        assert_eq!(asked(&message).edns.expect("EDNS").max_payload(), PAYLOAD);
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
        assert_eq!(u16::from(asked(&message).metadata.response_code), u16::from(ResponseCode::BADVERS));
    }

    #[test]
    fn odd_questions_are_refused_in_kind() {
        let mut chaos = query("version.bind.", RecordType::TXT);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(asked(&chaos).metadata.response_code, ResponseCode::Refused);
        let mut update = query("corp.example.", RecordType::SOA);
        update.metadata.op_code = OpCode::Status;
        assert_eq!(asked(&update).metadata.response_code, ResponseCode::NotImp);
        let mut none = query("corp.example.", RecordType::A);
        none.queries.clear();
        assert_eq!(asked(&none).metadata.response_code, ResponseCode::FormErr);
        let mut two = query("wiki.corp.example.", RecordType::A);
        two.queries.push(two.queries[0].clone());
        assert_eq!(asked(&two).metadata.response_code, ResponseCode::FormErr);
    }

    #[test]
    fn what_is_no_question_is_ignored_or_refused() {
        assert_eq!(answer(&view(), b""), Answer::Ignore);
        assert_eq!(answer(&view(), &[0; 11]), Answer::Ignore);
        let mut reply = query("wiki.corp.example.", RecordType::A);
        reply.metadata.message_type = MessageType::Response;
        assert_eq!(answer(&view(), &reply.to_vec().expect("bytes")), Answer::Ignore);
        let broken = [&[1, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0][..], &[0xff; 8]].concat();
        let Answer::Reply(refused) = answer(&view(), &broken) else { panic!("no reply") };
        let refused = Message::from_vec(&refused).expect("a message");
        assert_eq!((refused.metadata.id, refused.metadata.response_code), (0x0102, ResponseCode::FormErr));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = answer(&view(), &bytes);
            let _ = refuse(&bytes, ResponseCode::ServFail);
        }

        #[test]
        fn never_panics_on_damaged_questions(at in 0usize..40, byte: u8, cut in 0usize..60) {
            let mut message = query("wiki.corp.example.", RecordType::A);
            message.set_edns(Edns::new());
            let mut bytes = message.to_vec().expect("bytes");
            if let Some(place) = bytes.get_mut(at) { *place = byte; }
            bytes.truncate(cut);
            if let Answer::Reply(reply) = answer(&view(), &bytes) {
                prop_assert!(reply.len() >= HEADER && reply[2] & 0x80 != 0);
            }
        }

        #[test]
        fn nothing_under_our_zones_is_relayed(labels in prop::collection::vec("[a-z0-9_]{1,10}", 0..5)) {
            let name = labels.iter().map(|label| format!("{label}.")).collect::<String>() + "corp.example.";
            let bytes = query(&name, RecordType::A).to_vec().expect("bytes");
            prop_assert_ne!(answer(&view(), &bytes), Answer::Relay);
        }
    }
}
