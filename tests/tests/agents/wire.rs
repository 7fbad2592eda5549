//! Agents that break the protocol: only they are dropped, with a reason, and nothing they say changes anything.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_protocol::frame::AgentFrame;
use fleetwright_protocol::limits::CLOSE_REASON_BYTES_MAX;
use fleetwright_protocol::{CommandId, Facts, Outcome};
use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::identity::Identity;
use fleetwright_tests::load::scripted::{Heard, ScriptedAgent, hello};
use serde_json::{Value, json};

fn two_hosts() -> (TestFleet, Arc<Identity>, Arc<Identity>) {
    let fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(2, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let mut identities = crowd.enroll(&token, "sim", 2);
    let second = identities.pop().unwrap();
    let first = identities.pop().unwrap();
    (fleet, first, second)
}

fn command_id(frame: &Value) -> CommandId {
    text(frame, "command_id").parse().unwrap()
}

fn finished(command_id: CommandId, attempt: u32, outcome: Outcome) -> AgentFrame {
    AgentFrame::CommandFinished {
        command_id,
        attempt,
        outcome: Box::new(outcome),
    }
}

#[test]
fn no_certificate_no_connection() {
    let (fleet, ..) = two_hosts();
    let refused = ScriptedAgent::connect(fleet.server.agent_listen, None);
    let error = refused.err().expect("it was let in").to_string();
    assert!(error.contains("401"), "{error}");
}

#[test]
fn frames_that_are_none_close_with_a_reason() {
    let (fleet, host, _) = two_hosts();
    for (what, text, codes) in [
        ("not JSON", "hello".to_owned(), vec![1002, 1003, 1007]),
        (
            "a known type that is not whole",
            json!({"type": "command_started", "attempt": "€".repeat(500)}).to_string(),
            vec![1002],
        ),
        (
            "a second hello",
            serde_json::to_string(&AgentFrame::Hello(Box::new(hello(&host)))).unwrap(),
            vec![1002],
        ),
        (
            "too large",
            format!("{{\"type\":\"{}\"}}", "x".repeat(1024 * 1024 + 1)),
            vec![1009],
        ),
    ] {
        let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
        agent.say_text(&text);
        match agent.hear() {
            Heard::Closed(code, reason) => {
                assert!(codes.contains(&code), "{what}: {code} {reason}");
                assert!(reason.len() <= CLOSE_REASON_BYTES_MAX, "{what}: {reason}");
            }
            Heard::Frame(frame) => panic!("{what}: {frame}"),
        }
    }
}

/// A control frame holds 125 bytes (RFC 6455, 5.5): a client that is strict would hear nothing of a longer reason.
#[test]
fn a_reason_that_quotes_an_agent_fits_into_the_close_frame() {
    let (fleet, host, _) = two_hosts();
    let mut agent = ScriptedAgent::connect(fleet.server.agent_listen, Some(&host)).unwrap();
    let mut other = hello(&host);
    other.protocol = "€".repeat(1_000);
    agent.say(&AgentFrame::Hello(Box::new(other)));
    match agent.hear() {
        Heard::Closed(1002, reason) => {
            assert!(reason.starts_with("protocol €€€"), "{reason}");
            let cut_at_a_character = CLOSE_REASON_BYTES_MAX - 2..=CLOSE_REASON_BYTES_MAX;
            assert!(cut_at_a_character.contains(&reason.len()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_agent_stays_connected_and_works() {
    let (fleet, host, _) = two_hosts();
    let mut agent = ScriptedAgent::connect(fleet.server.agent_listen, Some(&host)).unwrap();
    let id = host.host_id.to_string();
    let hello = serde_json::to_value(AgentFrame::Hello(Box::new(hello(&host))));
    let mut hello = hello.unwrap();
    hello["mood"] = json!(["fine"]);
    hello["capabilities"] = json!({
        "operations": ["run_script", "dance"],
        "concurrency": 1,
        "teleport": {"far": true},
    });
    hello["journal"] = json!([{ "command_id": id, "attempt": 1, "state": "paused" }]);
    agent.say_text(&hello.to_string());
    agent.hear_type("welcome");
    for _ in 0..3 {
        agent.say_text(&json!({"type": "gossip", "about": [{"attempt": "x"}]}).to_string());
    }
    let run = |agent: &mut ScriptedAgent| {
        let command = fleet.admin.run_on_host(&id, &script("true"));
        let frame = agent.hear_type("command");
        assert_eq!(command_id(&frame).to_string(), command);
        command
    };
    // Parts of a stream that only a newer server keeps: it may go on to the result.
    let command = run(&mut agent);
    let part = json!({
        "type": "output_part",
        "command_id": command,
        "attempt": 1,
        "stream": "trace",
        "section": "head",
        "offset": 0,
        "data": "AAEC",
    });
    agent.say_text(&part.to_string());
    let acked = agent.hear_type("ack_part");
    assert_eq!(
        (&acked["stream"], &acked["offset"]),
        (&json!("trace"), &json!(3))
    );
    agent.say_text(&outcome(
        &command,
        &json!({"status": "partly", "message": "half"}),
    ));
    agent.hear_type("ack");
    let done = fleet.admin.wait_command(&command);
    assert_eq!(
        (&done["status"], &done["reason"], &done["message"]),
        (
            &json!("failed"),
            &json!("outcome_unknown"),
            &json!("[partly] half")
        )
    );
    let command = run(&mut agent);
    let killed = json!({"status": "failed", "reason": "oom_killed"});
    agent.say_text(&outcome(&command, &killed));
    agent.hear_type("ack");
    let done = fleet.admin.wait_command(&command);
    assert_eq!(
        (&done["reason"], &done["message"]),
        (&json!("agent_error"), &json!("[oom_killed]"))
    );
    // Proven not to have started, for whatever reason: it waits for another attempt.
    let command = run(&mut agent);
    let not_started = json!({
        "type": "command_not_started",
        "command_id": command,
        "attempt": 1,
        "reason": "full_moon",
    });
    agent.say_text(&not_started.to_string());
    agent.hear_type("ack");
    let view = fleet.admin.get(&format!("/commands/{command}")).expect(200);
    assert_eq!(
        (&view["status"], &view["attempt"]),
        (&json!("queued"), &json!(2))
    );
    let log = fleet.server.log();
    assert_eq!(log.matches("may be newer").count(), 1, "{log}");
    assert!(log.contains("dance"), "{log}");
}

fn outcome(command: &str, outcome: &Value) -> String {
    json!({
        "type": "command_finished",
        "command_id": command,
        "attempt": 1,
        "outcome": outcome,
    })
    .to_string()
}

#[test]
fn the_first_frame_must_be_a_hello_of_this_protocol() {
    let (fleet, host, _) = two_hosts();
    let mut other = hello(&host);
    other.protocol = "2.0".to_owned();
    let other = serde_json::to_string(&AgentFrame::Hello(Box::new(other))).unwrap();
    let heartbeat = json!({"type": "heartbeat"}).to_string();
    for text in [other, heartbeat] {
        let mut agent = ScriptedAgent::connect(fleet.server.agent_listen, Some(&host)).unwrap();
        agent.say_text(&text);
        let heard = agent.hear();
        assert!(matches!(heard, Heard::Closed(1002, _)), "{text}: {heard:?}");
    }
}

#[test]
fn a_result_for_another_hosts_command_changes_nothing_and_ends_the_connection() {
    let (fleet, first, second) = two_hosts();
    let mut victim = ScriptedAgent::welcomed(fleet.server.agent_listen, &first);
    let mut liar = ScriptedAgent::welcomed(fleet.server.agent_listen, &second);
    let id = fleet
        .admin
        .run_on_host(&first.host_id.to_string(), &script("true"));
    let frame = victim.hear_type("command");
    liar.say(&finished(command_id(&frame), 1, Outcome::succeeded(true)));
    let heard = liar.hear();
    assert!(matches!(heard, Heard::Closed(1008, _)), "{heard:?}");
    let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
    assert_ne!(view["status"], "succeeded");
    victim.say(&finished(command_id(&frame), 1, Outcome::succeeded(false)));
    victim.hear_type("ack");
    let done = fleet.admin.wait_command(&id);
    assert_eq!(
        (&done["status"], &done["changed"]),
        (&json!("succeeded"), &json!(false))
    );
    let audit = fleet
        .admin
        .all("/audit")
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    assert!(
        audit.contains(&second.host_id.to_string()),
        "it is not in the audit log"
    );
}

#[test]
fn a_duplicate_result_is_acknowledged_and_changes_nothing() {
    let (fleet, host, _) = two_hosts();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = fleet
        .admin
        .run_on_host(&host.host_id.to_string(), &script("true"));
    let frame = agent.hear_type("command");
    let command = command_id(&frame);
    // Without a `started` first: out of order, and still a result.
    agent.say(&finished(command, 1, Outcome::succeeded(true)));
    agent.hear_type("ack");
    let before = fleet.admin.wait_command(&id);
    let other = Outcome::failed(
        fleetwright_protocol::outcome::FailureReason::AgentError,
        "changed my mind",
    );
    agent.say(&finished(command, 1, other));
    agent.hear_type("ack");
    agent.say(&AgentFrame::CommandStarted {
        command_id: command,
        attempt: 1,
    });
    // Something that is answered comes after it.
    agent.say(&finished(command, 1, Outcome::succeeded(true)));
    agent.hear_type("ack");
    let after = fleet.admin.get(&format!("/commands/{id}")).expect(200);
    for field in [
        "status",
        "changed",
        "finished_at",
        "exit_code",
        "reason",
        "late_result",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[test]
fn a_command_is_sent_again_to_an_agent_that_forgot_to_answer() {
    let (fleet, host, _) = two_hosts();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = fleet
        .admin
        .run_on_host(&host.host_id.to_string(), &script("true"));
    let first = agent.hear_type("command");
    drop(agent);
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let again = agent.hear_type("command");
    assert_eq!(command_id(&again), command_id(&first));
    agent.say(&finished(
        command_id(&again),
        u32::try_from(again["attempt"].as_u64().unwrap()).unwrap(),
        Outcome::succeeded(true),
    ));
    agent.hear_type("ack");
    assert_eq!(fleet.admin.wait_command(&id)["status"], "succeeded");
}

#[test]
fn wild_facts_are_stored_capped_and_escaped() {
    let (fleet, host, _) = two_hosts();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    // As much as still fits into one frame beside the rest.
    let wild = "\u{1b}[31mred\u{1b}[0m<script>".to_owned() + &"x".repeat(900_000);
    agent.say(&AgentFrame::Facts {
        facts: Facts {
            fqdn: Some("sim-0.sim".to_owned()),
            platform_version: Some(wild),
            ipv4: vec!["192.0.2.1".to_owned(); 10_000],
            ..Facts::default()
        },
    });
    let path = format!("/hosts/{}", host.host_id);
    let view =
        fleetwright_tests::wait::wait_for("the facts", fleetwright_tests::wait::PATIENCE, || {
            let view = fleet.admin.get(&path).expect(200);
            view["platform_version"]
                .as_str()
                .is_some_and(|version| version.contains("red"))
                .then_some(view)
        });
    assert!(text(&view, "platform_version").chars().count() <= 512);
    assert!(view["ipv4"].as_array().unwrap().len() <= 64);
    let log = fleet.server.log();
    assert!(
        !log.contains("\u{1b}[31mred"),
        "an escape sequence reached the log"
    );
}

#[test]
fn one_host_cannot_open_two_doors() {
    let (fleet, host, _) = two_hosts();
    let mut first = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let mut second = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    // The newer connection wins: a half-open old one must not keep a host out.
    let heard = first.hear();
    assert!(matches!(heard, Heard::Closed(..)), "{heard:?}");
    let id = fleet
        .admin
        .run_on_host(&host.host_id.to_string(), &script("true"));
    let frame = second.hear_type("command");
    second.say(&finished(command_id(&frame), 1, Outcome::succeeded(true)));
    assert_eq!(fleet.admin.wait_command(&id)["status"], "succeeded");
}

#[test]
fn a_rejected_host_that_reads_nothing_is_cut_at_once() {
    let (fleet, host, _) = two_hosts();
    let id = host.host_id.to_string();
    let mut agent = ScriptedAgent::connect(fleet.server.agent_listen, Some(&host)).unwrap();
    let mut greeting = hello(&host);
    greeting.capabilities.concurrency = 64;
    agent.say(&AgentFrame::Hello(Box::new(greeting)));
    agent.hear_type("welcome");
    // More than sockets hold: the server waits in the middle of a write.
    let large = "#".repeat(700_000);
    for _ in 0..24 {
        fleet.admin.run_on_host(&id, &script(&large));
    }
    fleet
        .admin
        .post(&format!("/hosts/{id}/reject"), &json!({}))
        .expect(200);
    fleetwright_tests::wait::wait_until("the cut", super::CUT_PATIENCE, || {
        fleet.admin.get(&format!("/hosts/{id}")).expect(200)["status"] == "offline"
    });
    drop(agent);
}

#[test]
fn a_silent_peer_without_heartbeats_is_offline_in_time() {
    let (fleet, host, _) = two_hosts();
    let agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = host.host_id.to_string();
    fleet.admin.wait_online(&id);
    // It answers nothing from here on. 35 s of silence are offline, and the socket goes within 45 s.
    fleetwright_tests::wait::wait_until("offline", Duration::from_secs(60), || {
        fleet.admin.get(&format!("/hosts/{id}")).expect(200)["status"] == "offline"
    });
    drop(agent);
}
