//! Clocks that are wrong, and clocks that step under way: agents a day behind and a day ahead enroll, work and keep their
//! certificates; the server's dates follow its clock; deadlines and leases do not care. The programs are given a clock of
//! their own by libfaketime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetwright_tests::client::{script, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use fleetwright_tests::{counts, debian};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// `$LIB` is for the dynamic loader: the folder of this architecture.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// A clock that shows the machine's time moved by what a file says, for the programs that are started with it.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(file: &Path, moved_by: &str) -> Self {
        let clock = Self {
            file: file.to_owned(),
        };
        clock.step(moved_by);
        clock
    }

    /// `+1d`, `-1d`, `+0`: against the machine's time, not against what it showed before.
    fn step(&self, moved_by: &str) {
        let arriving = self.file.with_extension("arriving");
        std::fs::write(&arriving, moved_by).unwrap();
        std::fs::rename(arriving, &self.file).unwrap();
    }

    fn variables(&self) -> Vec<(String, String)> {
        let file = self.file.to_string_lossy().into_owned();
        let variables = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            // As the kernel has it: who sets the clock moves one of the two.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// What an agent is started within.
    fn prefix(&self) -> Vec<String> {
        let variables = self.variables().into_iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        std::iter::once("/usr/bin/env".to_owned())
            .chain(variables)
            .collect()
    }
}

/// Whether there are such clocks here. If not, says so for the test.
fn has_clocks(test: &str) -> bool {
    let is_there = || {
        let architectures = std::fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten();
        architectures
            .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
            .any(|library| library.exists())
    };
    let has = debian::has(is_there, "libfaketime");
    if !has {
        counts::leave_out(
            test,
            "libfaketime is missing; it is in the Debian package libfaketime",
        );
    }
    has
}

fn add_agent(fleet: &mut TestFleet, fqdn: &str, clock: &Clock) -> String {
    let mut settings = fleet.agent_settings(fqdn);
    settings.within = clock.prefix();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    fleet.add_agent_of(settings, &token)
}

fn time(view: &Value, name: &str) -> Timestamp {
    text(view, name).parse().expect("RFC 3339")
}

#[test]
fn agents_a_day_behind_and_a_day_ahead_enroll_and_work() {
    if !has_clocks("clocks::agents_a_day_behind_and_a_day_ahead_enroll_and_work") {
        return;
    }
    let mut fleet = Setup::community().start();
    for (fqdn, moved_by) in [("behind.test", "-1d"), ("ahead.test", "+1d")] {
        let clock = Clock::new(&fleet.path(&format!("{fqdn}.clock")), moved_by);
        let host = add_agent(&mut fleet, fqdn, &clock);
        let done = fleet.run_script(&host, "true");
        assert_eq!(done["status"], "succeeded", "{done}");
        assert!(is_a_day_off(&mut fleet, fqdn));
        // What happened is dated by the server.
        let took = time(&done, "finished_at").duration_since(time(&done, "created_at"));
        let soon = SignedDuration::ZERO..SignedDuration::from_mins(5);
        assert!(soon.contains(&took), "{done}");
        // And after a restart, with what it has stored by its own clock.
        fleet.agent(fqdn).kill();
        fleet.agent(fqdn).run();
        assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
        // A clock that is off is no reason to renew again and again.
        let generation = fleet.agent(fqdn).status()["generation"].as_u64();
        assert!(
            generation.is_some_and(|generation| generation <= 2),
            "{generation:?}"
        );
    }
}

#[test]
fn a_clock_that_steps_under_a_script_moves_no_deadline() {
    if !has_clocks("clocks::a_clock_that_steps_under_a_script_moves_no_deadline") {
        return;
    }
    let mut fleet = Setup::community().start();
    let clock = Clock::new(&fleet.path("clock"), "+0");
    let host = add_agent(&mut fleet, "one.test", &clock);
    for step in ["+1d", "-1d"] {
        let (log, go) = (
            fleet.path(&format!("log{step}")),
            fleet.path(&format!("go{step}")),
        );
        let waits = format!(
            "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo end >> {0}",
            log.display(),
            go.display()
        );
        let mut body = script(&waits);
        body["timeout_seconds"] = json!(600);
        let id = fleet.admin.run_on_host(&host, &body);
        wait_until("the script to run", PATIENCE, || log.exists());
        clock.step(step);
        // The next heartbeats carry the new time; the script outlives them.
        let seen = last_seen(&fleet, &host);
        wait_until("heartbeats by the new time", PATIENCE, || {
            last_seen(&fleet, &host).duration_since(seen) > SignedDuration::from_secs(2)
        });
        let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
        assert_eq!(view["status"], "running", "{view}");
        std::fs::write(&go, "").unwrap();
        let done = fleet.admin.wait_command(&id);
        assert_eq!(done["status"], "succeeded", "{done}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "run\nend\n");
        wait_until("the agent's word for it", PATIENCE, || {
            is_a_day_off(&mut fleet, "one.test")
        });
        // A short deadline is kept although the clock steps away from it.
        let mut body = script("sleep 600");
        body["timeout_seconds"] = json!(1);
        let id = fleet.admin.run_on_host(&host, &body);
        clock.step("+0");
        let done = fleet.admin.wait_command(&id);
        assert_eq!(done["reason"], "timed_out", "{done}");
    }
}

/// Every hour, half an hour from now: nothing comes by itself meanwhile.
fn every_hour() -> Value {
    let minute = (Timestamp::now().as_second() / 60 + 30) % 60;
    json!({
        "name": "hourly",
        "cron": format!("{minute} * * * *"),
        "operation_type": "run_script",
        "parameters": {"script": "true"},
        "selector": {"tags": ["web"]},
    })
}

#[test]
fn the_servers_clock_set_forward_and_back_by_a_day_moves_dates_and_no_deadline() {
    if !has_clocks(
        "clocks::the_servers_clock_set_forward_and_back_by_a_day_moves_dates_and_no_deadline",
    ) {
        return;
    }
    let mut fleet = Setup::pro().start();
    fleet.install_license(&["--all-features", "--days", "1"]);
    let clock = Clock::new(&fleet.path("clock"), "+0");
    fleet.server.settings.environment = clock.variables();
    fleet.server.restart();
    let host = fleet.add_agent("one.test", &["web"]);
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let away = crowd.enroll(&token, "away", 1)[0].host_id.to_string();
    let schedule = fleet.admin.post("/fleet/schedules", &every_hour());
    let schedule = format!("/fleet/schedules/{}", text(&schedule.expect(201), "id"));
    let license = |fleet: &TestFleet| fleet.admin.get("/license").expect(200)["state"].clone();
    assert_eq!(license(&fleet), "active");
    for (step, days) in [("+1d", 1), ("-1d", -1)] {
        let (log, go) = (
            fleet.path(&format!("log{step}")),
            fleet.path(&format!("go{step}")),
        );
        let waits = format!(
            "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo end >> {0}",
            log.display(),
            go.display()
        );
        let mut body = script(&waits);
        body["timeout_seconds"] = json!(600);
        let id = fleet.admin.run_on_host(&host, &body);
        // It may wait for a day, which is how far the clock goes.
        let mut patient = script("true");
        patient["expires_in_seconds"] = json!(86_400);
        let queued = fleet.admin.run_on_host(&away, &patient);
        wait_until("the script to run", PATIENCE, || log.exists());
        clock.step(step);
        // Dates follow: of what happens now, and of what is heard.
        let shift = SignedDuration::from_hours(24 * days);
        let is_shifted = |shown: Timestamp| {
            let off = shown.duration_since(Timestamp::now() + shift);
            off.abs() < SignedDuration::from_mins(10)
        };
        wait_until("a sign of life by the new clock", PATIENCE, || {
            is_shifted(last_seen(&fleet, &host))
        });
        // Longer than the sweep of deadlines waits.
        let seen = last_seen(&fleet, &host);
        wait_until("more of them", PATIENCE, || {
            last_seen(&fleet, &host).duration_since(seen) > SignedDuration::from_secs(3)
        });
        let status =
            |id: &str| fleet.admin.get(&format!("/commands/{id}")).expect(200)["status"].clone();
        assert_eq!(
            (status(&id), status(&queued)),
            (json!("running"), json!("queued"))
        );
        std::fs::write(&go, "").unwrap();
        let done = fleet.admin.wait_command(&id);
        assert_eq!(done["status"], "succeeded", "{done}");
        assert!(is_shifted(time(&done, "finished_at")), "{done}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "run\nend\n");
        let next = fleet.admin.run_on_host(&host, &script("true"));
        let done = fleet.admin.wait_command(&next);
        assert!(is_shifted(time(&done, "created_at")), "{done}");
        let rows = fleet.admin.get("/audit?limit=100").expect(200)["items"].clone();
        let rows = rows.as_array().expect("a list");
        let place = |id: &str| rows.iter().position(|row| row["target_id"] == id);
        assert!(place(&next) < place(&id), "newest first, by what happened");
        let row = &rows[place(&next).expect("its row")];
        assert!(is_shifted(time(row, "at")), "{row}");
        let chain = fleet.admin.get("/audit/verify").expect(200);
        assert_eq!(chain["valid"], true, "{chain}");
        // A licence that has been past its end once stays so.
        wait_until("the licence's end", PATIENCE, || license(&fleet) == "grace");
        // A day of fires that were missed is made up for by one, and what has fired does not fire again.
        let runs = || fleet.admin.all(&format!("{schedule}/runs"));
        wait_until("the schedule to be made up for", PATIENCE, || {
            let runs = runs();
            assert!(runs.len() < 2, "{runs:?}");
            runs.iter().any(|run| run["status"] == "succeeded")
        });
        wait_until("the schedule to be armed again", PATIENCE, || {
            let view = fleet.admin.get(&schedule).expect(200);
            let next = time(&view, "next_run_at").duration_since(Timestamp::now() + shift);
            (SignedDuration::from_mins(-1)..SignedDuration::from_mins(61)).contains(&next)
        });
        // A certificate that has ended by the server's clock is renewed; one that has not begun by it is as good.
        fleet.agent("one.test").kill();
        fleet.agent("one.test").run();
        fleet.admin.wait_online(&host);
        assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
        let generation = fleet.agent("one.test").status()["generation"].as_u64();
        assert_eq!(generation, Some(2));
    }
    // Started again, it waits on as it did.
    fleet.server.restart();
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

/// Whether its clock was when it last wrote a line.
fn is_a_day_off(fleet: &mut TestFleet, fqdn: &str) -> bool {
    let log = fleet.agent(fqdn).log();
    let line = log.lines().last().unwrap_or_default();
    let shown: Timestamp = line
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no time in {line}"));
    // The line is a little older than now.
    shown.duration_since(Timestamp::now()).abs() > SignedDuration::from_hours(23)
}

fn last_seen(fleet: &TestFleet, host: &str) -> Timestamp {
    let view = fleet.admin.get(&format!("/hosts/{host}")).expect(200);
    time(&view, "last_seen_at")
}
