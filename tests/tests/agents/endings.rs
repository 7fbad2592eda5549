//! What may happen to a script under way: its host restarts, its agent is replaced by a newer one, it breeds faster than
//! it can be counted. One outcome, right or `outcome_unknown`; no second start; nothing of it left behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleetwright_tests::binaries;
use fleetwright_tests::client::text;
use fleetwright_tests::counts;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::process::{processes_of, signal};
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::delivery::{lines, slow_script};
use super::fleet_of_one;

/// All processes of an agent at once, as a power failure ends them: nobody sees another one end.
fn cut_power(fleet: &mut TestFleet, fqdn: &str) {
    let folder = fleet.agent(fqdn).settings.folder.clone();
    let running = || processes_of(&folder);
    // Whoever is stopped starts nothing more, so a look that finds no new one has found all.
    let mut stopped = Vec::new();
    while stopped.len() < running().len() {
        stopped = running();
        for pid in &stopped {
            signal(*pid, Signal::STOP);
        }
    }
    for pid in stopped {
        signal(pid, Signal::KILL);
    }
    fleet.agent(fqdn).kill();
    wait_until("everything on the host to be gone", PATIENCE, || {
        running().is_empty()
    });
}

#[test]
fn a_host_that_restarts_under_a_script_leaves_an_unknown_outcome_and_no_second_start() {
    let (mut fleet, host) = fleet_of_one();
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    cut_power(&mut fleet, "one.test");
    let agent = fleet.agent("one.test");
    std::fs::write(agent.settings.folder.join("boot_id"), "another-boot\n").unwrap();
    agent.run();
    let done = fleet.admin.wait_command(&id);
    let expected = (&json!("failed"), &json!("outcome_unknown"));
    assert_eq!((&done["status"], &done["reason"]), expected, "{done}");
    std::fs::write(&go, "").unwrap();
    let after = fleet.run_script(&host, "true");
    assert_eq!(after["status"], "succeeded", "{after}");
    assert_eq!(lines(&log), ["run"]);
}

#[test]
fn an_agent_replaced_by_another_program_takes_its_script_over() {
    let mut fleet = Setup::community().start();
    let program = fleet.path("fleetwright-agent");
    let install = || {
        // As a package does: the new file takes the name, the running one keeps its own.
        let arriving = program.with_extension("arriving");
        // By another process: what a thread that forks holds open for writing cannot be run.
        let copied = Command::new("cp")
            .arg(binaries::agent())
            .arg(&arriving)
            .status();
        assert!(copied.unwrap().success());
        std::fs::rename(arriving, &program).unwrap();
    };
    install();
    let mut settings = fleet.agent_settings("one.test");
    settings.program = Some(program.clone());
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let host = fleet.add_agent_of(settings, &token);
    let (log, go) = (fleet.path("log"), fleet.path("go"));
    install();
    // What runs is a file without a name by now.
    let id = fleet.admin.run_on_host(&host, &slow_script(&log, &go));
    wait_until("the script to run", PATIENCE, || !lines(&log).is_empty());
    fleet.agent("one.test").stop();
    assert!(!fleet.agent("one.test").is_running());
    fleet.agent("one.test").run();
    fleet.admin.wait_online(&host);
    let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
    assert_eq!(view["status"], "running", "{view}");
    std::fs::write(&go, "").unwrap();
    let done = fleet.admin.wait_command(&id);
    let expected = (&json!("failed"), &json!(3));
    assert_eq!((&done["status"], &done["exit_code"]), expected, "{done}");
    assert_eq!(lines(&log), ["run", "end"]);
}

/// Twenty families in sessions of their own, each of whose members starts the next and ends. The three thousandth has none.
fn rabbits(alive: &Path, own: &Path) -> String {
    let (own, alive) = (own.display(), alive.display());
    format!(
        "cat /proc/self/cgroup
cat > {own} <<'END'
[ $1 -gt 0 ] || exit
date +%s%N > {alive}
setsid sh {own} $(($1 - 1)) </dev/null >/dev/null 2>&1 &
END
for family in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sh {own} 3000 & done
sleep 600
"
    )
}

fn breeding_is_ended(fleet: &TestFleet, host: &str) -> serde_json::Value {
    let alive = fleet.path("alive");
    let body = json!({
        "operation_type": "run_script", "timeout_seconds": 5,
        "parameters": {"script": rabbits(&alive, &fleet.path("rabbit.sh"))},
    });
    let id = fleet.admin.run_on_host(host, &body);
    let done = fleet.admin.wait_command(&id);
    let expected = (&json!("failed"), &json!("timed_out"));
    assert_eq!((&done["status"], &done["reason"]), expected, "{done}");
    let stamp = std::fs::read_to_string(&alive).expect("they have lived");
    holds_throughout("all to be dead", Duration::from_millis(500), || {
        std::fs::read_to_string(&alive).expect("it is not deleted") == stamp
    });
    assert_eq!(fleet.run_script(host, "true")["status"], "succeeded");
    done
}

#[test]
fn a_script_that_breeds_is_ended_whole() {
    let (fleet, host) = fleet_of_one();
    breeding_is_ended(&fleet, &host);
}

/// A control group of this test, if the kernel has any. It vanishes with the test.
struct Group(PathBuf);

impl Group {
    fn make() -> Result<Self, String> {
        let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let folder = words.next()?;
            (words.next()? == "cgroup2").then_some(folder)
        });
        let mount = mount.ok_or("no control groups of version 2 here")?;
        let folder = Path::new(mount).join(format!("fleetwright-test-{}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => Err(format!("control groups cannot be made: {error}")),
        }
    }

    fn groups_inside(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).expect("the group is there");
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Refused while anything runs in it, which has failed the test by then.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_script_that_breeds_is_ended_whole_by_its_control_group() {
    let group = match Group::make() {
        Ok(group) => group,
        Err(why) => {
            let name = "endings::a_script_that_breeds_is_ended_whole_by_its_control_group";
            return counts::leave_out(name, &why);
        }
    };
    let (mut fleet, host) = fleet_of_one();
    let agent = fleet.agent("one.test");
    agent.stop();
    agent.reconfigure("cgroup = \"none\"", &format!("cgroup = {:?}", group.0));
    agent.run();
    fleet.admin.wait_online(&host);
    let done = breeding_is_ended(&fleet, &host);
    let id = text(&done, "id");
    assert!(
        text(&done, "stdout_tail").contains(&format!("fleetwright-{id}-1")),
        "it ran in a group of its own: {done}"
    );
    assert_eq!(group.groups_inside(), 0, "the groups of runs go with them");
    let pids = std::fs::read_to_string(group.0.join("cgroup.procs")).unwrap();
    assert_eq!(pids, "");
}

#[test]
fn a_daemon_left_by_a_finished_script_lives_on_and_holds_nothing_up() {
    let (fleet, host) = fleet_of_one();
    let alive = fleet.path("alive");
    // It keeps the script's own output open. Also left alone it ends after a while.
    let stop = fleet.path("stop");
    let daemon = format!(
        "setsid sh -c 'for turn in $(seq 3000); do [ -e {1} ] && break; date +%s%N > {0}; sleep 0.02; done; rm {0}' &
         while [ ! -s {0} ]; do sleep 0.02; done; echo started",
        alive.display(),
        stop.display()
    );
    let done = fleet.run_script(&host, &daemon);
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["stdout_tail"], "started\n", "{done}");
    let stamp = std::fs::read_to_string(&alive).unwrap();
    wait_until("the daemon to go on", PATIENCE, || {
        std::fs::read_to_string(&alive).unwrap() != stamp
    });
    std::fs::write(&stop, "").unwrap();
    wait_until("the daemon to end", PATIENCE, || !alive.exists());
}
