//! What comes over the wire, at either end: decoding, and the rules for operations that both ends apply.

use fleetwright_agent::job;
use fleetwright_protocol::limits::DETAILS_BYTES_MAX;
use fleetwright_protocol::{AgentFrame, ServerFrame, Word, validate};
use fleetwright_server::commands::reports::harmless_message;
use fleetwright_server::hosts::labels;
use serde_json::Value;

use super::{Target, files};

pub const TARGET: Target = Target {
    name: "frames",
    check,
    corpus: || files("frames"),
    words: &[
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"\"\"",
        b"-1",
        b"0",
        b"1e999",
        b"18446744073709551616",
        b"9223372036854775808",
        b"4294967296",
        b"\"\\u0000\"",
        b"\"\\ud800\"",
        b"\"..\"",
        b"\"/\"",
        b"\"a\\nb\"",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        b",",
        b":",
        b"\"type\":",
        b"\"options\":",
        b"\"parameters\":",
        b"\"operation_type\":",
        b"\"apply_deployment_plan\"",
        b"\"deploy_file\"",
        b"\"install_package\"",
        b"\"steps\":",
        b"\"attempt\":",
        b"\"reason\":",
        b"\"state\":",
        b"\"stream\":",
        b"\"a_word_of_a_newer_version_and_a_long_one\"",
        b"\xf0\x9f\xa6\x80",
        b"\xff",
    ],
};

fn check(input: &[u8]) {
    // The socket hands over text only.
    let text = String::from_utf8_lossy(input);
    if let Ok(frame) = serde_json::from_str::<AgentFrame>(&text) {
        let written = serde_json::to_string(&frame).expect("what was read can be written");
        let again: AgentFrame = serde_json::from_str(&written).expect("and read again");
        assert_eq!(frame, again);
        if let Some(word) = frame.unknown_word() {
            assert_eq!(Word::of(word.as_str()), word);
        }
        take(frame);
    }
    if let Ok(frame) = serde_json::from_str::<ServerFrame>(&text) {
        let written = serde_json::to_string(&frame).expect("what was read can be written");
        let again: ServerFrame = serde_json::from_str(&written).expect("and read again");
        assert_eq!(frame, again);
        if let ServerFrame::Command(command) = frame {
            operation(&command.operation, command.timeout_seconds);
        }
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        operation(&value, 60);
        // As an element of another, too.
        if let Some(inner) = value.get("operation") {
            operation(inner, 60);
        }
    }
}

/// What the server does with an agent's words before they are stored.
fn take(frame: AgentFrame) {
    match frame {
        AgentFrame::Hello(hello) => {
            let reported = labels::harmless(hello.facts, hello.tags, hello.attributes);
            drop(reported);
        }
        AgentFrame::Facts { facts } => drop(labels::harmless_facts(facts)),
        AgentFrame::CommandFinished { outcome, .. } => {
            let kept = harmless_message(&outcome.message);
            assert_eq!(harmless_message(&kept), kept);
            let details = outcome.details.map(|details| details.to_string());
            assert!(details.is_none_or(|text| text.len() <= DETAILS_BYTES_MAX));
        }
        AgentFrame::Heartbeat(_)
        | AgentFrame::CommandReceived { .. }
        | AgentFrame::CommandNotStarted { .. }
        | AgentFrame::CommandStarted { .. }
        | AgentFrame::CommandOutput { .. }
        | AgentFrame::OutputPart { .. }
        | AgentFrame::Unknown => {}
    }
}

/// Whatever one end accepts, the other does: the same operation, under the same rules.
fn operation(value: &Value, timeout_seconds: u64) {
    let at_agent = job::parse(value, timeout_seconds);
    let name = value.get("operation_type").and_then(Value::as_str);
    let Some(name) = name else {
        assert!(at_agent.is_err());
        return;
    };
    let empty = Value::Object(serde_json::Map::new());
    let at_server = validate::operation(name, value.get("parameters").unwrap_or(&empty));
    match (&at_server, at_agent) {
        (Ok(at_server), Ok(job)) => {
            assert_eq!(*at_server, job.operation);
            // As it is stored and sent.
            let sent = serde_json::to_value(at_server).expect("an operation can be written");
            let received = job::parse(&sent, timeout_seconds).expect("and taken");
            assert_eq!(received.operation, job.operation);
        }
        (Err(found), Ok(job)) => panic!("the agent takes {job:?}, the server says {found:?}"),
        (Ok(_), Err(_)) => {}
        (Err(found), Err(_)) => assert!(!found.is_empty(), "refused without a reason"),
    }
}
