//! Runs the server: loops, listeners, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sd_notify::NotifyState;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::agents::authority::AuthorityError;
use crate::agents::connection::watch_silence;
use crate::agents::http::{AgentsState, agent_router};
use crate::agents::{Agents, blob_upkeep};
use crate::app::{AppState, retention};
use crate::audit::heads;
use crate::commands::workers::Workers;
use crate::config::Tls;
use crate::edge::router;
use crate::edge::serve::{self, ConnectionLimits, Served};
use crate::hosts::presence;
use crate::loops::Loop;

/// From the signal to the end; what is not finished by then is cut.
const DRAIN: Duration = Duration::from_secs(20);

/// Descriptors for the database, modules, blobs and outputs.
const DESCRIPTORS_KEPT: usize = 256;
/// Fewer connections would serve nobody; what is missing is told by the log when it happens.
const CONNECTIONS_MIN: usize = 64;
/// Of the connections there may be, those of operators, where there are few.
const OPERATORS_PART: usize = 4;

/// What the server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub operators: TcpListener,
    pub agents: TcpListener,
    /// Where `/metrics` has an address of its own.
    pub metrics: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot use tls.cert and tls.key: {0}")]
    Tls(String),
    #[error("the agent port's certificate: {0}")]
    AgentTls(#[from] AuthorityError),
    #[error("cannot write {path}: {source}")]
    Addresses { path: String, source: io::Error },
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// Binds both ports and writes where they are to `addresses.json` in the data folder.
pub fn listen(app: &AppState) -> Result<Listeners, RunError> {
    let bind =
        |address| serve::bind(address).map_err(|source| RunError::Listen { address, source });
    let listeners = Listeners {
        operators: bind(app.config.listen)?,
        agents: bind(app.config.agent_listen)?,
        metrics: app.config.metrics_listen.map(bind).transpose()?,
    };
    let path = app.config.data_dir.join("addresses.json");
    write_addresses(&path, &listeners).map_err(|source| RunError::Addresses {
        path: path.display().to_string(),
        source,
    })?;
    Ok(listeners)
}

/// Starts the loops and serves both ports until the shutdown token is cancelled; then drains and closes the
/// database.
pub async fn serve(
    app: AppState,
    agents: Agents,
    workers: Workers,
    listeners: Listeners,
) -> Result<(), RunError> {
    let tls = operator_tls(&app.config.tls)?;
    let agent_tls = agents.tls()?;
    announce(&listeners, tls.is_some());
    workers.start(&app.loops);
    let tasks = TaskTracker::new();
    spawn_loops(&app, &agents, &tasks);
    spawn_ports(&app, agents, listeners, (tls, agent_tls), &tasks);
    tell_supervisor(NotifyState::Ready);
    app.shutdown.cancelled().await;
    tell_supervisor(NotifyState::Stopping);
    tracing::info!("stopping");
    app.connections.cut_all("the server is stopping");
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "not everything ended in time");
    }
    write_attempts(app.clone()).await;
    // What is done to the log while the server is away shows against this head.
    sign_audit_head(app.clone()).await;
    app.db.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Serves every port, with as many connections as the process may have descriptors for.
fn spawn_ports(
    app: &AppState,
    agents: Agents,
    listeners: Listeners,
    (tls, agent_tls): (Option<Arc<ServerConfig>>, Arc<ServerConfig>),
    tasks: &TaskTracker,
) {
    let descriptors = descriptors_for_connections();
    let operators = ConnectionLimits::OPERATORS.within(descriptors / OPERATORS_PART);
    let left = descriptors.saturating_sub(operators.places.connections_max);
    let trusted_proxies = app.config.trusted_proxies.clone();
    let state = AgentsState {
        app: app.clone(),
        agents: agents.clone(),
    };
    let mut ports = vec![
        Served {
            listener: listeners.operators,
            tls,
            router: router::router(app.clone(), agents),
            limits: operators,
            trusted_proxies,
        },
        // What passes TLS on cannot say whom it passes it on for.
        Served {
            listener: listeners.agents,
            tls: Some(agent_tls),
            router: agent_router(state),
            limits: ConnectionLimits::AGENTS.within(left),
            trusted_proxies: Vec::new(),
        },
    ];
    ports.extend(listeners.metrics.map(|listener| Served {
        listener,
        tls: None,
        router: router::metrics_router(app.clone()),
        limits: ConnectionLimits::METRICS,
        trusted_proxies: Vec::new(),
    }));
    for port in ports {
        tasks.spawn(serve::serve(port, app.shutdown.clone()));
    }
}

/// How many descriptors connections may have: as many as the system lets this process have, but for files.
fn descriptors_for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let left = limit.unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT);
    left.max(CONNECTIONS_MIN)
}

/// Takes as many descriptors as the system allows without a privilege; what a shell starts has a thousand.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Tells systemd, if it has started this server, how far it is.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Cancels the shutdown token at SIGTERM or SIGINT.
pub fn stop_on_signals(app: &AppState) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let shutdown = app.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

/// All of [`Loop`] but those of commands, which `Workers` start.
fn spawn_loops(app: &AppState, agents: &Agents, tasks: &TaskTracker) {
    let (loops, shutdown) = (&app.loops, &app.shutdown);
    tasks.spawn(presence::run(
        app.hosts.clone(),
        loops.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(agents.clone().run(loops.clone(), shutdown.clone()));
    let licensing = app.licensing.clone();
    tasks.spawn(licensing.run(loops.clone(), shutdown.clone()));
    let modules = app.modules.clone();
    tasks.spawn(modules.run(loops.clone(), shutdown.clone()));
    let commands = app.commands.clone();
    let silent = Duration::from_secs(app.config.limits.agent_silent_seconds);
    until_shutdown(app, tasks, watch_silence(commands, silent, loops.clone()));
    let swept = app.clone();
    until_shutdown(app, tasks, async move { retention::run(&swept).await });
    let (owner, stored) = (app.clone(), agents.clone());
    until_shutdown(app, tasks, async move {
        blob_upkeep::run(&owner, &stored).await
    });
    let (used, place) = (app.clone(), loops.take(Loop::TokenUse));
    let storing = place.every(move || store_last_used(used.clone()));
    until_shutdown(app, tasks, storing);
    let (counted, place) = (app.clone(), loops.take(Loop::Attempts));
    let writing = place.every(move || write_attempts(counted.clone()));
    until_shutdown(app, tasks, writing);
    let (signed, place) = (app.clone(), loops.take(Loop::AuditHead));
    let signing = place.every(move || sign_audit_head(signed.clone()));
    until_shutdown(app, tasks, signing);
    if let Some(metrics) = app.metrics.clone() {
        let folding = loops.take(Loop::Metrics).every(move || {
            metrics.run_upkeep();
            std::future::ready(())
        });
        until_shutdown(app, tasks, folding);
    }
}

async fn store_last_used(app: AppState) {
    if let Err(error) = app.auth.store_last_used().await {
        tracing::warn!(%error, "the last use of API tokens could not be stored");
    }
}

async fn write_attempts(app: AppState) {
    let now_us = app.clock.now_us();
    if let Err(error) = app.auth.refused.flush(&app.db, now_us).await {
        tracing::warn!(%error, "refused attempts could not be written to the audit log");
    }
}

async fn sign_audit_head(app: AppState) {
    if let Err(error) = heads::stamp(&app.db, app.clock.now_us()).await {
        tracing::error!(%error, "the audit log's newest row was not signed: look at GET /api/v1/audit/verify");
    }
}

fn until_shutdown(
    app: &AppState,
    tasks: &TaskTracker,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = app.shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

fn announce(listeners: &Listeners, tls: bool) {
    let shown = |listener: &TcpListener| match listener.local_addr() {
        Ok(address) => address.to_string(),
        Err(_) => "unknown".to_owned(),
    };
    let scheme = if tls { "https" } else { "http" };
    let operators = format!("{scheme}://{}", shown(&listeners.operators));
    let agents = format!("https://{}", shown(&listeners.agents));
    tracing::info!(%operators, %agents, "listening");
    let is_open = listeners
        .operators
        .local_addr()
        .is_ok_and(|address| !address.ip().is_loopback());
    if is_open && !tls {
        tracing::warn!(
            "operators connect without TLS from other machines: set tls.cert and tls.key, or put a proxy with TLS in front and name it in trusted_proxies"
        );
    }
}

/// Replaced in one step, so that a reader never sees half of it.
fn write_addresses(path: &Path, listeners: &Listeners) -> io::Result<()> {
    let mut document = json!({
        "listen": listeners.operators.local_addr()?.to_string(),
        "agent_listen": listeners.agents.local_addr()?.to_string(),
    });
    if let Some(metrics) = &listeners.metrics {
        document["metrics_listen"] = metrics.local_addr()?.to_string().into();
    }
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, format!("{document}\n"))?;
    std::fs::rename(&beside, path)
}

fn operator_tls(tls: &Tls) -> Result<Option<Arc<ServerConfig>>, RunError> {
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| RunError::Tls(error.to_string());
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(&error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}
