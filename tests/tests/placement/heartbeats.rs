//! A host's virtual machines, from its agent's heartbeat to its page.

use std::time::Duration;

use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::scripted::ScriptedAgent;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

#[test]
fn a_host_shows_the_machines_it_says_it_runs_and_one_bad_entry_costs_nothing_else() {
    let fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let host = crowd.enroll(&token, "sim", 1).remove(0);
    let mut agent = ScriptedAgent::welcomed(fleet.server.agent_listen, &host);
    let path = format!("/hosts/{}", host.host_id);
    let shown = || fleet.admin.get(&path).expect(200)["heartbeat"].clone();
    for (count, said, expected) in [
        (
            1,
            json!(["old"]),
            json!([{"id": "old", "memory_resident_mb": null}]),
        ),
        (
            2,
            json!([{"id": "b", "memory_resident_mb": 5}, 7, {"id": ["x"]}, "a", {"id": "b"}]),
            json!([{"id": "a", "memory_resident_mb": null}, {"id": "b", "memory_resident_mb": 5}]),
        ),
        (3, json!([]), json!([])),
        (4, Value::Null, Value::Null),
    ] {
        let frame = json!({"type": "heartbeat", "cpu_count": count, "vms": said});
        agent.say_text(&frame.to_string());
        wait_until("the heartbeat is shown", PATIENCE, || {
            shown()["cpu_count"] == count
        });
        assert_eq!(shown()["vms"], expected, "{said}");
    }
}
