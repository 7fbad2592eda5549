//! The one writer: a thread that takes queued writes, runs as many as are waiting in one transaction, commits once,
//! and only then answers them. So a durable write costs a share of one disk flush, and writers never contend.
//!
//! A write that fails undoes itself alone. While nothing else of its transaction is to be kept, that is a rollback of
//! the whole; only a write that runs after a kept one is given a savepoint.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::guest::Guest;
use super::open::Target;
use super::{Columns, DbError, Dialect, Rows, Statement, many};

/// Writes that may share one commit. Bounds how long the first of them waits.
const GROUP_MAX: usize = 256;
/// Writes that may wait before callers wait to enqueue: a second's worth at the measured rate.
const QUEUE_MAX: usize = 16_384;
/// Between attempts to get the connection back.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A transaction, as a write sees it.
pub struct Tx<'a> {
    runtime: &'a Handle,
    connection: &'a mut Connection,
    dialect: Dialect,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
    held: Option<&'a Held>,
    /// Set when there is no transaction to run in: every statement then fails with this.
    broken: Option<&'a str>,
    /// Whether the last statement was a guest's: the connection has to be told when it no longer is.
    guest_is_on: bool,
}

impl Tx<'_> {
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement; returns how many rows it changed.
    pub fn execute(&mut self, statement: Statement) -> Result<u64, DbError> {
        self.check()?;
        self.leave_guest()?;
        self.runtime.block_on(self.connection.execute(statement))
    }

    /// Runs a module's statement, which reaches its own tables only and has little time. On SQLite one that is ended for
    /// its time takes the whole transaction with it.
    pub fn execute_as(&mut self, guest: &Guest, statement: Statement) -> Result<u64, DbError> {
        self.check()?;
        // Before each statement, whoever's the last one was: a role that it has left must not be the next one's.
        self.guest_is_on = true;
        self.runtime.block_on(self.connection.enter_guest(guest))?;
        let done = self
            .runtime
            .block_on(self.connection.execute_as(guest, statement));
        if matches!(done, Err(DbError::Unavailable(_))) {
            self.broken = Some("the transaction has ended with a module's statement");
        }
        done
    }

    fn leave_guest(&mut self) -> Result<(), DbError> {
        if std::mem::take(&mut self.guest_is_on) {
            return self.runtime.block_on(self.connection.leave_guest());
        }
        Ok(())
    }

    pub fn query(&mut self, statement: Statement) -> Result<Rows, DbError> {
        self.check()?;
        self.leave_guest()?;
        self.runtime.block_on(self.connection.query(statement))
    }

    /// The same for hundreds of rows, whose columns are these.
    pub fn query_many(&mut self, statement: Statement, columns: &Columns) -> Result<Rows, DbError> {
        match self.dialect {
            Dialect::Postgres => self.query(statement),
            Dialect::Sqlite => {
                let whole = self.query(many::as_one_text(statement, columns))?;
                many::from_one_text(&whole, columns)
            }
        }
    }

    /// What was given to [`Db::hold`](super::Db::hold), if it is of this type.
    pub fn held<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.held.and_then(|held| Arc::clone(held).downcast().ok())
    }

    /// Runs `hook` once the transaction is on disk, before its caller is answered; never if it is not. Hooks run
    /// in commit order, on the writer's thread: they must be quick and must not wait.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }

    fn check(&self) -> Result<(), DbError> {
        match self.broken {
            None => Ok(()),
            Some(reason) => Err(DbError::Unavailable(reason.to_owned())),
        }
    }
}

/// Brings what memory holds in line with what is stored. It runs on the writer's thread, so it may read but not write.
pub type Recovery = Box<dyn Fn() -> BoxFuture<'static, Result<(), DbError>> + Send + Sync>;

/// Something that writes need and that must not be in the database, such as a key. Its type is its owner's business.
pub(super) type Held = Arc<dyn Any + Send + Sync>;

pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    recovery: Arc<OnceLock<Recovery>>,
    held: Arc<OnceLock<Held>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// How the commit that held a write ended.
type Verdict = Result<(), String>;
type Answer = Box<dyn FnOnce(Verdict) + Send>;
/// Runs one write; returns whether to keep it, and how to answer once the commit is decided.
type Job = Box<dyn FnOnce(&mut Tx<'_>) -> (bool, Answer) + Send>;

enum Message {
    Run(Job),
    Stop,
}

impl Writer {
    pub(super) fn start(target: Target, connection: Connection) -> Result<Self, DbError> {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let recovery = Arc::new(OnceLock::new());
        let held = Arc::new(OnceLock::new());
        let writer = Loop {
            target,
            connection,
            runtime: Handle::current(),
            recovery: Arc::clone(&recovery),
            held: Arc::clone(&held),
            in_doubt: false,
        };
        let body = move || writer.run(receiver);
        let thread = std::thread::Builder::new()
            .name("db-writer".to_owned())
            .spawn(body)
            .map_err(|error| DbError::Unavailable(error.to_string()))?;
        Ok(Self {
            queue,
            recovery,
            held,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |tx| {
            let result = work(tx);
            let keep = result.is_ok();
            let answer: Answer = Box::new(move |verdict| {
                let result = match verdict {
                    Ok(()) => result,
                    Err(reason) => result.and(Err(DbError::Unavailable(reason).into())),
                };
                // The caller may have gone away; the write stands all the same.
                let _ = sender.send(result);
            });
            (keep, answer)
        });
        let closed = || DbError::Unavailable("the writer has stopped".to_owned());
        self.queue
            .send(Message::Run(job))
            .await
            .map_err(|_| closed())?;
        match receiver.await {
            Ok(result) => result,
            Err(_) => Err(DbError::Statement("a write panicked".to_owned()).into()),
        }
    }

    pub(super) fn on_doubt(&self, recovery: Recovery) {
        // The first one stands; there is one application.
        let _ = self.recovery.set(recovery);
    }

    pub(super) fn hold(&self, held: Held) {
        // The first one stands; there is one application.
        let _ = self.held.set(held);
    }

    pub(super) fn held(&self) -> Option<&Held> {
        self.held.get()
    }

    pub(super) async fn stop(&self) {
        let _ = self.queue.send(Message::Stop).await;
        let thread = self.thread.lock().ok().and_then(|mut slot| slot.take());
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The writes that share one commit.
#[derive(Default)]
struct Group {
    stage: Stage,
    answers: Vec<Answer>,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
}

/// How far a group's transaction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// None is open.
    #[default]
    Outside,
    /// It is open and holds nothing to keep.
    Begun,
    /// It holds writes to keep.
    Kept,
    /// The same, and the last write has a savepoint before it.
    Guarded,
}

struct Loop {
    target: Target,
    connection: Connection,
    runtime: Handle,
    recovery: Arc<OnceLock<Recovery>>,
    held: Arc<OnceLock<Held>>,
    /// A commit was sent and never answered: it may have taken effect without its hooks.
    in_doubt: bool,
}

impl Loop {
    fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        loop {
            let Some(Message::Run(first)) = receiver.blocking_recv() else {
                return;
            };
            if let Err(error) = self.group(first, &mut receiver) {
                tracing::error!(%error, "a group of writes was lost before its commit; reconnecting");
                self.reconnect();
                if std::mem::take(&mut self.in_doubt) {
                    self.recover();
                }
            }
        }
    }

    /// Runs the first write and those that wait behind it in one transaction. An error means that the
    /// connection is in an unknown state; every write of the group has been answered all the same.
    fn group(&mut self, first: Job, receiver: &mut mpsc::Receiver<Message>) -> Result<(), DbError> {
        let mut group = Group::default();
        let mut outcome = Ok(());
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match &outcome {
                Ok(()) => outcome = self.one(job, &mut group),
                Err(error) => {
                    let reason = error.to_string();
                    self.refuse(job, &reason);
                }
            }
            if group.answers.len() < GROUP_MAX && outcome.is_ok() {
                match receiver.try_recv() {
                    Ok(Message::Run(job)) => next = Some(job),
                    Ok(Message::Stop) => receiver.close(),
                    Err(_) => {}
                }
            }
        }
        if outcome.is_ok() && group.stage != Stage::Outside {
            outcome = self.batch("COMMIT");
            self.in_doubt = outcome.is_err();
        }
        match &outcome {
            Ok(()) => {
                group.hooks.into_iter().for_each(run_hook);
                group.answers.into_iter().for_each(|answer| answer(Ok(())));
            }
            Err(error) => {
                let reason = error.to_string();
                group
                    .answers
                    .into_iter()
                    .for_each(|answer| answer(Err(reason.clone())));
                // Best effort: the connection is replaced anyway.
                let _ = self.batch("ROLLBACK");
            }
        }
        outcome
    }

    fn one(&mut self, job: Job, group: &mut Group) -> Result<(), DbError> {
        if let Err(error) = self.enter(&mut group.stage) {
            self.refuse(job, &error.to_string());
            return Err(error);
        }
        let mut tx = Tx {
            runtime: &self.runtime,
            connection: &mut self.connection,
            dialect: self.target.dialect(),
            hooks: Vec::new(),
            held: self.held.get(),
            broken: None,
            guest_is_on: false,
        };
        let ran = catch_unwind(AssertUnwindSafe(|| job(&mut tx)));
        let added = std::mem::take(&mut tx.hooks);
        let left = match ran {
            Ok((true, _)) => tx.leave_guest(),
            // What is undone is undone with whoever ran it.
            Ok((false, _)) | Err(_) => Ok(()),
        };
        match ran {
            Ok((true, answer)) => {
                group.answers.push(answer);
                left?;
                group.hooks.extend(added);
                if group.stage == Stage::Begun {
                    group.stage = Stage::Kept;
                }
                Ok(())
            }
            Ok((false, answer)) => {
                group.answers.push(answer);
                self.undo(&mut group.stage)
            }
            // The panic hook has logged it; dropping the job's sender answers its caller.
            Err(_) => self.undo(&mut group.stage),
        }
    }

    /// Prepares for one more write, in one round trip.
    fn enter(&mut self, stage: &mut Stage) -> Result<(), DbError> {
        let (sql, entered) = match (*stage, self.target.dialect()) {
            (Stage::Outside, Dialect::Sqlite) => ("BEGIN IMMEDIATE", Stage::Begun),
            (Stage::Outside, Dialect::Postgres) => ("BEGIN", Stage::Begun),
            // Nothing was kept of the write before.
            (Stage::Begun, _) => return Ok(()),
            (Stage::Kept, _) => ("SAVEPOINT one", Stage::Guarded),
            (Stage::Guarded, _) => ("RELEASE SAVEPOINT one; SAVEPOINT one", Stage::Guarded),
        };
        self.batch(sql)?;
        *stage = entered;
        Ok(())
    }

    /// Undoes the last write. A savepoint stays open: the next write releases it, or the commit does.
    fn undo(&mut self, stage: &mut Stage) -> Result<(), DbError> {
        match stage {
            Stage::Guarded => self.batch("ROLLBACK TO SAVEPOINT one"),
            Stage::Outside | Stage::Begun | Stage::Kept => {
                *stage = Stage::Outside;
                self.batch("ROLLBACK")
            }
        }
    }

    /// Answers a write that cannot run because its group has already failed. It runs with a transaction whose every
    /// statement fails, so that it answers with its own error type and touches nothing.
    fn refuse(&mut self, job: Job, reason: &str) {
        let mut tx = Tx {
            runtime: &self.runtime,
            connection: &mut self.connection,
            dialect: self.target.dialect(),
            hooks: Vec::new(),
            held: self.held.get(),
            broken: Some(reason),
            guest_is_on: false,
        };
        if let Ok((_, answer)) = catch_unwind(AssertUnwindSafe(|| job(&mut tx))) {
            answer(Err(reason.to_owned()));
        }
    }

    fn batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.runtime.block_on(self.connection.batch(sql))
    }

    /// The hooks of a commit in doubt are lost; what they would have told memory is read back. Before the next write,
    /// so that no hook of a later one is overtaken by what was read earlier.
    fn recover(&self) {
        let Some(recovery) = self.recovery.get() else {
            return;
        };
        while let Err(error) = self.runtime.block_on(recovery()) {
            tracing::warn!(%error, "what is stored cannot be read back yet");
            self.runtime
                .block_on(async { tokio::time::sleep(RECONNECT_PAUSE).await });
        }
    }

    /// Waits until the database can be reached again. Callers meanwhile wait in the queue, bounded by their
    /// own deadlines.
    fn reconnect(&mut self) {
        loop {
            let connecting = async {
                let mut connection = self.target.connect_writer().await?;
                self.target.put_gate_on(&mut connection).await?;
                Ok::<_, DbError>(connection)
            };
            match self.runtime.block_on(connecting) {
                Ok(connection) => {
                    self.connection = connection;
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot reconnect to the database"),
            }
            self.runtime
                .block_on(async { tokio::time::sleep(RECONNECT_PAUSE).await });
        }
    }
}

fn run_hook(hook: Box<dyn FnOnce() + Send>) {
    // A hook that panics must not take the writer with it; the panic hook has logged it.
    let _ = catch_unwind(AssertUnwindSafe(hook));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_whose_connection_breaks_before_it_begins_is_told_to_come_again() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let target = Target::parse(&url).unwrap();
        let mut connection = runtime.block_on(target.connect_writer()).unwrap();
        let Connection::Sqlite(sqlite, _) = &mut connection else {
            panic!("it is SQLite");
        };
        // From now on the database interrupts every statement.
        let mut handle = runtime.block_on(sqlite.lock_handle()).unwrap();
        handle.set_progress_handler(1, || false);
        drop(handle);
        let mut writer = Loop {
            target,
            connection,
            runtime: runtime.handle().clone(),
            recovery: Arc::default(),
            held: Arc::default(),
            in_doubt: false,
        };
        let (sender, mut receiver) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let result = tx.execute(Statement::new("SELECT 1"));
            let answer: Answer = Box::new(move |verdict| {
                let _ = sender.send((result, verdict));
            });
            (false, answer)
        });
        assert!(writer.one(job, &mut Group::default()).is_err());
        let (result, verdict) = receiver.try_recv().expect("it is answered");
        assert!(matches!(result, Err(DbError::Unavailable(_))), "{result:?}");
        assert!(verdict.is_err());
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_commit_in_doubt_memory_is_read_back_before_the_next_write() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let db = crate::db::Db::open(&url).await.unwrap();
        let recovered = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&recovered);
        db.on_doubt(Box::new(move || {
            // The first time it fails, and is tried again.
            let tries = counter.fetch_add(1, Ordering::SeqCst);
            let away = || DbError::Unavailable("still away".to_owned());
            Box::pin(async move { if tries == 0 { Err(away()) } else { Ok(()) } })
        }));
        let tables = db.write(|tx| {
            tx.execute(Statement::new("CREATE TABLE one (id INTEGER PRIMARY KEY)"))?;
            let sql = "CREATE TABLE two (one INTEGER REFERENCES one DEFERRABLE INITIALLY DEFERRED)";
            tx.execute(Statement::new(sql))
        });
        tables.await.unwrap();
        assert_eq!(recovered.load(Ordering::SeqCst), 0);
        // The statement is taken, its commit is not.
        let lost: Result<u64, DbError> = db
            .write(|tx| tx.execute(Statement::new("INSERT INTO two VALUES (7)")))
            .await;
        assert!(matches!(lost, Err(DbError::Unavailable(_))), "{lost:?}");
        let seen = Arc::clone(&recovered);
        let before = db
            .write(move |_| Ok::<_, DbError>(seen.load(Ordering::SeqCst)))
            .await;
        assert_eq!(before.unwrap(), 2);
        db.close().await;
    }
}
