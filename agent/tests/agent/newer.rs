//! A server that is newer than the agent, and one that is none.

use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{AgentFrame, NotStartedReason, ServerFrame};
use serde_json::{Value, json};

use crate::connection::{enroll, within};
use crate::fake_server::{FakeServer, Running};
use crate::harness::{Host, command, script_command};

/// A day, as the server gives.
const DAY: i64 = 86_400;

/// A plan of one step, with something more.
fn plan(more: &Value) -> Value {
    let mut step = json!({
        "name": "one",
        "operation_type": "run_script",
        "parameters": {"script": "true"},
    });
    for (key, value) in more.as_object().unwrap() {
        step[key] = value.clone();
    }
    json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": [step]}})
}

#[test]
fn what_only_a_newer_server_knows_is_ignored_or_refused_and_the_agent_stays() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let mut link = server.link().await;
        let gossip = json!({"type": "gossip", "about": [{"attempt": "x"}]}).to_string();
        link.say(&gossip).await;
        link.welcome().await;
        let known = script_command("true");
        for ignored in [
            gossip,
            json!({"type": "settings", "heartbeat_seconds": 1, "mood": ["fine"]}).to_string(),
            json!({
                "type": "ack_part",
                "command_id": known.command_id,
                "attempt": 1,
                "stream": "trace",
                "section": "middle",
                "offset": 7,
            })
            .to_string(),
        ] {
            link.say(&ignored).await;
        }
        let unknown = command(json!({"operation_type": "dance", "parameters": {"steps": 2}}));
        link.send(&ServerFrame::Command(unknown.clone())).await;
        let reason = link
            .expect("not started", |frame| match frame {
                AgentFrame::CommandNotStarted {
                    command_id, reason, ..
                } if command_id == unknown.command_id => Some(reason),
                _ => None,
            })
            .await;
        assert_eq!(reason, NotStartedReason::Unsupported);
        for (more, names) in [
            (json!({"operation_type": "dance"}), "operation_type"),
            (json!({"on_failure": "shrug"}), "on_failure"),
            (json!({"mood": "fine"}), "mood"),
        ] {
            let run = command(plan(&more));
            link.send(&ServerFrame::Command(run.clone())).await;
            let outcome = finished(&mut link, &run.command_id.to_string()).await;
            assert_eq!(outcome.reason, Some(FailureReason::AgentError), "{more}");
            assert!(outcome.message.contains(names), "{}", outcome.message);
        }
        // All of it on the first connection, which still works.
        link.send(&ServerFrame::Command(known.clone())).await;
        let outcome = finished(&mut link, &known.command_id.to_string()).await;
        assert_eq!(outcome.reason, None);
        let log = std::fs::read_to_string(host.path("log")).unwrap();
        assert_eq!(log.matches("does not know").count(), 1, "{log}");
        assert!(log.contains("gossip"), "{log}");
    });
}

async fn finished(
    link: &mut crate::fake_server::Link,
    id: &str,
) -> Box<fleetwright_protocol::Outcome> {
    link.expect("a result", |frame| match frame {
        AgentFrame::CommandFinished {
            command_id,
            outcome,
            ..
        } if command_id.to_string() == id => Some(outcome),
        _ => None,
    })
    .await
}

#[test]
fn a_server_that_says_what_is_no_frame_is_told_why_the_agent_leaves() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let long = "€".repeat(500);
        for nonsense in [
            "hello".to_owned(),
            json!({"type": "cancel"}).to_string(),
            // The reason quotes it, and a close frame has room for 123 bytes.
            json!({"type": "settings", "heartbeat_seconds": long}).to_string(),
        ] {
            let mut link = server.link().await;
            link.welcome().await;
            link.say(&nonsense).await;
            let (code, reason) = link.closed().await.expect("a farewell");
            assert_eq!(code, 1002, "{reason}");
            assert!(
                reason.starts_with("a frame that makes no sense"),
                "{reason}"
            );
            let is_cut = nonsense.contains('€');
            let fits = if is_cut { 121..=123 } else { 1..=123 };
            assert!(fits.contains(&reason.len()), "{}: {reason}", reason.len());
        }
    });
}
