//! Questions read and answers written. Pure.
//!
//! Source: RFC 1035, section 4; RFC 3596 for IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

/// How long an answer may be kept, in seconds, as Docker's.
const TTL: u32 = 600;
/// Longest answer by datagram to a client that did not say more.
const DATAGRAM_LIMIT: usize = 512;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The addresses of a name, IPv4 or else IPv6.
    Address {
        /// The name, without the dot at its end.
        name: String,
        /// Whether IPv6 addresses are wanted.
        six: bool,
    },
    /// The name of an address.
    Pointer(IpAddr),
    /// Something else about this name.
    Other(String),
}

/// Reads a query with one question; `None` for anything else.
pub(super) fn read(packet: &[u8]) -> Option<Question> {
    let packet = Packet::parse(packet).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let [question] = packet.questions.as_slice() else {
        return None;
    };
    let name = question.qname.to_string();
    let name = name.trim_end_matches('.').to_owned();
    Some(match question.qtype {
        QTYPE::TYPE(TYPE::A) => Question::Address { name, six: false },
        QTYPE::TYPE(TYPE::AAAA) => Question::Address { name, six: true },
        QTYPE::TYPE(TYPE::PTR) => match reversed(&name) {
            Some(address) => Question::Pointer(address),
            None => Question::Other(name),
        },
        _ => Question::Other(name),
    })
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.rsplit('.');
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut number = 0_u128;
    let mut count = 0;
    for digit in digits.rsplit('.') {
        let value = u128::from_str_radix(digit, 16)
            .ok()
            .filter(|_| digit.len() == 1)?;
        number = (number << 4) | value;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}

/// Answers a query with addresses; none means that the name has none of that kind.
pub(super) fn addresses(query: &[u8], addresses: &[IpAddr]) -> Option<Vec<u8>> {
    reply(query, RCODE::NoError, |name| {
        let data = addresses.iter().map(|address| match address {
            IpAddr::V4(address) => RData::A(A {
                address: u32::from(*address),
            }),
            IpAddr::V6(address) => RData::AAAA(AAAA {
                address: u128::from(*address),
            }),
        });
        data.map(|data| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data))
            .collect()
    })
}

/// Answers a query with a name.
pub(super) fn pointer(query: &[u8], target: &str) -> Option<Vec<u8>> {
    let target = Name::new(target).ok()?;
    reply(query, RCODE::NoError, |name| {
        let data = RData::PTR(PTR(target.clone()));
        vec![ResourceRecord::new(name.clone(), CLASS::IN, TTL, data)]
    })
}

/// Says that there is no such name.
pub(super) fn unknown(query: &[u8]) -> Option<Vec<u8>> {
    reply(query, RCODE::NameError, |_| Vec::new())
}

/// Says that no server could be asked.
pub(super) fn failure(query: &[u8]) -> Option<Vec<u8>> {
    reply(query, RCODE::ServerFailure, |_| Vec::new())
}

/// The same answer without its records, for one that is too long for a datagram:
/// the client asks again over a stream.
pub(super) fn fit(answer: Vec<u8>, query: &[u8]) -> Vec<u8> {
    let limit = Packet::parse(query)
        .ok()
        .and_then(|query| query.opt().map(|opt| usize::from(opt.udp_packet_size)))
        .unwrap_or(DATAGRAM_LIMIT)
        .max(DATAGRAM_LIMIT);
    if answer.len() <= limit {
        return answer;
    }
    let Ok(mut packet) = Packet::parse(&answer) else {
        return answer;
    };
    packet.answers.clear();
    packet.set_flags(PacketFlag::TRUNCATION);
    packet.build_bytes_vec().unwrap_or_default()
}

fn reply<'a>(
    query: &'a [u8],
    code: RCODE,
    records: impl FnOnce(&Name<'a>) -> Vec<ResourceRecord<'a>>,
) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let mut reply = Packet::new_reply(query.id());
    *reply.rcode_mut() = code;
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let question = query.questions.into_iter().next()?;
    reply.answers = records(&question.qname);
    reply.questions.push(question);
    reply.build_bytes_vec_compressed().ok()
}

#[cfg(test)]
mod tests {
    use simple_dns::{QCLASS, Question as Asked};

    use super::*;

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.questions.push(Asked::new(
            Name::new_unchecked(name),
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn questions_are_told_apart() {
        let read = |name: &str, kind| read(&query(name, kind)).unwrap();
        let web = |six| Question::Address {
            name: "web".to_owned(),
            six,
        };
        assert_eq!(read("web", TYPE::A), web(false));
        assert_eq!(read("web", TYPE::AAAA), web(true));
        assert_eq!(read("web", TYPE::MX), Question::Other("web".to_owned()));
        let pointer = |text: &str| Question::Pointer(text.parse().unwrap());
        assert_eq!(
            read("2.0.18.172.in-addr.arpa", TYPE::PTR),
            pointer("172.18.0.2")
        );
        let six = format!("{}.d.f.ip6.arpa", ["0"; 30].join("."));
        assert_eq!(read(&six, TYPE::PTR), pointer("fd00::").clone());
        assert_eq!(super::read(b"x"), None);
        assert_eq!(super::read(&[0xff; 600]), None);
    }

    #[test]
    fn answers_carry_the_question_and_fit_a_datagram() {
        let query = query("web", TYPE::A);
        let some: Vec<IpAddr> = (0..3).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect();
        let answer = addresses(&query, &some).unwrap();
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!((packet.id(), packet.answers.len()), (7, 3));
        assert_eq!(packet.questions[0].qname.to_string(), "web");
        assert_eq!(fit(answer.clone(), &query), answer);

        let many: Vec<IpAddr> = (0..=99)
            .map(|n| Ipv4Addr::new(10, 0, 0, n).into())
            .collect();
        let cut = fit(addresses(&query, &many).unwrap(), &query);
        let packet = Packet::parse(&cut).unwrap();
        assert!(packet.answers.is_empty() && packet.has_flags(PacketFlag::TRUNCATION));

        let none = unknown(&query).unwrap();
        assert_eq!(Packet::parse(&none).unwrap().rcode(), RCODE::NameError);
    }
}
