//! Networks that fail without saying so: held back, slow, and cut again and again. Real agents reach a real server
//! through a relay that the test controls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::limits::{OUTPUT_HEAD_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX};
use fleetwright_tests::agent_process::AgentSettings;
use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::proxy::{Flow, Proxy, Rules};
use fleetwright_tests::seed::{Choices, seed_of};
use fleetwright_tests::wait::{PATIENCE, pause, wait_for, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Both sides give up a silent peer after this long instead of 45 s, and agents are back within a second.
const SERVER_SETTINGS: &str = "limits = { agent_silent_seconds = 5 }";
const AGENT_SETTINGS: &str = "server_silent_seconds = 5\nreconnect_seconds_max = 1";

fn fleet() -> TestFleet {
    Setup::community().with(SERVER_SETTINGS).start()
}

/// An agent behind a relay of its own; its host's id.
fn add_agent(fleet: &mut TestFleet, fqdn: &str) -> (Proxy, String) {
    add_agent_set_to(fleet, fqdn, AGENT_SETTINGS)
}

fn add_agent_set_to(fleet: &mut TestFleet, fqdn: &str, extra: &str) -> (Proxy, String) {
    let proxy = Proxy::before(fleet.server.agent_listen);
    let settings = AgentSettings {
        server_url: proxy.url(),
        extra: extra.to_owned(),
        ..fleet.agent_settings(fqdn)
    };
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let host = fleet.add_agent_of(settings, &token);
    (proxy, host)
}

fn status(fleet: &TestFleet, host: &str) -> String {
    text(
        &fleet.admin.get(&format!("/hosts/{host}")).expect(200),
        "status",
    )
}

fn wait_offline(fleet: &TestFleet, host: &str) {
    wait_until("the host to be offline", PATIENCE, || {
        status(fleet, host) == "offline"
    });
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_half_open_link_is_noticed_by_both_sides_and_the_command_runs_once() {
    let mut fleet = fleet();
    let silent_ways = [
        ("both.test", Rules::HELD),
        (
            "upwards.test",
            Rules {
                to_server: Flow::Held,
                ..Rules::OPEN
            },
        ),
        (
            "downwards.test",
            Rules {
                to_agent: Flow::Held,
                ..Rules::OPEN
            },
        ),
    ];
    let hosts: Vec<(Proxy, String, PathBuf, String)> = silent_ways
        .iter()
        .map(|(fqdn, rules)| {
            let (proxy, host) = add_agent(&mut fleet, fqdn);
            let log = fleet.path(fqdn);
            proxy.set(*rules);
            // The server believes that the host is there, and sends it into the silence.
            let run = script(&format!("echo run >> {}", log.display()));
            let id = fleet.admin.run_on_host(&host, &run);
            (proxy, host, log, id)
        })
        .collect();
    for ((_, host, ..), (fqdn, _)) in hosts.iter().zip(silent_ways) {
        // Upwards alone the command arrives, runs, and its result does not come back.
        wait_offline(&fleet, host);
        wait_until("the agent to notice", PATIENCE, || {
            let log = fleet.agent(fqdn).log();
            log.contains("silent for 5 s") || log.contains("closed the connection")
        });
    }
    for (proxy, host, log, id) in &hosts {
        proxy.set(Rules::OPEN);
        let done = fleet.admin.wait_command(id);
        assert_eq!(done["status"], "succeeded", "{done}");
        fleet.admin.wait_online(host);
        assert_eq!(lines(log), 1, "{done}");
    }
}

#[test]
fn a_link_cut_in_the_middle_of_a_command_gives_one_outcome() {
    let mut fleet = fleet();
    let mut choices = Choices::new(seed_of("cut links"));
    let (proxy, host) = add_agent(&mut fleet, "one.test");
    for round in 0..12 {
        let log = fleet.path(&format!("log-{round}"));
        let run = script(&format!(
            "echo run >> {0}; sleep 0.{1}; echo end >> {0}; exit 3",
            log.display(),
            choices.below(5)
        ));
        let id = fleet.admin.run_on_host(&host, &run);
        for _ in 0..choices.below(4) {
            pause(Duration::from_millis(choices.below(400)));
            proxy.cut();
        }
        let done = fleet.admin.wait_command(&id);
        let found = (&done["status"], &done["exit_code"]);
        assert_eq!(found, (&json!("failed"), &json!(3)), "{done}");
        // An attempt that was cut off on its way to the agent is followed by another; one that began is not.
        assert_eq!(lines(&log), 2, "begun and ended once: {done}");
        assert!(done["late_result"].is_null(), "{done}");
    }
}

/// The number of the line is its content, so every kept byte has one right value.
fn numbered(count: usize) -> Vec<u8> {
    (1..=count)
        .flat_map(|line| format!("{line:07}\n").into_bytes())
        .collect()
}

#[test]
fn a_result_over_a_link_cut_after_every_few_bytes_arrives_whole_and_once() {
    const CUTS: u64 = 5;
    let mut fleet = fleet();
    let mut choices = Choices::new(seed_of("short links"));
    let (proxy, host) = add_agent(&mut fleet, "one.test");
    let log = fleet.path("log");
    let expected = numbered(400_000);
    let run = script(&format!(
        "echo run >> {}; seq -f %07.0f 1 400000",
        log.display()
    ));
    proxy.set(Rules {
        cut_after_bytes: Some(0),
        ..Rules::OPEN
    });
    let id = fleet.admin.run_on_host(&host, &run);
    proxy.cut();
    let path = format!("/commands/{id}");
    let done = wait_for("the result", 3 * PATIENCE, || {
        // Nothing at all or half a handshake, a part of the output that is not whole, one part or more: the last not
        // before there have been enough of the others.
        let kinds = if proxy.cut_connections() < CUTS { 2 } else { 3 };
        let bytes = match choices.below(kinds) {
            0 => choices.below(5_000),
            1 => choices.below(200_000),
            _ => 300_000 + choices.below(700_000),
        };
        proxy.set(Rules {
            cut_after_bytes: Some(bytes.max(1)),
            ..Rules::OPEN
        });
        let view = fleet.admin.get(&path).expect(200);
        fleetwright_tests::client::is_terminal(&view).then_some(view)
    });
    assert_eq!(done["status"], "succeeded", "{done}");
    assert!(proxy.cut_connections() >= CUTS);
    assert_eq!(lines(&log), 1, "{done}");
    let stdout = fleet.admin.get(&format!("{path}/output")).expect(200)["stdout"].clone();
    assert_eq!(stdout["total_bytes"], expected.len(), "{done}");
    assert_eq!(stdout["sha256"], hex::encode(Sha256::digest(&expected)));
    assert!(decoded(&stdout["head"]) == expected[..OUTPUT_HEAD_BYTES_MAX]);
    let tail = &expected[expected.len() - OUTPUT_TAIL_BYTES_MAX..];
    assert!(decoded(&stdout["tail"]) == tail);
    proxy.set(Rules::OPEN);
    // It is acknowledged and over: the next one has the host for itself.
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default()
}

#[test]
fn a_slow_link_makes_an_agent_slow_and_nobody_else() {
    // With the silence of real fleets: a frame counts when it is whole, and here that takes seconds.
    let mut fleet = Setup::community().start();
    let (proxy, slow) = add_agent_set_to(&mut fleet, "slow.test", "");
    let (_quick_proxy, quick) = add_agent_set_to(&mut fleet, "quick.test", "");
    // 20 KB a second, and every answer some 200 ms late.
    let slowly = Flow::Slow(Duration::from_millis(200));
    proxy.set(Rules {
        to_server: slowly,
        to_agent: slowly,
        cut_after_bytes: None,
    });
    let run = script("seq -f %07.0f 1 4000");
    let id = fleet.admin.run_on_host(&slow, &run);
    for _ in 0..5 {
        assert_eq!(fleet.run_script(&quick, "true")["status"], "succeeded");
    }
    let done = fleet.admin.wait_command(&id);
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(status(&fleet, &slow), "online");
    assert_eq!(
        proxy.connections(),
        2,
        "enrollment, and one connection that lasts"
    );
}
