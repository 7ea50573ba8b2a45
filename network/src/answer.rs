//! What `mica-names` answers: the containers of the networks that its own is in, by name and by address, and the host.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use mica_engine::network::{Member, NetworkState};

use crate::lease;
use crate::serve::Names;

/// How long an answer holds, in seconds. Containers come and go.
const TTL: u32 = 5;
/// Names of the host, as Docker and Podman have them.
const HOST: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is the answer.
    Here(Vec<u8>),
    /// Others may know.
    Elsewhere,
    /// It is no question.
    Nothing,
}

/// What a container can know, at one moment.
#[derive(Debug, Default)]
pub struct Known {
    /// How it is connected.
    pub state: NetworkState,
    /// Who is in its networks.
    pub members: Vec<Member>,
}

/// Answers a question, or says who may.
pub fn answer(names: &Names, question: &[u8]) -> Answer {
    answer_from(|| know(names), question)
}

/// Answers a question from what is known, which is looked for only where there is a question.
pub fn answer_from(known: impl FnOnce() -> Known, question: &[u8]) -> Answer {
    let Ok(message) = Message::from_vec(question) else { return Answer::Nothing };
    if message.metadata.message_type != MessageType::Query {
        return Answer::Nothing;
    }
    let [query] = message.queries.as_slice() else {
        return reply(&message, ResponseCode::FormErr, Vec::new());
    };
    if message.metadata.op_code != OpCode::Query {
        return reply(&message, ResponseCode::NotImp, Vec::new());
    }
    let known = known();
    match look_up(&known, query) {
        Some(records) => reply(&message, ResponseCode::NoError, records),
        // Nothing of an internal network leads outside, and neither do its questions (CVE-2024-29018).
        None if known.state.endpoints.iter().all(|endpoint| endpoint.gateway.is_none()) => {
            reply(&message, ResponseCode::NXDomain, Vec::new())
        }
        None => Answer::Elsewhere,
    }
}

/// The answer to a question that nobody answered.
pub fn failure(question: &[u8]) -> Vec<u8> {
    match Message::from_vec(question).map(|message| reply(&message, ResponseCode::ServFail, Vec::new())) {
        Ok(Answer::Here(bytes)) => bytes,
        _ => Vec::new(),
    }
}

fn know(names: &Names) -> Known {
    let state = NetworkState::read(&names.run_dir).unwrap_or_default();
    let networks = state.endpoints.iter().filter(|endpoint| !endpoint.names.is_empty());
    let members =
        networks.flat_map(|endpoint| lease::members(&names.networks.join(&endpoint.network_id)).unwrap_or_default());
    Known { members: members.collect(), state }
}

/// The records of a name that is known here, which may be none of the type asked for.
fn look_up(known: &Known, query: &Query) -> Option<Vec<Record>> {
    if query.query_class() != DNSClass::IN {
        return None;
    }
    if query.query_type() == RecordType::PTR {
        let address = query.name().parse_arpa_name().ok()?.addr();
        let member = known.members.iter().find(|member| addresses(member).contains(&address))?;
        let name = format!("{}.{}.", member.container.name, member.endpoint.network);
        let name = Name::from_ascii(name).ok()?;
        return Some(vec![Record::from_rdata(query.name().clone(), TTL, RData::PTR(PTR(name)))]);
    }
    let asked = query.name().to_ascii();
    let asked = asked.trim_end_matches('.');
    let mut found: Vec<IpAddr> = Vec::new();
    let mut is_known = false;
    if HOST.iter().any(|name| name.eq_ignore_ascii_case(asked)) {
        found.extend(known.state.host);
        is_known = known.state.host.is_some();
    }
    for member in known.members.iter().filter(|member| is_called(member, asked)) {
        found.extend(addresses(member));
        is_known = true;
    }
    let record = |address: IpAddr| match (address, query.query_type()) {
        (IpAddr::V4(address), RecordType::A | RecordType::ANY) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    };
    let records = found.into_iter().filter_map(record);
    is_known.then(|| records.map(|data| Record::from_rdata(query.name().clone(), TTL, data)).collect())
}

fn is_called(member: &Member, asked: &str) -> bool {
    let short = asked.len().checked_sub(member.endpoint.network.len() + 1).and_then(|at| {
        let (name, network) = (asked.get(..at)?, asked.get(at + 1..)?);
        (network.eq_ignore_ascii_case(&member.endpoint.network) && asked.as_bytes().get(at) == Some(&b'.'))
            .then_some(name)
    });
    member
        .endpoint
        .names
        .iter()
        .any(|name| name.eq_ignore_ascii_case(asked) || short.is_some_and(|short| name.eq_ignore_ascii_case(short)))
}

fn addresses(member: &Member) -> Vec<IpAddr> {
    let ipv4 = member.endpoint.ipv4.map(|(address, _)| IpAddr::V4(address));
    let ipv6 = member.endpoint.ipv6.map(|(address, _)| IpAddr::V6(address));
    ipv4.into_iter().chain(ipv6).collect()
}

fn reply(question: &Message, code: ResponseCode, records: Vec<Record>) -> Answer {
    let mut message = Message::error_msg(question.metadata.id, question.metadata.op_code, code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries.clone_from(&question.queries);
    message.answers = records;
    message.to_vec().map_or(Answer::Nothing, Answer::Here)
}

#[cfg(test)]
mod tests {
    use mica_engine::network::{Endpoint, Party};

    use super::*;

    fn member(name: &str, address: &str, aliases: &[&str]) -> Member {
        let names = std::iter::once(&name).chain(aliases).map(|name| (*name).to_owned()).collect();
        Member {
            container: Party { id: "ab".repeat(32), name: name.into(), run_dir: "/".into() },
            endpoint: Endpoint {
                network_id: "n".into(),
                network: "front".into(),
                driver: Default::default(),
                id: String::new(),
                interface: "eth0".into(),
                mac: String::new(),
                ipv4: Some((address.parse().unwrap(), 16)),
                gateway: None,
                ipv6: None,
                gateway6: None,
                names,
            },
        }
    }

    fn shown(known: &Known, name: &str, kind: RecordType) -> Option<Vec<String>> {
        let query = Query::query(Name::from_ascii(name).unwrap(), kind);
        look_up(known, &query).map(|records| records.iter().map(|record| record.data.to_string()).collect())
    }

    #[test]
    fn containers_have_names_and_the_host_has_too() {
        let state = NetworkState { host: "10.0.0.1".parse().ok(), ..NetworkState::default() };
        let members = vec![member("web", "10.0.0.2", &["www"]), member("db", "10.0.0.3", &["www"])];
        let known = Known { state, members };
        let one = |text: &str| Some(vec![text.to_owned()]);
        assert_eq!(shown(&known, "web.", RecordType::A), one("10.0.0.2"));
        assert_eq!(shown(&known, "WEB.", RecordType::A), one("10.0.0.2"));
        assert_eq!(shown(&known, "web.front.", RecordType::A), one("10.0.0.2"));
        assert_eq!(shown(&known, "www.", RecordType::A), Some(vec!["10.0.0.2".into(), "10.0.0.3".into()]));
        assert_eq!(shown(&known, "web.", RecordType::AAAA), Some(vec![]));
        assert_eq!(shown(&known, "host.docker.internal.", RecordType::A), one("10.0.0.1"));
        assert_eq!(shown(&known, "3.0.0.10.in-addr.arpa.", RecordType::PTR), one("db.front."));
        for name in ["web.back.", "eb.", "example.org.", "front."] {
            assert_eq!(shown(&known, name, RecordType::A), None, "{name}");
        }
    }

    #[test]
    fn garbage_is_not_answered() {
        let names = Names { run_dir: "/nowhere".into(), networks: "/nowhere".into(), upstream: vec![] };
        assert_eq!(answer(&names, b"\0\x01"), Answer::Nothing);
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii("x.").unwrap(), RecordType::A));
        let Answer::Here(reply) = answer(&names, &question.to_vec().unwrap()) else { panic!("no answer") };
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::NXDomain);
    }
}
