//! The wiring: every part of the server, made once and handed to whoever needs it. `run` runs it.

pub mod data_folder;
pub mod retention;
pub mod rights;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, AuditStartError};
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
use crate::http::streams::Streams;
use crate::licensing::trust::TrustError;
use crate::licensing::{Licensing, LicensingParts, TrustedKeys};
use crate::links::Connections;
use crate::loops::{Loops, Seen};
use crate::modules::{Modules, ModulesParts};
use crate::secret_file::{random_secret, read_or_create};
use crate::secrets::{self, Secrets, SecretsParts};

use data_folder::DataFolderError;

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
    pub streams: Streams,
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
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    #[error("the key of idempotency records: {0}")]
    Idempotency(std::io::Error),
    #[error("the key of secrets: {0}")]
    SecretsKey(std::io::Error),
    #[error("the folder for outputs: {0}")]
    Outputs(std::io::Error),
    #[error(transparent)]
    TrustedKeys(#[from] TrustError),
    #[error("the threads for modules: {0}")]
    Modules(std::io::Error),
    #[error(transparent)]
    Audit(#[from] AuditStartError),
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
        let db = open_database(&config, &clock).await?;
        let signals = Signals::default();
        let events = Events::new(clock.new_id());
        let connections = Connections::default();
        let parts = (signals.clone(), events.clone(), connections.clone());
        let hosts = open_hosts(&config, (db.clone(), clock.clone()), parts).await?;
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
        let idempotency = open_idempotency(&config)?;
        let streams = Streams::default();
        let auth = Auth::start(db.clone(), clock.clone(), &config.data_dir, &config.limits)?;
        auth.attempts.read_back(&db, clock.now_us()).await?;
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
            streams: streams.clone(),
            licensing: licensing.clone(),
            identities: auth.identities.clone(),
            settings: config.for_modules(),
        };
        let modules = open_modules(parts, &secrets).await?;
        let app = Self {
            auth,
            request_rate: RateLimit::new(config.limits.requests_per_second, SECOND_US),
            streams,
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

/// The database, private to the server, as this version knows it, with its audit log.
async fn open_database(config: &Config, clock: &SharedClock) -> Result<Db, StartError> {
    let url = config.database_url();
    data_folder::make_private(&config.data_dir, &url)?;
    let db = Db::open(&url).await?;
    db.migrate_core().await?;
    audit::open(&db, &config.data_dir, clock.now_us()).await?;
    Ok(db)
}

async fn open_hosts(
    config: &Config,
    (db, clock): (Db, SharedClock),
    (signals, events, connections): (Signals, Events, Connections),
) -> Result<Hosts, DbError> {
    Hosts::load(HostsParts {
        clock,
        db,
        signals,
        events,
        connections,
        names: config.host_names,
    })
    .await
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

fn open_idempotency(config: &Config) -> Result<Idempotency, StartError> {
    let file = config.data_dir.join("idempotency.key");
    let secret = read_or_create(&file, random_secret).map_err(StartError::Idempotency)?;
    Ok(Idempotency::new(&secret))
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
