//! Frames that come twice, late, in another order, or far too often, and an agent that does not read: as networks and
//! broken agents produce them. A relay cannot do that to a connection under TLS, so a scripted agent says them.

use std::time::{Duration, Instant};

use fleetwright_protocol::frame::AgentFrame;
use fleetwright_protocol::{CommandId, Heartbeat, NotStartedReason, Outcome};
use fleetwright_tests::client::{number, script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::identity::Identity;
use fleetwright_tests::load::scripted::{Heard, ScriptedAgent, hello};
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_until};
use serde_json::{Value, json};
use std::sync::Arc;

/// So many frames a second are taken of one agent.
const FRAMES_PER_SECOND_MAX: u64 = 2_000;

/// A server with one scripted host, and one real agent that must not notice anything.
fn fleet() -> (TestFleet, Arc<Identity>, String) {
    let mut fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let scripted = crowd.enroll(&token, "sim", 1).remove(0);
    let bystander = fleet.add_agent("bystander.test", &[]);
    (fleet, scripted, bystander)
}

fn run(fleet: &TestFleet, host: &Identity) -> String {
    fleet
        .admin
        .run_on_host(&host.host_id.to_string(), &script("true"))
}

fn view(fleet: &TestFleet, id: &str) -> Value {
    fleet.admin.get(&format!("/commands/{id}")).expect(200)
}

fn finished(command_id: CommandId, attempt: u32, outcome: Outcome) -> AgentFrame {
    AgentFrame::CommandFinished {
        command_id,
        attempt,
        outcome: Box::new(outcome),
    }
}

/// What must never change once a command is over.
fn settled(view: &Value) -> Value {
    let mut view = view.clone();
    if let Some(fields) = view.as_object_mut() {
        fields.remove("late_result");
    }
    view
}

#[test]
fn frames_that_come_again_or_in_another_order_change_nothing() {
    let (fleet, host, _) = fleet();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let id = run(&fleet, &host);
    let command_id: CommandId = text(&agent.hear_type("command"), "command_id")
        .parse()
        .unwrap();
    let received = AgentFrame::CommandReceived {
        command_id,
        attempt: 1,
    };
    let started = |attempt| AgentFrame::CommandStarted {
        command_id,
        attempt,
    };
    let not_started = |attempt| AgentFrame::CommandNotStarted {
        command_id,
        attempt,
        reason: NotStartedReason::AgentRestarted.into(),
    };
    for _ in 0..3 {
        agent.say(&received);
    }
    // Of attempts that there have not been.
    agent.say(&started(2));
    agent.say(&not_started(2));
    agent.hear_type("ack");
    assert_eq!(view(&fleet, &id)["status"], "queued");
    for attempt in [0, 2, u32::MAX] {
        agent.say(&finished(command_id, attempt, Outcome::succeeded(true)));
        agent.hear_type("ack");
        assert_eq!(view(&fleet, &id)["status"], "queued", "attempt {attempt}");
    }
    for _ in 0..3 {
        agent.say(&started(1));
    }
    agent.say(&received);
    wait_until("the start", PATIENCE, || {
        view(&fleet, &id)["status"] == "running"
    });
    let begun = view(&fleet, &id)["started_at"].clone();
    agent.say(&started(1));
    agent.say(&finished(command_id, 1, Outcome::succeeded(true)));
    agent.hear_type("ack");
    let over = fleet.admin.wait_command(&id);
    assert_eq!(
        (&over["status"], &over["started_at"]),
        (&json!("succeeded"), &begun)
    );
    for late in [
        received,
        started(1),
        started(2),
        not_started(1),
        not_started(2),
    ] {
        agent.say(&late);
    }
    // Answered, so everything before it has been taken.
    agent.say(&finished(command_id, 1, Outcome::succeeded(false)));
    while agent.hear_within(Duration::from_secs(1)).is_some() {}
    assert_eq!(settled(&view(&fleet, &id)), settled(&over));
    let next = run(&fleet, &host);
    let frame = agent.hear_type("command");
    assert_eq!(
        text(&frame, "command_id"),
        next,
        "it is given its next command as if nothing had been"
    );
}

#[test]
fn a_finish_after_a_cancel_is_the_truth_if_it_ran_and_kept_aside_if_it_was_over() {
    let (fleet, host, _) = fleet();
    let cancel = |id: &str| {
        let path = format!("/commands/{id}/cancel");
        fleet.admin.post(&path, &json!({})).expect(200);
    };
    // Never sent: it is over with the cancel.
    let unsent = run(&fleet, &host);
    cancel(&unsent);
    let skipped = fleet.admin.wait_command(&unsent);
    assert_eq!(
        (&skipped["status"], &skipped["reason"]),
        (&json!("skipped"), &json!("cancelled"))
    );
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    agent.say(&finished(
        unsent.parse().unwrap(),
        1,
        Outcome::succeeded(true),
    ));
    agent.hear_type("ack");
    let after = view(&fleet, &unsent);
    assert_eq!(settled(&after), settled(&skipped));
    assert_eq!(after["late_result"]["status"], "succeeded", "{after}");
    // Sent: whether it ran is for the agent to say.
    let sent = run(&fleet, &host);
    let frame = agent.hear_type("command");
    cancel(&sent);
    assert_eq!(text(&agent.hear_type("cancel"), "command_id"), sent);
    assert_eq!(view(&fleet, &sent)["status"], "queued");
    let attempt = u32::try_from(number(&frame, "attempt")).unwrap();
    agent.say(&finished(
        sent.parse().unwrap(),
        attempt,
        Outcome::succeeded(true),
    ));
    agent.hear_type("ack");
    assert_eq!(fleet.admin.wait_command(&sent)["status"], "succeeded");
}

#[test]
fn results_for_commands_nobody_knows_are_acknowledged_and_forgotten() {
    let (fleet, host, _) = fleet();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let before = fleet
        .admin
        .all(&format!("/hosts/{}/commands", host.host_id))
        .len();
    for number in 1..=3_u128 {
        let command_id = CommandId(uuid::Uuid::from_u128(number));
        agent.say(&finished(command_id, 1, Outcome::succeeded(true)));
        assert_eq!(
            text(&agent.hear_type("ack"), "command_id"),
            command_id.to_string()
        );
    }
    let after = fleet
        .admin
        .all(&format!("/hosts/{}/commands", host.host_id))
        .len();
    assert_eq!(before, after);
}

#[test]
fn ten_thousand_frames_at_once_are_slowed_down_and_cost_nobody_else() {
    const FRAMES: u64 = 10_000;
    let (fleet, host, bystander) = fleet();
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for _ in 0..FRAMES {
                agent.say(&AgentFrame::Heartbeat(Heartbeat::default()));
            }
            // The answer to this one comes when all before it have been taken.
            let last = CommandId(uuid::Uuid::from_u128(1));
            agent.say(&finished(last, 1, Outcome::succeeded(true)));
            agent.hear_type("ack");
            begun.elapsed()
        });
        while !flood.is_finished() {
            assert_eq!(fleet.run_script(&bystander, "true")["status"], "succeeded");
        }
        let took = flood.join().expect("it is not disconnected for that");
        // The first window may have begun up to a second before, and what fits into the last one does not wait.
        let least = Duration::from_secs(FRAMES / FRAMES_PER_SECOND_MAX - 2);
        assert!(took >= least, "{FRAMES} frames were taken within {took:?}");
    });
}

#[test]
fn an_agent_that_does_not_read_costs_bounded_memory_and_only_its_own_connection() {
    const COMMANDS: u64 = 48;
    let (fleet, host, bystander) = fleet();
    let id = host.host_id.to_string();
    let mut agent = ScriptedAgent::connect(fleet.server.agent_listen, Some(&host)).unwrap();
    let mut greeting = hello(&host);
    greeting.capabilities.concurrency = 64;
    agent.say(&AgentFrame::Hello(Box::new(greeting)));
    assert!(matches!(agent.hear(), Heard::Frame(frame) if frame["type"] == "welcome"));
    let large = script(&"#".repeat(700_000));
    let before_kib = fleet.server.process().resident_kib();
    for _ in 0..COMMANDS {
        fleet.admin.run_on_host(&id, &large);
    }
    let mut most_kib = 0;
    wait_until("the server to give it up", PATIENCE, || {
        most_kib = most_kib.max(fleet.server.process().resident_kib());
        assert_eq!(fleet.run_script(&bystander, "true")["status"], "succeeded");
        fleet.admin.get(&format!("/hosts/{id}")).expect(200)["status"] == "offline"
    });
    // All of them waiting, each held a few times over while it is stored and encoded.
    let bound_kib = COMMANDS * 700 * 4;
    let grown_kib = most_kib.saturating_sub(before_kib);
    assert!(grown_kib < bound_kib, "the server grew by {grown_kib} KiB");
    holds_throughout("the bystander is online", Duration::from_secs(1), || {
        fleet.admin.get(&format!("/hosts/{bystander}")).expect(200)["status"] == "online"
    });
    drop(agent);
}
