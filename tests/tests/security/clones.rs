//! A machine that was copied, or put back to an older state: no command runs on two, nobody is sent anything before an
//! operator has decided, and a machine that only crashes is never taken for two.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fleetwright_protocol::frame::{AgentFrame, Hello};
use fleetwright_protocol::{Session, SessionMark};
use fleetwright_tests::agent_process::AgentProcess;
use fleetwright_tests::client::{script, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::identity::Identity;
use fleetwright_tests::load::scripted::{Heard, ScriptedAgent, hello};
use fleetwright_tests::seed;
use fleetwright_tests::wait::{PATIENCE, holds_throughout, pause, wait_for, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

/// The lock is there two seconds after the second hello; a busy machine takes a while to come that far.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS: u64 = 8;

fn copy(from: &Path, to: &Path) {
    // Of a running agent, a file may go while it is copied, as with any copy of a live disk.
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    done.expect("cp can be run");
}

/// Another machine with a copy of an agent's folder, as it is now.
fn copy_of(agent: &AgentProcess) -> AgentProcess {
    let mut settings = agent.settings.clone();
    settings.folder = settings.folder.with_extension("copy");
    copy(&agent.settings.folder, &settings.folder);
    let config = settings.folder.join("agent.toml");
    let toml = std::fs::read_to_string(&config).unwrap();
    let (from, to) = (&agent.settings.folder, &settings.folder);
    let toml = toml.replace(
        &format!("{}/", from.display()),
        &format!("{}/", to.display()),
    );
    std::fs::write(config, toml).unwrap();
    AgentProcess::of_enrolled(settings)
}

fn view(fleet: &TestFleet, host: &str) -> Value {
    fleet.admin.get(&format!("/hosts/{host}")).expect(200)
}

fn wait_locked(fleet: &TestFleet, host: &str) -> Value {
    wait_for("the lock", LOCK_PATIENCE, || {
        let view = view(fleet, host);
        (!view["locked_reason"].is_null()).then_some(view)
    })
}

fn wait_gone(fleet: &TestFleet, host: &str) {
    wait_until("nobody to be connected", PATIENCE, || {
        view(fleet, host)["status"] == "offline"
    });
}

fn unlock(fleet: &TestFleet, host: &str, body: &Value) -> (u16, String) {
    let path = format!("/hosts/{host}/unlock");
    let answer = fleet.admin.post(&path, body);
    (answer.status, answer.text())
}

fn audited(fleet: &TestFleet, action: &str, host: &str) -> Vec<Value> {
    let rows = fleet.admin.all(&format!("/audit?action={action}"));
    rows.into_iter()
        .filter(|row| row["target_id"] == host)
        .collect()
}

fn fleetwright(fleet: &TestFleet, words: &[&str]) -> String {
    let output = fleet
        .command_line()
        .args(words)
        .output()
        .expect("it can be run");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{words:?}: {told}");
    told
}

/// Commands that each write a line when they start, wherever they do.
struct Work {
    folder: PathBuf,
    commands: Vec<String>,
}

impl Work {
    fn begin(fleet: &TestFleet, host: &str) -> Self {
        let folder = fleet.path("starts");
        std::fs::create_dir(&folder).unwrap();
        let commands = (0..6).map(|number| {
            let file = folder.join(number.to_string());
            let text = format!("echo start >> {}; sleep 1", file.display());
            fleet.admin.run_on_host(host, &script(&text))
        });
        let commands = commands.collect();
        Self { folder, commands }
    }

    /// How often each has started.
    fn starts(&self) -> Vec<usize> {
        let starts = (0..self.commands.len()).map(|number| {
            let text = std::fs::read_to_string(self.folder.join(number.to_string()));
            text.unwrap_or_default().lines().count()
        });
        starts.collect()
    }

    fn is_never_twice(&self) -> bool {
        self.starts().iter().all(|starts| *starts <= 1)
    }
}

fn a_copied_machine_runs_nothing_twice(engine: Engine, boot_id: Option<&str>) {
    let mut fleet = Setup::community().on(engine).start();
    let host = fleet.add_agent("one.test", &[]);
    let work = Work::begin(&fleet, &host);
    wait_until("the first command to start", PATIENCE, || {
        work.starts().iter().sum::<usize>() > 0
    });
    let mut other = copy_of(fleet.agent("one.test"));
    if let Some(boot_id) = boot_id {
        std::fs::write(other.settings.folder.join("boot_id"), boot_id).unwrap();
    }
    let began = Instant::now();
    other.run();
    let locked = wait_locked(&fleet, &host);
    println!("locked {:?} after the copy began", began.elapsed());
    let reason = text(&locked, "locked_reason");
    assert!(
        reason.contains("two machines share this identity"),
        "{reason}"
    );
    let own_boot = "00000000-0000-4000-8000-000000000001";
    let conflict = &locked["conflict"];
    assert_eq!(conflict["earlier"]["boot_id"], own_boot, "{conflict}");
    assert_eq!(conflict["later"]["boot_id"], boot_id.unwrap_or(own_boot));
    assert_eq!(conflict["later"]["address"], "127.0.0.1");
    let rows = audited(&fleet, "host.lock", &host);
    assert_eq!(rows.len(), 1, "{rows:?}");
    for side in ["earlier", "later"] {
        for field in ["address", "boot_id", "machine_id", "session"] {
            assert_eq!(rows[0]["detail"][side][field], conflict[side][field]);
        }
    }
    let shown = fleetwright(&fleet, &["hosts", "show", "one.test"]);
    assert!(
        shown.contains("earlier") && shown.contains("later"),
        "{shown}"
    );

    wait_gone(&fleet, &host);
    let started: usize = work.starts().iter().sum();
    holds_throughout("nothing starts", Duration::from_secs(3), || {
        let offline = view(&fleet, &host)["status"] == "offline";
        offline && work.is_never_twice() && work.starts().iter().sum::<usize>() == started
    });

    fleetwright(
        &fleet,
        &["--yes", "hosts", "unlock", "one.test", "--keep", "earlier"],
    );
    fleet.admin.wait_online(&host);
    for command in &work.commands {
        fleet.admin.wait_command(command);
    }
    assert!(work.is_never_twice(), "{:?}", work.starts());
    // The other one goes on trying, and disturbs nobody.
    wait_until("the other one to be refused", PATIENCE, || {
        let log = other.log();
        let closed = log.matches("another machine has this identity").count() > 1;
        // Once the one that was kept has a certificate of its own, the other's is worth nothing.
        closed || log.contains("Another machine is this host")
    });
    assert!(view(&fleet, &host)["locked_reason"].is_null());
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
    assert_eq!(audited(&fleet, "host.lock", &host).len(), 1);

    other.stop();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let url = other.settings.server_url.clone();
    let words = ["enroll", "--force", "--server", &url, "--token", &token];
    let enrolled = other.command(&words).output().unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    let own = text(&other.status(), "host_id");
    assert_ne!(own, host, "it has an identity of its own");
    other.run();
    fleet.admin.wait_online(&own);
    assert_eq!(fleet.run_script(&own, "true")["status"], "succeeded");
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

#[test]
fn a_copied_data_folder_runs_nothing_twice_until_an_operator_decides() {
    a_copied_machine_runs_nothing_twice(Engine::Sqlite, None);
}

#[test]
fn a_copy_with_another_boot_runs_nothing_twice_until_an_operator_decides() {
    let boot_id = Some("00000000-0000-4000-8000-000000000002");
    a_copied_machine_runs_nothing_twice(Engine::Postgres, boot_id);
}

#[test]
fn a_machine_put_back_to_yesterday_is_locked_until_an_operator_keeps_it() {
    let mut fleet = Setup::community().start();
    let host = fleet.add_agent("one.test", &[]);
    assert_eq!(unlock(&fleet, &host, &json!({})).0, 409);
    fleet.agent("one.test").stop();
    wait_gone(&fleet, &host);
    let folder = fleet.agent("one.test").settings.folder.clone();
    let yesterday = folder.with_extension("yesterday");
    copy(&folder, &yesterday);
    for _ in 0..2 {
        fleet.agent("one.test").run();
        fleet.admin.wait_online(&host);
        fleet.agent("one.test").kill();
        wait_gone(&fleet, &host);
    }
    std::fs::rename(&folder, folder.with_extension("today")).unwrap();
    std::fs::rename(&yesterday, &folder).unwrap();
    let starts = fleet.path("starts");
    let text = format!("echo start >> {}", starts.display());
    let command = fleet.admin.run_on_host(&host, &script(&text));
    fleet.agent("one.test").run();
    let locked = wait_locked(&fleet, &host);
    assert_eq!(locked["conflict"]["kind"], "older_session", "{locked}");
    holds_throughout("nothing starts", Duration::from_secs(2), || {
        !starts.exists()
    });

    for (body, status, code) in [
        (json!({}), 422, "keep-required"),
        (json!({"keep": "both"}), 422, "invalid-field"),
        (json!({"keep": 1}), 422, "/keep"),
    ] {
        let (answered, why) = unlock(&fleet, &host, &body);
        assert!(answered == status && why.contains(code), "{body}: {why}");
    }
    let later = json!({"keep": "later"});
    assert_eq!(unlock(&fleet, &host, &later).0, 200);
    assert_eq!(unlock(&fleet, &host, &later).0, 409);
    fleet.admin.wait_online(&host);
    assert_eq!(fleet.admin.wait_command(&command)["status"], "succeeded");
    let read = std::fs::read_to_string(&starts).unwrap();
    assert_eq!(read.lines().count(), 1);
    let shown = view(&fleet, &host);
    assert_eq!(shown["conflict"]["kept"], "later", "{shown}");
    assert_eq!(audited(&fleet, "host.unlock", &host).len(), 1);
}

/// Killed at any moment of its life, connected or on its way.
#[test]
fn an_agent_that_is_killed_again_and_again_is_never_taken_for_two() {
    let mut fleet = Setup::community().start();
    let host = fleet.add_agent("one.test", &[]);
    for round in 0..seed::rounds(ROUNDS) {
        fleet.agent("one.test").kill();
        fleet.agent("one.test").run();
        pause(Duration::from_millis(round * 37 % 400));
    }
    fleet.admin.wait_online(&host);
    let view = view(&fleet, &host);
    assert!(view["locked_reason"].is_null(), "{view}");
    assert!(audited(&fleet, "host.lock", &host).is_empty());
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
}

fn mark(counter: u64, name: u128) -> SessionMark {
    SessionMark {
        counter,
        nonce: Uuid::from_u128(name),
    }
}

fn begins(identity: &Identity, own: SessionMark, since: &[SessionMark]) -> Hello {
    Hello {
        session: Some(Session {
            mark: own,
            since: since.to_vec(),
            is_whole: true,
        }),
        machine_id: "scripted \u{1b}[31m machine".to_owned(),
        ..hello(identity)
    }
}

/// Says hello; the connection if it is welcomed, else why it was closed.
fn greeted(
    fleet: &TestFleet,
    identity: &Identity,
    hello: Hello,
) -> Result<ScriptedAgent, (u16, String)> {
    let connected = ScriptedAgent::connect(fleet.server.agent_listen, Some(identity));
    let mut agent = connected.map_err(|error| (403, error.to_string()))?;
    agent.say(&AgentFrame::Hello(Box::new(hello)));
    match agent.hear() {
        Heard::Frame(frame) if frame["type"] == "welcome" => Ok(agent),
        Heard::Frame(frame) => panic!("instead of a welcome: {frame}"),
        Heard::Closed(code, reason) => Err((code, reason)),
    }
}

fn what_a_session_proves(engine: Engine) {
    let fleet = Setup::community().on(engine).start();
    let token = fleet.admin.enrollment_token(2, true, &[]);
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let identities = crowd.enroll(&token, "sim", 2);
    let (one, old) = (&identities[0], &identities[1]);
    let id = one.host_id.to_string();
    let conflict = Err((1008, "identity-conflict".to_owned()));
    let tried = |hello| greeted(&fleet, one, hello).map(drop);

    // One that never counted goes on as before.
    for _ in 0..2 {
        assert!(greeted(&fleet, old, hello(old)).is_ok());
    }
    // The next session of one line proves what its journal does not know; after a gap nobody knows.
    let (first, second, third) = (mark(4, 4), mark(6, 6), mark(20, 20));
    let mut agent = greeted(&fleet, one, begins(one, first, &[])).unwrap();
    let command = fleet.admin.run_on_host(&id, &script("true"));
    agent.hear_type("command");
    drop(agent);
    let next = begins(one, second, &[mark(3, 3), first, mark(5, 5)]);
    let mut agent = greeted(&fleet, one, next).unwrap();
    assert_eq!(agent.hear_type("command")["attempt"], 2);
    drop(agent);
    let same = begins(one, second, &[mark(3, 3), first, mark(5, 5)]);
    let mut agent = greeted(&fleet, one, same).unwrap();
    assert!(agent.hear_within(Duration::from_secs(1)).is_none());
    drop(agent);
    let gap = begins(one, third, &[mark(19, 19)]);
    drop(greeted(&fleet, one, gap).unwrap());
    let ended = fleet.admin.wait_command(&command);
    assert_eq!(ended["reason"], "outcome_unknown", "{ended}");

    // What makes no session is no hello; what makes two machines locks, whatever it is.
    assert_eq!(tried(begins(one, mark(0, 0), &[])).unwrap_err().0, 1002);
    let mut last = third;
    let kinds = [
        "older_session",
        "other_name",
        "unknown_session",
        "uncounted",
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let name = 1_000 + number as u128;
        let bad = match kind {
            "older_session" => begins(one, mark(2, name), &[mark(1, 1)]),
            "other_name" => begins(one, mark(last.counter, name), &[mark(3, 3)]),
            "unknown_session" => begins(one, mark(90, name), &[mark(3, 3)]),
            _ => hello(one),
        };
        assert_eq!(tried(bad.clone()), conflict, "{kind}");
        let locked = view(&fleet, &id);
        assert_eq!(locked["conflict"]["kind"], kind, "{locked}");
        assert!(!locked.to_string().contains('\u{1b}'), "{locked}");
        assert_eq!(
            tried(begins(one, mark(21, 21), &[last])).unwrap_err().0,
            403
        );
        assert_eq!(unlock(&fleet, &id, &json!({"keep": "earlier"})).0, 200);
        assert_eq!(tried(bad), conflict, "refused, and locks nobody: {kind}");
        assert!(view(&fleet, &id)["locked_reason"].is_null());
        let own = mark(21 + number as u64, 100 + number as u128);
        assert_eq!(tried(begins(one, own, &[last])), Ok(()), "{kind}");
        last = own;
        let locks = audited(&fleet, "host.lock", &id).len();
        assert_eq!(locks, number + 1);
    }
}

#[test]
fn what_a_session_proves_and_what_makes_two_machines_on_sqlite() {
    what_a_session_proves(Engine::Sqlite);
}

#[test]
fn what_a_session_proves_and_what_makes_two_machines_on_postgres() {
    what_a_session_proves(Engine::Postgres);
}
