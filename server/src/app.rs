//! The wiring: every part of the server, made once and handed to whoever needs it. `run` runs it.

pub mod retention;
pub mod rights;

use std::path::Path;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::rate::RateLimit;
use crate::auth::{Auth, AuthStartError};
use crate::clock::SharedClock;
use crate::commands::outputs::Spool;
use crate::commands::workers::{self, Workers};
use crate::commands::{Commands, CommandsParts};
use crate::config::Config;
use crate::db::{Db, DbError, Statement};
use crate::events::{Events, Signals};
use crate::hosts::{Hosts, HostsParts};
use crate::http::idempotency::Idempotency;
use crate::licensing::trust::TrustError;
use crate::licensing::{Licensing, LicensingParts, TrustedKeys};
use crate::links::Connections;
use crate::loops::{Loops, Seen};
use crate::modules::{Modules, ModulesParts};
use crate::secrets::{self, Secrets, SecretsParts};

/// What the limit of requests is counted over.
const SECOND_US: i64 = 1_000_000;

/// Everything handlers and loops reach. Fields are handles that are cheap to clone.
pub struct App {
    pub clock: SharedClock,
    pub config: Arc<Config>,
    pub db: Db,
    pub signals: Signals,
    pub events: Events,
    pub auth: Auth,
    pub connections: Connections,
    pub hosts: Hosts,
    pub secrets: Secrets,
    pub commands: Commands,
    pub licensing: Licensing,
    pub modules: Modules,
    pub idempotency: Idempotency,
    pub request_rate: RateLimit,
    pub loops: Loops,
    /// Absent in tests: one process has one recorder.
    pub metrics: Option<PrometheusHandle>,
    /// Cancelled when the server begins to stop.
    pub shutdown: CancellationToken,
}

/// The state of every router.
pub type AppState = Arc<App>;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {path}: {source}")]
    DataFolder {
        path: String,
        source: std::io::Error,
    },
    #[error("the key of secrets: {0}")]
    SecretsKey(std::io::Error),
    #[error("the folder for outputs: {0}")]
    Outputs(std::io::Error),
    #[error(transparent)]
    TrustedKeys(#[from] TrustError),
    #[error("the threads for modules: {0}")]
    Modules(std::io::Error),
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl App {
    /// Opens the database, applies migrations and makes every part. Starts no loop and no listener.
    pub async fn build(
        config: Config,
        clock: SharedClock,
        metrics: Option<PrometheusHandle>,
    ) -> Result<(AppState, Workers), StartError> {
        make_private_folder(&config.data_dir)?;
        let db = Db::open(&config.database_url()).await?;
        db.migrate_core().await?;
        let signals = Signals::default();
        let events = Events::new(clock.new_id());
        let connections = Connections::default();
        let hosts = Hosts::load(HostsParts {
            clock: clock.clone(),
            db: db.clone(),
            signals: signals.clone(),
            events: events.clone(),
            connections: connections.clone(),
        })
        .await?;
        let spool = Spool::open(&config.data_dir).map_err(StartError::Outputs)?;
        let parts = (db.clone(), clock.clone(), signals.clone());
        let (licensing, trusted) = open_licensing(&config, parts, &hosts).await?;
        let secrets = open_secrets(&config, (db.clone(), clock.clone()), &licensing).await?;
        let (commands, workers) = workers::prepare(CommandsParts {
            db: db.clone(),
            clock: clock.clone(),
            registry: hosts.registry().clone(),
            connections: connections.clone(),
            signals: signals.clone(),
            spool,
            secrets: secrets.clone(),
        });
        let idempotency = Idempotency::default();
        let parts = ModulesParts {
            modules_dir: config.modules_dir.clone(),
            data_dir: config.data_dir.clone(),
            trusted,
            clock: clock.clone(),
            db: db.clone(),
            signals: signals.clone(),
            hosts: hosts.clone(),
            commands: commands.clone(),
            idempotency: idempotency.clone(),
            licensing: licensing.clone(),
        };
        let modules = open_modules(parts, &secrets).await?;
        let app = Self {
            auth: Auth::start(db.clone(), clock.clone(), &config.data_dir, &config.limits)?,
            request_rate: RateLimit::new(config.limits.requests_per_second, SECOND_US),
            loops: Loops::new(clock.clone()),
            idempotency,
            licensing,
            modules,
            shutdown: CancellationToken::new(),
            config: Arc::new(config),
            clock,
            db,
            signals,
            events,
            connections,
            hosts,
            secrets,
            commands,
            metrics,
        };
        let app = Arc::new(app);
        app.read_back_on_doubt();
        Ok((app, workers))
    }

    fn read_back_on_doubt(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        self.db.on_doubt(Box::new(move || {
            let app = weak.upgrade();
            Box::pin(async move {
                match app {
                    Some(app) => app.read_back().await,
                    None => Ok(()),
                }
            })
        }));
    }

    /// A commit's outcome is unknown and its hooks are lost: what they would have told memory is read again. Agents
    /// are let go and say what they hold when they come back, which settles what was under way.
    async fn read_back(&self) -> Result<(), DbError> {
        self.hosts.reload().await?;
        self.commands.look_at_open_sets().await?;
        self.auth.identities.forget_all();
        self.connections.cut_all("the database was away");
        Ok(())
    }

    /// What must be true before requests are sent here, with whether it is.
    pub async fn readiness(&self) -> Vec<(&'static str, bool)> {
        let database = self.db.read(Statement::new("SELECT 1")).await.is_ok();
        // Migrations are applied and modules are looked at before anything listens.
        vec![
            ("database", database),
            ("migrations", true),
            ("modules", true),
            ("loops", self.loops.look().iter().all(Seen::lets_serve)),
        ]
    }

    pub fn agents_online(&self) -> usize {
        self.connections.len()
    }
}

async fn open_licensing(
    config: &Config,
    (db, clock, signals): (Db, SharedClock, Signals),
    hosts: &Hosts,
) -> Result<(Licensing, TrustedKeys), StartError> {
    let trusted = TrustedKeys::load(&config.trusted_keys, config.allow_development_keys)?;
    let licensing = Licensing::load(LicensingParts {
        clock,
        db,
        signals,
        registry: hosts.registry().clone(),
        trusted: trusted.clone(),
        license_file: config.license_file.clone(),
    })
    .await?;
    Ok((licensing, trusted))
}

async fn open_secrets(
    config: &Config,
    (db, clock): (Db, SharedClock),
    licensing: &Licensing,
) -> Result<Secrets, StartError> {
    let secrets = Secrets::new(SecretsParts {
        db,
        clock,
        key: secrets::key(&config.data_dir).map_err(StartError::SecretsKey)?,
        installation: licensing.installation_id().to_owned(),
    });
    secrets.look_at_keys().await?;
    Ok(secrets)
}

/// The modules; one of them knows groups, which secrets ask for.
async fn open_modules(parts: ModulesParts, secrets: &Secrets) -> Result<Modules, StartError> {
    let modules = Modules::load(parts).await.map_err(StartError::Modules)?;
    let groups = modules.clone();
    secrets.set_groups(Arc::new(move |question| {
        let groups = groups.clone();
        Box::pin(async move { groups.answer_groups(question).await })
    }));
    Ok(modules)
}

/// The data folder holds keys: only its owner may look inside.
pub fn make_private_folder(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| StartError::DataFolder {
        path: path.display().to_string(),
        source,
    })
}
