//! A host's virtual machines, from its agent's heartbeat to its page.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fleetwright_tests::fleet::Setup;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::scripted::ScriptedAgent;
use fleetwright_tests::wait::{PATIENCE, wait_for, wait_until};
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

/// A process that stands for a machine and takes some 50 MB; ends with the test.
struct Machine(Child);

impl Machine {
    fn start() -> Self {
        let script = "x=$(head -c 48000000 /dev/zero | tr '\\0' a); echo ready; read y";
        let mut command = Command::new("sh");
        let piped = command.args(["-c", script]).stdin(Stdio::piped());
        let mut child = piped.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut ready = String::new();
        said.read_line(&mut ready).expect("a line");
        assert_eq!(ready, "ready\n");
        Self(child)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_machines_memory_goes_from_its_process_to_its_host_and_its_node() {
    let mut fleet = Setup::pro().start();
    let folder = fleet.path("machines");
    std::fs::create_dir(&folder).expect("a folder");
    let machine = Machine::start();
    std::fs::write(folder.join("web1.pid"), machine.0.id().to_string()).expect("a pid file");
    let settings = format!("vms = {{ source = \"pid_dir\", pid_dir = {folder:?} }}");
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let host = fleet.add_agent_with("kvm1.test", &token, &settings);
    let heartbeat = || fleet.admin.get(&format!("/hosts/{host}")).expect(200)["heartbeat"].clone();
    let node = || fleet.admin.get(&format!("/fleet/nodes/{host}")).expect(200);
    let seen = wait_for("the machine is shown", PATIENCE, || {
        Some(heartbeat())
            .filter(|seen| seen["vms"][0]["id"] == "web1" && seen["cpu_load_pct"].is_number())
    });
    let resident_mb = seen["vms"][0]["memory_resident_mb"]
        .as_u64()
        .expect("its memory");
    assert!((45..500).contains(&resident_mb), "{seen}");
    assert_eq!(seen["vm_count"], 1, "{seen}");
    assert!(seen["memory_total_mb"].as_u64() > Some(0) && seen["cpu_count"].as_u64() > Some(0));
    let has_kvm = std::path::Path::new("/dev/kvm").exists();
    assert_eq!(seen["kvm_available"], has_kvm, "{seen}");
    let known = wait_for("the node is ready", PATIENCE, || {
        Some(node()).filter(|node| node["state"] == "ready" && node["vm_count"] == 1)
    });
    for fact in [
        "memory_total_mb",
        "memory_available_mb",
        "cpu_count",
        "kvm_available",
        "boot_id",
    ] {
        assert_eq!(known[fact], seen[fact], "{fact}: {known}");
    }
    // What it takes of the host already is not set aside for it once more.
    let asked = json!({"tenant_id": "acme", "vm_id": "web1", "memory_mb": 400, "vcpus": 1});
    let placed = fleet.admin.post("/fleet/placements", &asked).expect(201);
    assert_eq!(placed["node_id"], json!(host), "{placed}");
    let vm = wait_for("the machine confirms its placement", PATIENCE, || {
        Some(node()["vms"][0].clone()).filter(|vm| vm["state"] == "confirmed")
    });
    let held_mb = vm["held_mb"].as_u64().expect("a number");
    assert!(
        held_mb + resident_mb <= 405 && held_mb + 500 > 400,
        "{vm}: {resident_mb}"
    );
    // The process ends, its file stays; then even the folder is gone, and nothing is known any more.
    drop(machine);
    wait_until("no machine is shown", PATIENCE, || {
        heartbeat()["vms"] == json!([])
    });
    assert_eq!(heartbeat()["vm_count"], 0);
    wait_until("the placement is lost", PATIENCE, || {
        node()["vms"] == json!([])
    });
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    wait_until("nothing is known", PATIENCE, || {
        let seen = heartbeat();
        seen["vms"].is_null() && seen["vm_count"].is_null()
    });
}
