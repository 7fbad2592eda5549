//! Disks that are full, files that cannot be written, locked or damaged: nothing acknowledged is lost, nothing is
//! pretended, and what can recover by itself does.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use fleetwright_server::db::{Db, DbError, Statement};
use fleetwright_tests::client::{Client, is_terminal, number, script, text};
use fleetwright_tests::enclosure::{SmallDisk, enclosed, make_read_only};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, holds_throughout, wait_for, wait_until};
use serde_json::json;

/// An agent asks again half a minute after it had no room.
const DISK_PATIENCE: Duration = Duration::from_secs(90);

fn fleet_of_one() -> (TestFleet, String) {
    let mut fleet = Setup::community().start();
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let host = fleet.add_agent_with("one.test", &token, "reconnect_seconds_max = 1");
    (fleet, host)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
}

/// One small write: the id of what was made, or the code of the refusal.
fn write(admin: &Client) -> Result<String, (u16, String)> {
    let answer = admin.post("/enrollment-tokens", &json!({"uses": 1}));
    match answer.status {
        201 => Ok(text(&answer.json(), "id")),
        503 => {
            assert!(answer.header("retry-after").is_some(), "{}", answer.text());
            Err((503, answer.code()))
        }
        other => panic!("{other}: {}", answer.text()),
    }
}

#[test]
fn a_full_disk_of_the_server_refuses_writes_serves_reads_and_recovers_by_itself() {
    enclosed(|| {
        let (mut fleet, host) = fleet_of_one();
        assert!(fleet.server.stop().success());
        let disk = SmallDisk::under(&fleet.server.settings.data_dir(), 48);
        fleet.server.launch();
        fleet.server.wait_ready();
        fleet.admin.wait_online(&host);
        let (log, go) = (fleet.path("log"), fleet.path("go"));
        let run = script(&format!(
            "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; seq 1 40000; echo end >> {0}; exit 3",
            log.display(),
            go.display()
        ));
        let id = fleet.admin.run_on_host(&host, &run);
        wait_until("the script to run", PATIENCE, || lines(&log) == 1);
        let mut made = vec![write(&fleet.admin).expect("there is room")];
        disk.fill();
        // Room that the database had already set aside may take a few more.
        let mut refusals = 0;
        wait_until("writes to be refused", PATIENCE, || {
            match write(&fleet.admin) {
                Ok(id) => {
                    made.push(id);
                    refusals = 0;
                }
                Err(refused) => {
                    assert_eq!(refused, (503, "unavailable".to_owned()));
                    refusals += 1;
                }
            }
            refusals == 5
        });
        std::fs::write(&go, "").unwrap();
        wait_until("the script to end", PATIENCE, || lines(&log) == 2);
        holds_throughout("reading", Duration::from_secs(3), || {
            let reads = [
                "/hosts".to_owned(),
                format!("/hosts/{host}"),
                format!("/commands/{id}"),
                "/audit".to_owned(),
            ];
            reads.iter().all(|path| fleet.admin.get(path).status == 200)
        });
        let view = fleet.admin.get(&format!("/commands/{id}")).expect(200);
        assert_eq!(
            view["status"], "running",
            "nothing is said that is not stored: {view}"
        );
        disk.clear();
        made.push(wait_for("writes to work again", PATIENCE, || {
            write(&fleet.admin).ok()
        }));
        let done = fleet.admin.wait_command(&id);
        assert_eq!(
            (&done["status"], &done["exit_code"]),
            (&json!("failed"), &json!(3)),
            "{done}"
        );
        assert_eq!((number(&done, "attempt"), lines(&log)), (1, 2));
        fleet.admin.wait_online(&host);
        for _ in 0..2 {
            let kept: Vec<String> = fleet
                .admin
                .all("/enrollment-tokens")
                .iter()
                .map(|token| text(token, "id"))
                .collect();
            assert!(
                made.iter().all(|id| kept.contains(id)),
                "an acknowledged write is lost"
            );
            assert_eq!(fleet.admin.get("/audit/verify").expect(200)["valid"], true);
            // Also after a crash.
            fleet.server.restart();
        }
    });
}

#[test]
fn a_full_disk_of_an_agent_starts_nothing_says_so_and_recovers_by_itself() {
    enclosed(|| {
        let (mut fleet, host) = fleet_of_one();
        fleet.agent("one.test").stop();
        let data = fleet.agent("one.test").settings.folder.join("data");
        let disk = SmallDisk::under(&data, 40);
        fleet.agent("one.test").run();
        fleet.admin.wait_online(&host);
        let (log, go) = (fleet.path("log"), fleet.path("go"));
        // One is under way while the disk fills up, with more output than there is room for.
        let run = script(&format!(
            "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; seq 1 400000; echo end >> {0}; exit 3",
            log.display(),
            go.display()
        ));
        let under_way = fleet.admin.run_on_host(&host, &run);
        wait_until("the script to run", PATIENCE, || lines(&log) == 1);
        disk.fill();
        std::fs::write(&go, "").unwrap();
        let done = fleet.admin.wait_command(&under_way);
        assert_eq!(
            (&done["status"], &done["exit_code"]),
            (&json!("failed"), &json!(3)),
            "{done}"
        );
        assert_eq!(number(&done, "attempt"), 1);
        let stdout = fleet
            .admin
            .get(&format!("/commands/{under_way}/output"))
            .expect(200)["stdout"]
            .clone();
        let whole: u64 = (1..=400_000_u64)
            .map(|line| line.to_string().len() as u64 + 1)
            .sum();
        assert_eq!(stdout["total_bytes"], whole, "counted, if not kept");
        assert!(
            text(&done, "message").contains("No space"),
            "why output is missing: {done}"
        );
        // The next one is not even begun.
        let later_log = fleet.path("later");
        let later = script(&format!("echo run >> {}", later_log.display()));
        let waiting = fleet.admin.run_on_host(&host, &later);
        wait_until("the agent to say that it has no room", PATIENCE, || {
            number(
                &fleet.admin.get(&format!("/commands/{waiting}")).expect(200),
                "attempt",
            ) > 1
        });
        let view = fleet.admin.get(&format!("/commands/{waiting}")).expect(200);
        let found = (&view["status"], &view["reason"]);
        assert_eq!(found, (&json!("queued"), &json!("disk_full")), "{view}");
        assert_eq!(lines(&later_log), 0);
        disk.clear();
        let done = wait_for("it to run after all", DISK_PATIENCE, || {
            let view = fleet.admin.get(&format!("/commands/{waiting}")).expect(200);
            is_terminal(&view).then_some(view)
        });
        let found = (&done["status"], &done["reason"]);
        assert_eq!(found, (&json!("succeeded"), &json!(null)), "{done}");
        assert_eq!(lines(&later_log), 1);
    });
}

#[test]
fn a_database_that_cannot_be_written_is_refused_with_the_reason() {
    enclosed(|| {
        let (mut fleet, _) = fleet_of_one();
        assert!(fleet.server.stop().success());
        make_read_only(&fleet.server.settings.data_dir().join("fleetwright.db"));
        fleet.server.launch();
        let said = fleet.server.wait_refusal();
        assert!(said.contains("the database cannot be written"), "{said}");
    });
}

#[test]
fn a_damaged_database_is_refused_and_a_restored_copy_serves_the_fleet_again() {
    let (mut fleet, host) = fleet_of_one();
    let before = fleet.run_script(&host, "exit 3");
    assert!(fleet.server.stop().success());
    let data = fleet.server.settings.data_dir();
    let backup = fleet.path("backup");
    copy(&data, &backup);
    fleet.server.launch();
    fleet.server.wait_ready();
    fleet.admin.wait_online(&host);
    let lost = fleet.run_script(&host, "true");
    assert!(fleet.server.stop().success());
    let database = data.join("fleetwright.db");
    let sound = std::fs::read(&database).unwrap();
    // In the header, and in the pages behind the first.
    for (what, range) in [("header", 0..16), ("pages", 40_960..81_920)] {
        std::fs::write(&database, &sound).unwrap();
        flip(&database, range);
        let damaged = std::fs::read(&database).unwrap();
        fleet.server.launch();
        let said = fleet.server.wait_refusal();
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.contains("damaged") && last.contains("docs/backup-and-restore.md"),
            "{what}: {said}"
        );
        assert!(
            std::fs::read(&database).unwrap() == damaged,
            "{what}: the file was written to"
        );
    }
    // As docs/backup-and-restore.md has it.
    std::fs::rename(&data, fleet.path("damaged")).unwrap();
    copy(&backup, &data);
    fleet.server.launch();
    fleet.server.wait_ready();
    fleet.admin.wait_online(&host);
    let kept = fleet
        .admin
        .get(&format!("/commands/{}", text(&before, "id")))
        .expect(200);
    assert_eq!(
        (&kept["status"], &kept["exit_code"]),
        (&before["status"], &before["exit_code"])
    );
    assert_eq!(
        fleet
            .admin
            .get(&format!("/commands/{}", text(&lost, "id")))
            .status,
        404
    );
    assert_eq!(fleet.run_script(&host, "true")["status"], "succeeded");
    assert_eq!(fleet.admin.get("/audit/verify").expect(200)["valid"], true);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

fn flip(file: &Path, range: std::ops::Range<u64>) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    file.seek(SeekFrom::Start(range.start)).unwrap();
    file.read_exact(&mut bytes).expect("the database is larger");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    file.seek(SeekFrom::Start(range.start)).unwrap();
    file.write_all(&bytes).unwrap();
}

#[test]
fn a_database_locked_by_another_program_is_waited_for() {
    let (mut fleet, host) = fleet_of_one();
    let url = format!(
        "sqlite://{}",
        fleet
            .server
            .settings
            .data_dir()
            .join("fleetwright.db")
            .display()
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = runtime.block_on(Db::open(&url)).unwrap();
    // Holds the lock from the first message to the end of the second channel.
    let lock = || {
        let (locked, is_locked) = mpsc::channel();
        let (unlock, until) = mpsc::channel::<()>();
        let other = other.clone();
        let held = runtime.spawn(async move {
            other
                .write(move |tx| {
                    tx.execute(Statement::new("SELECT 1"))?;
                    locked.send(()).expect("the test waits");
                    let _ = until.recv();
                    Ok::<(), DbError>(())
                })
                .await
        });
        is_locked.recv().expect("the lock is had");
        (unlock, held)
    };
    let (unlock, held) = lock();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&fleet.admin));
        holds_throughout("waiting", Duration::from_secs(3), || !writing.is_finished());
        assert_eq!(fleet.admin.get(&format!("/hosts/{host}")).status, 200);
        drop(unlock);
        writing.join().unwrap().expect("it was waited for");
    });
    runtime.block_on(held).unwrap().unwrap();
    // A server that starts meanwhile waits as well.
    fleet.server.kill();
    let (unlock, held) = lock();
    fleet.server.launch();
    holds_throughout("waiting", Duration::from_secs(3), || {
        !fleet.server.is_ready() && !fleet.server.log().contains("the database")
    });
    drop(unlock);
    fleet.server.wait_ready();
    runtime.block_on(held).unwrap().unwrap();
    runtime.block_on(other.close());
}
