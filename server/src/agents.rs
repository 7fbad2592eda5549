//! Agents: how they enroll, prove who they are, renew and connect. The conversation over a live connection is in
//! `connection` and
//! `conversation`; what agents report about their hosts goes to `hosts`, about commands to `commands`.

pub mod authority;
pub mod blob_upkeep;
pub mod blobs;
pub mod connect;
pub mod connection;
pub mod conversation;
pub mod csr;
pub mod enrollment;
pub mod generations;
pub mod http;
pub mod identity;
pub mod renewal;
pub mod store;
pub mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::auth::rate::{Key, RateLimit};
use crate::clock::{Now, SharedClock};
use crate::db::Db;
use crate::hosts::Hosts;
use crate::http::peer;
use crate::loops::{Loop, Loops};
use authority::{Authority, AuthorityError};
use blobs::BlobStore;
use tls::PortCertificate;

/// Failed enrollments of an address per period. A token has 256 bits, so this only keeps the log and the database quiet.
const FAILURES_MAX: u32 = 20;
const FAILURES_PERIOD_US: i64 = 60 * 1_000_000;

/// What the agents' part needs of the rest of the server.
#[derive(Clone)]
pub struct AgentsParts {
    pub clock: SharedClock,
    pub db: Db,
    pub hosts: Hosts,
    /// Holds the authority's key and certificate, and the blobs.
    pub data_dir: PathBuf,
    /// Names and addresses by which agents reach the agent port.
    pub agent_names: Vec<String>,
    /// How long an agent's certificate is good for.
    pub certificate_lifetime: Duration,
    /// Of uploaded content altogether.
    pub blob_bytes_max: u64,
}

/// A handle on the authority, enrollment and blobs; cheap to clone.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<AgentsState>,
}

struct AgentsState {
    parts: AgentsParts,
    authority: Authority,
    certificate: Arc<PortCertificate>,
    blobs: BlobStore,
    /// Of failed enrollments, by address.
    failures: RateLimit,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("cannot use the folder for blobs")]
    Blobs(#[from] std::io::Error),
}

impl AgentsParts {
    /// Those of a server.
    pub fn of(app: &App) -> Self {
        Self {
            clock: app.clock.clone(),
            db: app.db.clone(),
            hosts: app.hosts.clone(),
            data_dir: app.config.data_dir.clone(),
            agent_names: app.config.agent_names.clone(),
            certificate_lifetime: Duration::from_secs(app.config.agent_certificate_seconds),
            blob_bytes_max: app
                .config
                .limits
                .blobs_mebibytes
                .saturating_mul(1024 * 1024),
        }
    }
}

impl Agents {
    /// Reads the authority, or makes it on first start. Blocking file access, so for start-up only.
    pub fn open(parts: AgentsParts) -> Result<Self, AgentsError> {
        let now_us = parts.clock.now_us();
        let authority = Authority::open(&parts.data_dir, now_us)?;
        let names = parts.agent_names.clone();
        Ok(Self {
            inner: Arc::new(AgentsState {
                certificate: PortCertificate::new(&authority, names, now_us)?,
                authority,
                blobs: BlobStore::open(&parts.data_dir.join("blobs"), parts.blob_bytes_max)?,
                failures: RateLimit::new(FAILURES_MAX, FAILURES_PERIOD_US),
                parts,
            }),
        })
    }

    /// Keeps the agent port's certificate young until shutdown.
    pub async fn run(self, loops: Loops, shutdown: CancellationToken) {
        let renewing = loops.take(Loop::Certificate).every(|| async {
            let certificate = &self.inner.certificate;
            match certificate.renew_if_due(self.authority(), self.now_us()) {
                Ok(true) => tracing::info!("renewed the agent port's certificate"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the agent port's certificate could not be renewed")
                }
            }
        });
        tokio::select! {
            () = renewing => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// TLS for the agent port.
    pub fn tls(&self) -> Result<Arc<ServerConfig>, AuthorityError> {
        tls::server_config(self.authority(), self.inner.certificate.clone())
    }

    pub fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    /// Signs a certificate of this host for the request's key; returns it as PEM.
    fn sign(
        &self,
        csr: &csr::Csr,
        host: fleetwright_protocol::HostId,
        generation: i64,
        now_us: i64,
    ) -> Result<String, AuthorityError> {
        let lifetime = self.inner.parts.certificate_lifetime;
        self.authority()
            .sign_client(csr, host, generation, now_us, lifetime)
    }

    pub fn blobs(&self) -> &BlobStore {
        &self.inner.blobs
    }

    pub fn hosts(&self) -> &Hosts {
        &self.inner.parts.hosts
    }

    pub fn db(&self) -> &Db {
        &self.inner.parts.db
    }

    pub fn now(&self) -> Now {
        self.inner.parts.clock.now()
    }

    pub fn now_us(&self) -> i64 {
        self.now().wall_us
    }

    pub fn new_id(&self) -> Uuid {
        self.inner.parts.clock.new_id()
    }

    /// Counts a failed enrollment of an address, or says after how many seconds to come again. A valid token is asked for
    /// no limit: thousands of agents may sit behind one address, together with one that tries in vain.
    fn count_failed_enrollment(&self, address: IpAddr) -> Result<(), u64> {
        let key = Key::of(&[&peer::network(address).to_string()]);
        let now_us = self.inner.parts.clock.monotonic_us();
        self.inner.failures.take(key, now_us)
    }
}
