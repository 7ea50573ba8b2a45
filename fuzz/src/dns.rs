//! Questions that a container asks its name server. What comes back is an answer to that question and to no other, and
//! never something that a name server would take for a question.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use mica_engine::network::{Endpoint, Member, NetworkState, Party};
use mica_network::answer::{Answer, Known, answer_from, failure};

/// Whatever was asked, every reply names it, and what is answered from here is about its name alone.
pub(crate) fn question(bytes: &[u8]) {
    let asked = Message::from_vec(bytes);
    let is_question = asked.as_ref().is_ok_and(|message| message.metadata.message_type == MessageType::Query);
    match answer_from(known, bytes) {
        Answer::Here(reply) => {
            assert!(is_question, "an answer to no question");
            let Ok(asked) = &asked else { return };
            let reply = check(asked, &reply);
            for record in &reply.answers {
                assert_eq!(Some(&record.name), asked.queries.first().map(|query| query.name()), "of another name");
            }
        }
        Answer::Elsewhere => assert!(is_question, "others would be asked what is no question"),
        Answer::Nothing => assert!(!is_question, "a question without an answer"),
    }
    let reply = failure(bytes);
    if let (Ok(asked), false) = (&asked, reply.is_empty()) {
        assert_eq!(check(asked, &reply).metadata.response_code, ResponseCode::ServFail);
    }
}

fn check(asked: &Message, reply: &[u8]) -> Message {
    assert_eq!(answer_from(known, reply), Answer::Nothing, "a reply is taken for a question");
    let reply = Message::from_vec(reply).unwrap_or_else(|error| panic!("{error}, in a reply"));
    assert_eq!((reply.metadata.id, &reply.queries), (asked.metadata.id, &asked.queries), "a reply to something else");
    reply
}

/// Two containers in a network that leads outside, of which one has IPv6.
fn known() -> Known {
    let member = |name: &str, ipv4: [u8; 4]| Member {
        container: Party { id: "ab".repeat(32), name: name.into(), run_dir: "/".into() },
        endpoint: Endpoint {
            network: "front".into(),
            ipv4: Some((ipv4.into(), 16)),
            ipv6: (name == "web").then(|| ([0xfd00, 0x77, 0, 0, 0, 0, 0, 9].into(), 64)),
            gateway: Some([10, 0, 0, 1].into()),
            names: vec![name.into(), "www".into()],
            ..Endpoint::default()
        },
    };
    let members = vec![member("web", [10, 0, 0, 2]), member("db", [10, 0, 0, 3])];
    let endpoints = members.iter().take(1).map(|member| member.endpoint.clone()).collect();
    Known { state: NetworkState { endpoints, host: Some([10, 0, 0, 1].into()), ..NetworkState::default() }, members }
}
