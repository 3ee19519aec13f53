//! DNS messages as far as this program needs them: one question out, addresses of one family in.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::Error;
use super::entry::Records;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What an answer section says.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    Ended(Result<Records, Error>),
    /// The server followed aliases to this name and stopped short of its addresses, as some forwarders do.
    Alias {
        target: Name,
        time_to_live: Duration,
    },
}

impl Family {
    pub(super) fn record_type(self) -> RecordType {
        match self {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        }
    }
}

/// A question with a random identifier.
pub(super) fn question(name: &Name, family: Family, edns: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(name.clone(), family.record_type()));
    if edns {
        let mut options = Edns::new();
        options.set_max_payload(MAX_PAYLOAD);
        message.edns = Some(options);
    }
    message
}

/// What a datagram may hold without fragments on any path that matters (RFC 9715).
pub(super) const MAX_PAYLOAD: u16 = 1232;

/// Addresses kept of one family: no pool tries more, and a hostile zone may hold thousands.
const MAX_ADDRESSES: usize = 128;

/// RFC 1034 sets no limit on aliases; resolvers stop about here.
const MAX_ALIASES: usize = 16;

/// Whether `answer` answers `question`: whoever guesses the identifier and the port must know the question, too.
pub(super) fn answers(answer: &Message, question: &Message) -> bool {
    // A server that could not read the question (FORMERR) may leave it out.
    let is_bare_error = answer.queries.is_empty() && answer.metadata.response_code != ResponseCode::NoError;
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && (is_bare_error || answer.queries == question.queries)
}

/// Reads the answer to a question about `name`.
pub(super) fn read(message: &Message, name: &Name, family: Family) -> Reading {
    match message.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Reading::Ended(Err(Error::NotFound)),
        ResponseCode::Refused => return Reading::Ended(Err(Error::Refused)),
        _ => return Reading::Ended(Err(Error::ServerFailure)),
    }
    let mut owner = name;
    let mut least = u32::MAX;
    let mut aliases = 0;
    while let Some((target, time_to_live)) = alias_of(message, owner) {
        owner = target;
        least = least.min(time_to_live);
        aliases += 1;
        if aliases > MAX_ALIASES {
            return Reading::Ended(Err(Error::ServerFailure));
        }
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for record in message.answers.iter().filter(|record| record.name == *owner) {
        let address = match (&record.data, family) {
            (RData::A(address), Family::V4) => IpAddr::V4(address.0),
            (RData::AAAA(address), Family::V6) => IpAddr::V6(address.0),
            _ => continue,
        };
        least = least.min(record.ttl);
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let time_to_live = seconds(least);
    if !addresses.is_empty() {
        return Reading::Ended(Ok(Records { addresses, time_to_live }));
    }
    let is_final = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    if aliases > 0 && !is_final {
        return Reading::Alias { target: owner.clone(), time_to_live };
    }
    Reading::Ended(Err(Error::NoAddresses))
}

fn alias_of<'a>(message: &'a Message, owner: &Name) -> Option<(&'a Name, u32)> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
        _ => None,
    })
}

/// RFC 2181 section 8: a TTL with the top bit set is zero.
fn seconds(time_to_live: u32) -> Duration {
    Duration::from_secs(if time_to_live > i32::MAX as u32 { 0 } else { time_to_live.into() })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(records: Vec<Record>) -> Message {
        let mut message = question(&name("www.example."), Family::V4, true).into_response();
        message.answers = records;
        message
    }

    fn alias(owner: &str, time_to_live: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), time_to_live, RData::CNAME(CNAME(name(target))))
    }

    fn address(owner: &str, time_to_live: u32, address: &str) -> Record {
        Record::from_rdata(name(owner), time_to_live, RData::A(A(address.parse().unwrap())))
    }

    fn reading(records: Vec<Record>) -> Reading {
        read(&answer(records), &name("www.example."), Family::V4)
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_the_least_ttl_counts() {
        let read = reading(vec![
            address("b.example.", 300, "10.0.0.1"),
            address("stray.example.", 1, "10.9.9.9"),
            alias("a.example.", 60, "B.example."),
            alias("WWW.example.", 120, "a.example."),
            address("b.example.", 300, "10.0.0.2"),
            address("b.example.", 300, "10.0.0.1"),
        ]);
        let addresses = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        assert_eq!(read, Reading::Ended(Ok(Records { addresses, time_to_live: Duration::from_secs(60) })));
    }

    #[test]
    fn an_alias_that_leads_nowhere_is_followed_by_us_and_a_loop_by_nobody() {
        let read = reading(vec![alias("www.example.", 9, "a.example.")]);
        assert_eq!(read, Reading::Alias { target: name("a.example."), time_to_live: Duration::from_secs(9) });
        let read = reading(vec![alias("www.example.", 9, "a.example."), alias("a.example.", 9, "www.example.")]);
        assert_eq!(read, Reading::Ended(Err(Error::ServerFailure)));
        assert_eq!(reading(vec![]), Reading::Ended(Err(Error::NoAddresses)));
    }

    #[test]
    fn a_ttl_is_31_bits() {
        let Reading::Ended(Ok(records)) = reading(vec![address("www.example.", u32::MAX, "10.0.0.1")]) else { panic!() };
        assert_eq!(records.time_to_live, Duration::ZERO);
    }

    #[test]
    fn an_answer_belongs_to_its_question() {
        let asked = question(&name("www.example."), Family::V4, true);
        assert!(answers(&asked.clone().into_response(), &asked));
        assert!(!answers(&asked, &asked));
        let mut other = asked.clone().into_response();
        other.queries[0].set_name(name("www.example.org."));
        assert!(!answers(&other, &asked));
        let mut other = asked.clone().into_response();
        other.metadata.id ^= 1;
        assert!(!answers(&other, &asked));
    }
}
