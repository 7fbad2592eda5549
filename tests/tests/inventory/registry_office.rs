//! The inventory and the agents' part on a real database, without their sockets.

use std::path::Path;
use std::sync::Arc;

use fleetwright_plugin_api::wire::HostChange;
use fleetwright_protocol::frame::Hello;
use fleetwright_protocol::{Facts, HostId, JournalId};
use fleetwright_server::agents::enrollment::{
    self, EnrollError, EnrollRequest, Enrolled, NewToken,
};
use fleetwright_server::agents::identity::AgentCertificate;
use fleetwright_server::agents::{Agents, AgentsParts};
use fleetwright_server::audit::AuditContext;
use fleetwright_server::clock::ManualClock;
use fleetwright_server::commands::Commands;
use fleetwright_server::commands::actions::end_with_host;
use fleetwright_server::commands::outputs::Spool;
use fleetwright_server::commands::{CommandsParts, workers as work_of_commands};
use fleetwright_server::db::{Db, Statement};
use fleetwright_server::events::{Events, Signals};
use fleetwright_server::hosts::actions::HostError;
use fleetwright_server::hosts::deletion;
use fleetwright_server::hosts::host::Reported;
use fleetwright_server::hosts::{Hosts, HostsParts, presence};
use fleetwright_server::links::Connections;
use fleetwright_server::secrets::seal::{KEY_BYTES, SealKey};
use fleetwright_server::secrets::{Secrets, SecretsParts};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use uuid::Uuid;

pub const START_US: i64 = 1_770_000_000_000_000;

pub struct Office {
    pub hosts: Hosts,
    pub agents: Agents,
    pub commands: Commands,
    pub connections: Connections,
    pub clock: Arc<ManualClock>,
}

/// A machine: its key, and the certificate it holds.
pub struct Machine {
    pub key: KeyPair,
    pub name: String,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
            name: name.to_owned(),
        }
    }

    pub fn csr(&self) -> String {
        let request = CertificateParams::default().serialize_request(&self.key);
        request.unwrap().pem().unwrap()
    }
}

impl Office {
    /// On the same database and folder again, it is a restart.
    pub async fn open(db: &Db, folder: &Path, clock: &Arc<ManualClock>) -> Self {
        let connections = Connections::default();
        let parts = HostsParts {
            clock: clock.clone(),
            db: db.clone(),
            signals: Signals::default(),
            events: Events::new(Uuid::nil()),
            connections: connections.clone(),
        };
        let hosts = Hosts::load(parts).await.unwrap();
        let agents = Agents::open(AgentsParts {
            certificate_lifetime: std::time::Duration::from_secs(24 * 3600),
            clock: clock.clone(),
            db: db.clone(),
            hosts: hosts.clone(),
            data_dir: folder.to_owned(),
            agent_names: Vec::new(),
        });
        let secrets = Secrets::new(SecretsParts {
            db: db.clone(),
            clock: clock.clone(),
            key: SealKey::new(&[7; KEY_BYTES]).expect("it is a key"),
            installation: "test".to_owned(),
        });
        let (commands, _workers) = work_of_commands::prepare(CommandsParts {
            db: db.clone(),
            clock: clock.clone(),
            registry: hosts.registry().clone(),
            connections: connections.clone(),
            signals: Signals::default(),
            spool: Spool::open(folder).unwrap(),
            secrets,
        });
        Self {
            hosts,
            agents: agents.unwrap(),
            commands,
            connections,
            clock: clock.clone(),
        }
    }

    /// Whatever its revision is.
    pub async fn delete(&self, id: HostId) -> Result<(), HostError> {
        let end_commands = end_with_host(&self.commands);
        deletion::delete_host(&self.hosts, operator(), id, |_| true, end_commands).await
    }

    pub async fn token(&self, uses: i64, auto_approve: bool) -> String {
        let new = NewToken {
            name: "roll-out".into(),
            uses: Some(uses),
            auto_approve,
            tags: vec!["enrolled".into()],
            ..NewToken::default()
        };
        let created = enrollment::create_token(&self.agents, operator(), new, |_, _| Ok(()));
        created.await.unwrap().text
    }

    pub async fn enroll(&self, token: &str, machine: &Machine) -> Result<Enrolled, EnrollError> {
        let request = EnrollRequest {
            token: token.to_owned(),
            csr_pem: machine.csr(),
            reported: Reported {
                facts: facts(&machine.name),
                ..Reported::default()
            },
        };
        let from = "192.0.2.1".to_owned();
        enrollment::enroll(&self.agents, from, "r-1".to_owned(), request).await
    }

    /// Enrols a machine that is approved at once.
    pub async fn approved(&self, name: &str) -> HostId {
        let token = self.token(1, true).await;
        let enrolled = self.enroll(&token, &Machine::new(name)).await.unwrap();
        enrolled.admitted.host_id
    }

    /// Follows the feed from the beginning in small pages; every host's last entry.
    pub async fn followed(&self) -> Vec<HostChange> {
        let (mut revision, mut all) = (0, Vec::new());
        loop {
            let page = self.hosts.changes(revision, 2).await.unwrap();
            revision = page.revision;
            all.extend(page.changes);
            if page.at_end {
                return all;
            }
        }
    }

    pub async fn save_presence(&self) -> usize {
        presence::save_presence(&self.hosts).await.unwrap()
    }
}

pub fn operator() -> AuditContext {
    AuditContext {
        principal: "user:1".into(),
        principal_name: "kim".into(),
        ..AuditContext::default()
    }
}

pub fn facts(name: &str) -> Facts {
    Facts {
        fqdn: Some(name.to_owned()),
        platform: Some("linux".into()),
        ipv4: vec!["192.0.2.9".into()],
        cpu_count: Some(4),
        memory_total_mb: Some(8_192),
        kvm_available: Some(true),
        ..Facts::default()
    }
}

pub fn hello(name: &str, journal: u128) -> Hello {
    Hello {
        protocol: "1.0".into(),
        journal_id: JournalId(Uuid::from_u128(journal)),
        boot_id: String::new(),
        facts: facts(name),
        tags: vec!["said".into()],
        attributes: [("site".to_owned(), "east".to_owned())].into(),
        capabilities: Default::default(),
        journal: Vec::new(),
    }
}

pub fn certificate(pem: &str) -> AgentCertificate {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    AgentCertificate::parse(&der).unwrap()
}

/// How often each action is in the audit log.
pub async fn audited(db: &Db, action: &str) -> i64 {
    let sql = "SELECT CAST(COUNT(*) AS BIGINT) AS count FROM audit WHERE action = $1";
    let rows = db.read(Statement::new(sql).bind(action)).await.unwrap();
    rows.first().unwrap().integer("count").unwrap()
}
