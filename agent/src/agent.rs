//! The agent at work: one process per data folder, its core, and the connection kept up around it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::blobs::Blobs;
use crate::certificate::{Renewal, Validity};
use crate::config::Config;
use crate::core::{Core, Input, JournalLost, Settings};
use crate::enrollment::{self, EnrollError};
use crate::executor::Executor;
use crate::facts::Pulse;
use crate::guard::PathPolicy;
use crate::identity::{Identity, IdentityError};
use crate::journal::JournalStore;
use crate::journal::store::Opened;
use crate::launch::Launcher;
use crate::output::LiveOutput;
use crate::server_client::{ServerAddress, ServerClient, ServerError};
use crate::session::{self, SessionEnd, Surroundings};
use crate::sessions::{self, Sessions};
use crate::status::{self, ConnectionState};
use crate::tls::TlsError;
use crate::vms::Vms;
use crate::{accounts, cgroup, clock, facts, private_file, run_folder};

/// Frames that wait for the core; the connection waits in turn when it is full.
const INPUTS_WAITING_MAX: usize = 64;
/// How often a waiting renewal is looked at: the wall clock may step.
const RENEWAL_LOOK: Duration = Duration::from_secs(60);

/// The server's slug for a certificate that has ended by its clock.
const CERTIFICATE_EXPIRED: &str = "certificate-expired";

/// The server's slug for a certificate that a newer one has followed. Asked to renew it, the server sees whose it is.
const STALE_GENERATION: &str = "stale-generation";

/// A connection that lasted this long was a good one: the next is tried at once.
const STOOD: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot use the data folder {path}: {error}")]
    DataFolder {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("another agent runs on {0}")]
    Running(PathBuf),
    /// It ends, so that whatever started it starts it again.
    #[error("{0}; the agent ends, to be started again")]
    JournalLost(#[from] JournalLost),
    #[error("the agent's core has failed: {0}")]
    CoreFailed(#[from] tokio::task::JoinError),
}

/// Held for as long as this process may write the data folder.
pub struct DataLock(
    #[expect(dead_code, reason = "the lock lives as long as the file is open")] File,
);

/// Makes the data folder if need be and takes it.
pub fn lock(data_dir: &Path) -> Result<DataLock, AgentError> {
    let failed = |error| AgentError::DataFolder {
        path: data_dir.to_owned(),
        error,
    };
    private_file::make_own_folder(data_dir).map_err(failed)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_dir.join("lock"))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DataLock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::Running(data_dir.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Runs until `stop` says so, or it cannot go on. Runs under way go on without the agent.
pub async fn run(
    config: &Config,
    launcher: Launcher,
    stop: watch::Receiver<bool>,
) -> Result<(), AgentError> {
    let _lock = lock(&config.data_dir)?;
    let journal = open_journal(&config.data_dir)?;
    run_with(journal, config, launcher, stop).await
}

/// The same with an open journal, wherever its bytes are kept. The caller holds the data folder.
pub async fn run_with(
    journal: JournalStore,
    config: &Config,
    launcher: Launcher,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AgentError> {
    let identity = Identity::load(&config.data_dir)?;
    let url = config
        .server_url
        .as_deref()
        .unwrap_or(&identity.record.server_url);
    let client = Arc::new(ServerClient::new(
        ServerAddress::parse(url)?,
        enrollment::tls_of(&identity)?,
    ));
    let sessions = Sessions::open(&config.data_dir).map_err(|error| AgentError::DataFolder {
        path: config.data_dir.clone(),
        error,
    })?;
    let executor = executor(config, launcher, Blobs::Server(Arc::clone(&client)))?;
    let settings = Settings {
        concurrency: config.concurrency,
        boot_id: facts::boot_id(config.boot_id_file()),
        machine_id: facts::machine_id(config.system.machine_id_file()),
        tags: config.tags.clone(),
        attributes: config.attributes.clone(),
    };
    let (inputs, from_connection) = mpsc::channel(INPUTS_WAITING_MAX);
    let mut core =
        tokio::spawn(Core::new(settings, Arc::new(executor), journal).run(from_connection));
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    tracing::info!(host_id = %identity.record.host_id, server = url, "the agent runs");
    let boot_id = facts::boot_id(config.boot_id_file());
    let mut link = Link {
        config,
        client,
        identity,
        sessions: Arc::new(Mutex::new(sessions)),
        inputs,
        pulse: Pulse::new(config.facts.clone(), boot_id, Vms::of(config)),
        backoff: Backoff::up_to_seconds(config.reconnect_seconds_max),
        renewal_chance: rand::rng().random(),
        renewed_at: None,
        expired_there: false,
        conflicts: 0,
    };
    let ended = tokio::select! {
        () = link.keep_up() => None,
        _ = stop.wait_for(|stop| *stop) => None,
        ended = &mut core => Some(ended),
    };
    link.note(ConnectionState::Stopped, "");
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    drop(link);
    match ended {
        Some(ended) => ended?.map_err(AgentError::from),
        None => {
            // It ends with its inputs; what it is writing is finished.
            let _ = tokio::time::timeout(Duration::from_secs(5), core).await;
            Ok(())
        }
    }
}

/// The executor for these settings.
pub fn executor(config: &Config, launcher: Launcher, blobs: Blobs) -> Result<Executor, AgentError> {
    let failed = |error| AgentError::DataFolder {
        path: config.data_dir.clone(),
        error,
    };
    private_file::make_folder(&run_folder::root(&config.data_dir), 0o711).map_err(failed)?;
    let own_user = accounts::own_account()
        .map(|account| account.name)
        .unwrap_or_default();
    Ok(Executor {
        data_dir: config.data_dir.clone(),
        policy: config.policy.clone(),
        places: PathPolicy::of(config),
        system: config.system.clone(),
        own_user,
        launcher,
        blobs,
        cgroup_parent: cgroup::parent(config.system.cgroup.as_deref()),
        live: LiveOutput::default(),
    })
}

/// Opens the journal and says how it was found.
pub fn open_journal(data_dir: &Path) -> Result<JournalStore, AgentError> {
    let failed = |error| AgentError::DataFolder {
        path: data_dir.to_owned(),
        error,
    };
    let (journal, opened) =
        JournalStore::open(data_dir, Uuid::new_v4(), clock::unix_ms()).map_err(failed)?;
    match opened {
        Opened::Created => tracing::info!(journal = %journal.journal_id(), "a new journal"),
        Opened::Continued { cut_bytes: 0 } => {}
        Opened::Continued { cut_bytes } => {
            tracing::warn!(
                cut_bytes,
                "the journal ended in a torn write, which was cut off"
            );
        }
        Opened::Replaced(damage) => {
            tracing::error!(%damage, "the journal was damaged; a new one begins and open commands are unknown");
        }
    }
    Ok(journal)
}

/// The connection, made again for as long as the agent runs.
struct Link<'a> {
    config: &'a Config,
    client: Arc<ServerClient>,
    identity: Identity,
    sessions: Arc<Mutex<Sessions>>,
    inputs: mpsc::Sender<Input>,
    pulse: Pulse,
    backoff: Backoff,
    /// Places the renewal of this agent's certificates within their spread.
    renewal_chance: f64,
    renewed_at: Option<tokio::time::Instant>,
    /// The server takes the certificate for one that has ended, or is not the last, which this agent does not know.
    expired_there: bool,
    /// How often in a row the server has said that another machine has this identity.
    conflicts: u32,
}

impl Link<'_> {
    async fn keep_up(&mut self) {
        self.note(ConnectionState::Connecting, "");
        loop {
            if let Renewal::EnrollAgain = self.renewal() {
                let why = "the certificate ended more than 30 days ago: enroll again with --force";
                tracing::error!("{why}");
                self.note(ConnectionState::MustEnrollAgain, why);
                tokio::time::sleep(Backoff::slow(chance())).await;
                continue;
            }
            if self.expired_there || self.renewal() == Renewal::Due {
                self.renew().await;
            }
            let end = self.connection().await;
            let wait = self.after(&end);
            if !wait.is_zero() {
                tracing::debug!(
                    seconds = wait.as_secs_f32(),
                    "waiting before the next attempt"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One connection, ended early when the certificate has been renewed.
    async fn connection(&mut self) -> SessionEnd {
        let (end, mut ended) = watch::channel(false);
        let data_dir = self.config.data_dir.clone();
        let mut welcome_at = None;
        let fresh_for = self.fresh_for();
        let was_shut_out = sessions::is_in_conflict(&data_dir);
        let (let_in, was_let_in) = oneshot::channel();
        let renewal_due = async {
            if was_shut_out && was_let_in.await.is_ok() {
                // An operator has decided for this machine: its next certificate is its own alone.
                return;
            }
            until_renewal(&self.identity, self.renewal_chance, fresh_for).await;
        };
        let surroundings = Surroundings {
            inputs: &self.inputs,
            pulse: &mut self.pulse,
            sessions: Arc::clone(&self.sessions),
            facts: facts::facts(&self.config.facts),
            heartbeat_seconds: self.config.heartbeat_seconds,
            heartbeat_seconds_default: self.config.heartbeat_seconds_or_default(),
            silence_max: Duration::from_secs(self.config.server_silent_seconds),
        };
        let own_sessions = Arc::clone(&self.sessions);
        let on_welcome = || {
            let sessions = own_sessions.lock();
            sessions.unwrap_or_else(PoisonError::into_inner).welcomed();
            welcome_at = Some(tokio::time::Instant::now());
            let _ = let_in.send(());
            tracing::info!("connected");
            status::note(
                &data_dir,
                ConnectionState::Connected,
                "",
                clock::unix_seconds(),
            );
        };
        let reason = {
            let session = session::run(&self.client, surroundings, on_welcome, &mut ended);
            tokio::pin!(session);
            tokio::select! {
                reason = &mut session => reason,
                () = renewal_due => {
                    end.send_replace(true);
                    session.await
                }
            }
        };
        if welcome_at.is_some_and(|at| at.elapsed() >= STOOD) {
            self.backoff.reset();
        }
        if welcome_at.is_some() {
            self.conflicts = 0;
            if was_shut_out {
                self.renew().await;
            }
        }
        reason
    }

    /// Notes the end of a connection. Returns how long to wait.
    fn after(&mut self, end: &SessionEnd) -> Duration {
        let detail = end.to_string();
        if let SessionEnd::Server(ServerError::Refused { code, .. }) = end {
            self.expired_there |= code == CERTIFICATE_EXPIRED || code == STALE_GENERATION;
        }
        match end {
            SessionEnd::Ended => {
                self.note(ConnectionState::Connecting, "");
                Duration::ZERO
            }
            SessionEnd::WrongProtocol(_) => {
                tracing::error!("{detail}; one side must be upgraded");
                self.note(ConnectionState::WrongProtocol, &detail);
                Backoff::slow(chance())
            }
            SessionEnd::Disowned { is_conflict, .. } => {
                if *is_conflict {
                    sessions::note_conflict(&self.config.data_dir);
                    self.conflicts = self.conflicts.saturating_add(1);
                }
                tracing::error!(
                    "{detail}: another machine has this identity; an operator must say which one keeps it, and the other \
                     enrolls anew (`fleetwright-agent enroll --force`)"
                );
                self.note(ConnectionState::IdentityConflict, &detail);
                if self.conflicts > 1 {
                    Backoff::slow(chance())
                } else {
                    self.backoff.next(chance())
                }
            }
            SessionEnd::NotApproved(_) => {
                tracing::warn!("{detail}");
                self.note(ConnectionState::NotApproved, &detail);
                self.backoff.next(chance())
            }
            SessionEnd::Server(_)
            | SessionEnd::Broken(_)
            | SessionEnd::Nonsense(_)
            | SessionEnd::Silent(_)
            | SessionEnd::Closed { .. } => {
                tracing::warn!("{detail}");
                self.note(ConnectionState::Disconnected, &detail);
                self.backoff.next(chance())
            }
        }
    }

    /// Tries to renew. Without success the old certificate serves on while it lasts, and the next connection tries again.
    async fn renew(&mut self) {
        let session = self.sessions.lock();
        let session = session.unwrap_or_else(PoisonError::into_inner).last();
        match enrollment::renew(&self.identity, session, &self.client, self.config).await {
            Ok(renewed) => {
                if let Ok(tls) = enrollment::tls_of(&renewed) {
                    self.client.set_tls(tls);
                }
                tracing::info!(
                    generation = renewed.record.generation,
                    "the certificate was renewed"
                );
                self.identity = renewed;
                self.renewal_chance = chance();
                self.renewed_at = Some(tokio::time::Instant::now());
                self.expired_there = false;
            }
            Err(EnrollError::Server(error @ ServerError::Refused { .. })) => {
                tracing::error!(%error, "the certificate is not renewed");
            }
            // Somebody may be in the server's place: the old certificate and the old trust serve on.
            Err(error @ (EnrollError::Untrusted(_) | EnrollError::Generation { .. })) => {
                tracing::error!(%error, "the certificate is NOT renewed; look at the server");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate could not be renewed; trying again")
            }
        }
    }

    /// For how long nothing is to be renewed: for half of its life a certificate that has just come is good, whatever the
    /// wall clock makes of its dates. An agent whose clock is ahead would otherwise renew for ever.
    fn fresh_for(&self) -> Duration {
        let validity = Validity::of_pem(self.identity.certificate_pem.as_bytes());
        let (Some(at), Some(validity)) = (self.renewed_at, validity) else {
            return Duration::ZERO;
        };
        let half = validity.until.saturating_sub(validity.from) / 2;
        Duration::from_secs(half).saturating_sub(at.elapsed())
    }

    fn renewal(&self) -> Renewal {
        if !self.fresh_for().is_zero() {
            return Renewal::NotBefore(u64::MAX);
        }
        Validity::of_pem(self.identity.certificate_pem.as_bytes())
            .map_or(Renewal::Due, |validity| {
                validity.renewal(clock::unix_seconds(), self.renewal_chance)
            })
    }

    fn note(&self, state: ConnectionState, detail: &str) {
        status::note(&self.config.data_dir, state, detail, clock::unix_seconds());
    }
}

/// Waits until the certificate should be renewed. A renewal that failed just before is tried again after a tenth of
/// what is left, not in a circle.
async fn until_renewal(identity: &Identity, renewal_chance: f64, fresh_for: Duration) {
    tokio::time::sleep(fresh_for).await;
    let Some(validity) = Validity::of_pem(identity.certificate_pem.as_bytes()) else {
        return std::future::pending().await;
    };
    let late = validity.renewal(clock::unix_seconds(), renewal_chance) == Renewal::Due;
    if late {
        let left = validity.until.saturating_sub(clock::unix_seconds());
        tokio::time::sleep(Duration::from_secs((left / 10).max(60))).await;
        return;
    }
    while let Renewal::NotBefore(due) = validity.renewal(clock::unix_seconds(), renewal_chance) {
        let left = Duration::from_secs(due.saturating_sub(clock::unix_seconds()).max(1));
        tokio::time::sleep(left.min(RENEWAL_LOOK)).await;
    }
}

fn chance() -> f64 {
    rand::rng().random()
}
