//! The database seam and the stores on it, on SQLite and on PostgreSQL alike.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use fleetwright_plugin_api::wire::Cell;
use fleetwright_server::db::{ColumnKind, Db, DbError, MigrationText, Statement};
use fleetwright_tests::on_each_database;

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

async fn make_table(db: &Db) {
    db.write(|tx| -> Result<(), DbError> {
        tx.execute(Statement::new(
            "CREATE TABLE probe (number BIGINT NOT NULL PRIMARY KEY, word TEXT)",
        ))?;
        Ok(())
    })
    .await
    .unwrap();
}

fn insert(number: i64) -> Statement {
    Statement::new("INSERT INTO probe (number, word) VALUES ($1, $2)")
        .bind(number)
        .bind(format!("word {number}"))
}

async fn numbers(db: &Db) -> Vec<i64> {
    let rows = db
        .read(Statement::new("SELECT number FROM probe ORDER BY number"))
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| row.integer("number").unwrap())
        .collect()
}

/// Occupies the writer until the sender is dropped, so that what is written meanwhile waits together.
async fn occupy(db: &Db) -> (Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, wait): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (entered, has_entered) = tokio::sync::oneshot::channel();
    let db = db.clone();
    let held = tokio::spawn(async move {
        db.write(move |_| -> Result<(), DbError> {
            let _ = entered.send(());
            let _ = wait.recv();
            Ok(())
        })
        .await
        .unwrap();
    });
    has_entered.await.unwrap();
    (release, held)
}

/// Starts writes in this order and returns once every one of them is in the writer's queue.
async fn enqueue<F>(db: &Db, numbers: std::ops::Range<i64>, work: F) -> Vec<Outcome>
where
    F: Fn(i64, &mut fleetwright_server::db::Tx<'_>) -> Result<(), DbError> + Clone + Send + 'static,
{
    let mut handles = Vec::new();
    for number in numbers {
        let (db, work) = (db.clone(), work.clone());
        let mut write = Box::pin(async move { db.write(move |tx| work(number, tx)).await });
        // Polled once, a write is queued: the queue has room.
        let queued = futures_util::poll!(write.as_mut());
        assert!(queued.is_pending());
        handles.push(tokio::spawn(write));
    }
    handles
}

type Outcome = tokio::task::JoinHandle<Result<(), DbError>>;

on_each_database! {
    async fn writes_that_wait_together_share_one_commit_and_their_hooks_run_after_it_in_order(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let log: Log = Log::default();
        let (release, held) = occupy(&db).await;
        let sink = log.clone();
        let waiting = enqueue(&db, 0..20, move |number, tx| {
            tx.execute(insert(number))?;
            note(&sink, format!("work {number}"));
            let sink = sink.clone();
            tx.after_commit(move || note(&sink, format!("hook {number}")));
            Ok(())
        })
        .await;
        drop(release);
        held.await.unwrap();
        for handle in waiting {
            handle.await.unwrap().unwrap();
        }
        let works = (0..20).map(|number| format!("work {number}"));
        let hooks = (0..20).map(|number| format!("hook {number}"));
        let expected: Vec<String> = works.chain(hooks).collect();
        assert_eq!(*log.lock().unwrap(), expected);
        assert_eq!(numbers(&db).await, (0..20).collect::<Vec<_>>());
    }

    async fn a_failing_write_undoes_only_itself(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let log: Log = Log::default();
        let (release, held) = occupy(&db).await;
        let sink = log.clone();
        let waiting = enqueue(&db, 0..6, move |number, tx| {
            tx.execute(insert(number))?;
            let sink = sink.clone();
            tx.after_commit(move || note(&sink, number.to_string()));
            match number {
                2 => Err(DbError::Constraint("said no".to_owned())),
                // A statement that fails poisons a PostgreSQL transaction unless it is undone.
                4 => tx.execute(insert(0)).map(|_| ()),
                _ => Ok(()),
            }
        })
        .await;
        drop(release);
        held.await.unwrap();
        let mut results = Vec::new();
        for handle in waiting {
            results.push(handle.await.unwrap());
        }
        assert!(matches!(results[2], Err(DbError::Constraint(_))), "{:?}", results[2]);
        assert!(matches!(results[4], Err(DbError::Unique(_))), "{:?}", results[4]);
        assert_eq!(numbers(&db).await, vec![0, 1, 3, 5]);
        assert_eq!(*log.lock().unwrap(), ["0", "1", "3", "5"]);
    }

    async fn the_first_writes_of_a_group_fail_alone_too(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let (release, wait): (Sender<()>, Receiver<()>) = mpsc::channel();
        let wait = Arc::new(Mutex::new(wait));
        let waiting = enqueue(&db, 0..6, move |number, tx| {
            if number == 0 {
                // Until all are in the queue.
                let _ = wait.lock().unwrap().recv();
            }
            tx.execute(insert(number))?;
            match number {
                0 | 3 => Err(DbError::Constraint("said no".to_owned())),
                1 => tx.execute(insert(1)).map(|_| ()),
                _ => Ok(()),
            }
        })
        .await;
        drop(release);
        let mut kept = Vec::new();
        for handle in waiting {
            kept.push(handle.await.unwrap().is_ok());
        }
        assert_eq!(kept, [false, false, true, false, true, true]);
        assert_eq!(numbers(&db).await, vec![2, 4, 5]);
    }

    async fn a_panicking_write_fails_alone_and_the_writer_lives(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let (release, held) = occupy(&db).await;
        let waiting = enqueue(&db, 0..3, |number, tx| {
            tx.execute(insert(number))?;
            assert!(number != 1, "on purpose");
            Ok(())
        })
        .await;
        drop(release);
        held.await.unwrap();
        let mut kept = Vec::new();
        for handle in waiting {
            kept.push(handle.await.unwrap().is_ok());
        }
        assert_eq!(kept, [true, false, true]);
        assert_eq!(numbers(&db).await, vec![0, 2]);
    }

    async fn a_hook_that_panics_spoils_nothing(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let done = db
            .write(|tx| -> Result<(), DbError> {
                tx.after_commit(|| panic!("on purpose"));
                tx.execute(insert(1)).map(|_| ())
            })
            .await;
        assert!(done.is_ok());
        db.write(|tx| tx.execute(insert(2))).await.unwrap();
        assert_eq!(numbers(&db).await, vec![1, 2]);
    }

    async fn a_write_is_invisible_until_it_is_committed(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let (release, wait): (Sender<()>, Receiver<()>) = mpsc::channel();
        let (wrote, has_written) = tokio::sync::oneshot::channel();
        let writer = db.clone();
        let held = tokio::spawn(async move {
            writer
                .write(move |tx| -> Result<(), DbError> {
                    tx.execute(insert(1))?;
                    let seen_inside = tx.query(Statement::new("SELECT number FROM probe"))?.len();
                    let _ = wrote.send(seen_inside);
                    let _ = wait.recv();
                    Ok(())
                })
                .await
        });
        assert_eq!(has_written.await.unwrap(), 1);
        assert_eq!(numbers(&db).await, Vec::<i64>::new());
        drop(release);
        held.await.unwrap().unwrap();
        assert_eq!(numbers(&db).await, vec![1]);
    }

    async fn a_caller_that_goes_away_does_not_stop_its_write(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let (release, held) = occupy(&db).await;
        for handle in enqueue(&db, 7..8, |number, tx| tx.execute(insert(number)).map(|_| ())).await {
            handle.abort();
        }
        drop(release);
        held.await.unwrap();
        // Behind it in the queue, so it is through when this one is.
        db.write(|tx| tx.execute(insert(8))).await.unwrap();
        assert_eq!(numbers(&db).await, vec![7, 8]);
    }

    async fn an_acknowledged_write_is_there_after_reopening(test: TestDatabase) {
        make_table(&test.db).await;
        test.db.write(|tx| tx.execute(insert(3))).await.unwrap();
        let again = Db::open(&test.url).await.unwrap();
        assert_eq!(numbers(&again).await, vec![3]);
        again.close().await;
    }

    async fn several_reads_see_one_snapshot(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        let writer = db.clone();
        let writing = tokio::spawn(async move {
            for number in 0..400 {
                writer.write(move |tx| tx.execute(insert(number))).await.unwrap();
            }
        });
        let all = || Statement::new("SELECT number FROM probe");
        while !writing.is_finished() {
            let reads = db.read_all(vec![all(), all(), all()]).await.unwrap();
            let lengths: Vec<usize> = reads.iter().map(fleetwright_server::db::Rows::len).collect();
            assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
        }
        writing.await.unwrap();
    }

    async fn every_kind_of_value_comes_back_as_it_went_in(test: TestDatabase) {
        let db = test.db;
        db.write(|tx| -> Result<(), DbError> {
            let bytes = match tx.dialect() {
                fleetwright_server::db::Dialect::Sqlite => "BLOB",
                fleetwright_server::db::Dialect::Postgres => "BYTEA",
            };
            tx.execute(Statement::new(format!(
                "CREATE TABLE kinds (a BIGINT, b TEXT, c {bytes}, d BIGINT, e TEXT, f DOUBLE PRECISION)"
            )))?;
            let statement = Statement::new("INSERT INTO kinds (a, b, c, d, e, f) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(i64::MIN)
                .bind("né 'quoted' \u{1F980}")
                .bind(vec![0_u8, 255, 10])
                .bind(true)
                .bind(None::<&str>)
                .bind(Cell::Real(0.25));
            tx.execute(statement)?;
            Ok(())
        })
        .await
        .unwrap();
        let rows = db.read(Statement::new("SELECT a, b, c, d, e, f FROM kinds")).await.unwrap();
        let cells = rows.first().unwrap().cells();
        let expected = [
            Cell::Integer(i64::MIN),
            Cell::Text("né 'quoted' \u{1F980}".to_owned()),
            Cell::Bytes(vec![0, 255, 10]),
            Cell::Integer(1),
            Cell::Null,
            Cell::Real(0.25),
        ];
        assert_eq!(cells[..], expected);
    }

    async fn one_json_parameter_becomes_typed_rows(test: TestDatabase) {
        let db = test.db;
        let source = db.dialect().rows_from_json(
            "$1",
            &[("number", ColumnKind::Integer), ("word", ColumnKind::Text), ("raw", ColumnKind::Bytes)],
        );
        let statement = Statement::new(format!("SELECT number, word, raw FROM {source} AS given ORDER BY number"))
            .bind(r#"[[9007199254740993,"a \"b\"","00ff"],[2,null,""],[-1,"",null]]"#);
        let rows = db.read(statement).await.unwrap();
        let cells: Vec<Vec<Cell>> = rows.iter().map(|row| row.cells().to_vec()).collect();
        let text = |value: &str| Cell::Text(value.to_owned());
        let expected = vec![
            vec![Cell::Integer(-1), text(""), Cell::Null],
            vec![Cell::Integer(2), Cell::Null, Cell::Bytes(vec![])],
            vec![Cell::Integer(9_007_199_254_740_993), text("a \"b\""), Cell::Bytes(vec![0, 255])],
        ];
        assert_eq!(cells, expected);
    }

    async fn errors_say_what_a_caller_can_do_about_them(test: TestDatabase) {
        let db = test.db;
        make_table(&db).await;
        db.write(|tx| tx.execute(insert(1))).await.unwrap();
        let twice = db.write(|tx| tx.execute(insert(1))).await;
        assert!(matches!(twice, Err(DbError::Unique(_))), "{twice:?}");
        let checked = db
            .write(|tx| -> Result<u64, DbError> {
                tx.execute(Statement::new("CREATE TABLE small (n BIGINT CHECK (n < 3))"))?;
                tx.execute(Statement::new("INSERT INTO small (n) VALUES ($1)").bind(5_i64))
            })
            .await;
        assert!(matches!(checked, Err(DbError::Constraint(_))), "{checked:?}");
        let nonsense = db.read(Statement::new("SELECT nothing FROM nowhere")).await;
        assert!(matches!(nonsense, Err(DbError::Statement(_))), "{nonsense:?}");
    }

    async fn migrations_apply_once_and_refuse_a_changed_or_unknown_past(test: TestDatabase) {
        let db = test.db;
        let step = |version: i64, sql: &'static str| MigrationText {
            version,
            name: "step".into(),
            sql: sql.into(),
        };
        let one = || step(1, "CREATE TABLE first_step (n BIGINT)");
        let two = || step(2, "CREATE TABLE second_step (n BIGINT)");
        db.migrate("_mig_probe", vec![one()]).await.unwrap();
        db.migrate("_mig_probe", vec![one(), two()]).await.unwrap();
        db.migrate("_mig_probe", vec![one(), two()]).await.unwrap();
        let changed = db
            .migrate("_mig_probe", vec![step(1, "CREATE TABLE other (n BIGINT)"), two()])
            .await;
        assert!(matches!(changed, Err(DbError::Unfit(_))), "{changed:?}");
        let newer_was_here = db.migrate("_mig_probe", vec![one()]).await;
        assert!(matches!(newer_was_here, Err(DbError::Unfit(_))), "{newer_was_here:?}");
    }

    async fn a_migration_that_fails_leaves_nothing_behind(test: TestDatabase) {
        let db = test.db;
        let broken = || MigrationText {
            version: 1,
            name: "broken".into(),
            sql: "CREATE TABLE half_way (n BIGINT); INSERT INTO nowhere (n) VALUES (1);".into(),
        };
        assert!(db.migrate("_mig_probe", vec![broken()]).await.is_err());
        let mended = MigrationText {
            sql: "CREATE TABLE half_way (n BIGINT);".into(),
            ..broken()
        };
        let again = db.migrate("_mig_probe", vec![mended]).await;
        assert!(again.is_ok(), "{again:?}");
    }
}

#[test]
fn an_unusable_database_url_is_refused_with_the_reason() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for url in ["", "mysql://x/y", "fleetwright.db"] {
        let refused = runtime.block_on(Db::open(url));
        let text = refused.err().map(|error| error.to_string());
        assert!(
            text.as_deref()
                .is_some_and(|text| text.contains("sqlite://")),
            "{url}: {text:?}"
        );
    }
}
