//! May this agent connect, or fetch what belongs to its commands? The rules are in `generations`; here they meet what is
//! stored. What happens to a renewal is in `renewal`.

use fleetwright_protocol::Session;

use super::Agents;
use super::csr::Csr;
use super::generations::{self, Connect, Denial, Presented, Renew};
use super::identity::AgentCertificate;
use crate::db::DbError;
use crate::hosts::admission::{self, Known};
use crate::hosts::conflicts::{self, Visitor};
use crate::hosts::host::Approval;
use crate::hosts::sessions::{Verdict, judge};

/// A first connection with a renewed certificate that meets another change of the same host is decided again; more than
/// this many in a row is a client that deserves to be told to try again.
const ROUNDS_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Deleted, or never known here.
    #[error("there is no such host")]
    Unknown,
    #[error("denied: {0:?}")]
    Denied(Denial),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Lets a certificate's host connect, or says why not. In the usual case it is decided from memory alone.
pub async fn admit_connection(
    agents: &Agents,
    certificate: AgentCertificate,
) -> Result<(), ConnectError> {
    let id = certificate.host_id;
    let presented = certificate.presented;
    let now_us = agents.now_us();
    let known = agents
        .hosts()
        .registry()
        .get(id)
        .ok_or(ConnectError::Unknown)?;
    let is_usual = known.approval == Approval::Approved
        && !known.locked
        && known.current == presented.issued
        && presented.not_after_us >= now_us;
    if is_usual {
        return Ok(());
    }
    for _ in 0..ROUNDS_MAX {
        let host = admission::identity_of(agents.hosts(), id)
            .await?
            .ok_or(ConnectError::Unknown)?;
        if is_disowned(&host, presented) {
            return Err(ConnectError::Denied(Denial::Disowned));
        }
        match generations::decide_connect(host.approval, &host.identity, presented, now_us) {
            Connect::Accept => return Ok(()),
            Connect::Deny(denial) => return Err(ConnectError::Denied(denial)),
            Connect::AcceptAndPromote(identity) => {
                if admission::save_identity(agents.hosts(), id, host.identity, identity).await? {
                    return Ok(());
                }
            }
        }
    }
    Err(ConnectError::Db(DbError::Unavailable(
        "the host's identity keeps changing".to_owned(),
    )))
}

/// Whether a machine may renew, as far as its last session tells: not one that is a copy, which locks the host, and not
/// one that an operator decided against. Its certificate comes first: whoever finds one that may not renew any more, in an
/// old backup for example, must not be able to lock a host with it.
pub async fn admit_renewal(
    agents: &Agents,
    certificate: AgentCertificate,
    csr: &Csr,
    session: Option<Session>,
    visitor: Visitor,
) -> Result<(), ConnectError> {
    let id = certificate.host_id;
    let host = admission::identity_of(agents.hosts(), id)
        .await?
        .ok_or(ConnectError::Unknown)?;
    if is_disowned(&host, certificate.presented) {
        return Err(ConnectError::Denied(Denial::Disowned));
    }
    match judge(&host.standing, session.as_ref()) {
        Verdict::Next | Verdict::Again | Verdict::Broken => Ok(()),
        Verdict::Refused => Err(ConnectError::Denied(Denial::Disowned)),
        Verdict::Conflict(kind) => {
            let (presented, now_us) = (certificate.presented, agents.now_us());
            let key = csr.key_digest();
            match generations::decide_renew(host.approval, &host.identity, presented, key, now_us) {
                Renew::Deny(denial) => return Err(ConnectError::Denied(denial)),
                Renew::Issue { .. } | Renew::Lock(_) => {}
            }
            conflicts::lock(agents.hosts(), id, session, visitor, kind).await?;
            Err(ConnectError::Denied(Denial::Locked))
        }
    }
}

/// The certificate is that of a machine that an operator decided against.
fn is_disowned(host: &Known, presented: Presented) -> bool {
    let current = host.identity.current;
    host.standing.is_revoked(presented.issued, current)
}

/// Whether a certificate's host may fetch what belongs to its commands. Changes nothing.
pub async fn admit_download(
    agents: &Agents,
    certificate: AgentCertificate,
) -> Result<(), ConnectError> {
    let id = certificate.host_id;
    let host = admission::identity_of(agents.hosts(), id)
        .await?
        .ok_or(ConnectError::Unknown)?;
    let now_us = agents.now_us();
    if is_disowned(&host, certificate.presented) {
        return Err(ConnectError::Denied(Denial::Disowned));
    }
    match generations::decide_connect(host.approval, &host.identity, certificate.presented, now_us)
    {
        Connect::Accept | Connect::AcceptAndPromote(_) => Ok(()),
        Connect::Deny(denial) => Err(ConnectError::Denied(denial)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetwright_protocol::{HostId, SessionMark};
    use rcgen::{CertificateParams, KeyPair};
    use uuid::Uuid;

    use super::*;
    use crate::agents::AgentsParts;
    use crate::agents::renewal::{self, RenewalError};
    use crate::app::App;
    use crate::audit::AuditContext;
    use crate::clock::ManualClock;
    use crate::config::Config;
    use crate::hosts::actions::HostError;
    use crate::hosts::host::{Issued, KeyDigest, tests::host};
    use crate::hosts::sessions::{Conflict, ConflictKind, Keep, Side, Standing};
    use crate::hosts::store as hosts_store;

    const DAY_US: i64 = 24 * 3_600 * 1_000_000;
    const NOW_US: i64 = 20_000 * DAY_US;

    /// A server with one host, of generation 2, that has counted a session, and the folder it lies in.
    async fn server(conflict: Option<Conflict>) -> (Arc<App>, Agents, HostId, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: folder.path().join("data"),
            modules_dir: folder.path().join("modules"),
            ..Config::default()
        };
        crate::install_crypto();
        let clock = ManualClock::at(NOW_US);
        let (app, _workers) = App::build(config, clock, None).await.unwrap();
        let agents = Agents::open(AgentsParts::of(&app)).unwrap();
        let mut host = host(1);
        host.identity.current = issued(2);
        let id = host.id;
        let standing = Standing {
            last: Some(side(5)),
            conflict,
            refused: Vec::new(),
        };
        let stored = app.db.write(move |tx| {
            hosts_store::insert_in(tx, &host)?;
            hosts_store::sessions::save_in(tx, id, &standing)
        });
        stored.await.unwrap();
        (app, agents, id, folder)
    }

    fn issued(generation: i64) -> Issued {
        let key = KeyDigest([7; 32]);
        Issued { generation, key }
    }

    fn side(counter: u64) -> Side {
        let nonce = Uuid::from_u128(counter.into());
        Side {
            address: "10.0.0.1".into(),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            mark: Some(SessionMark { counter, nonce }),
            issued: issued(2),
            at_us: 1,
            is_continued: true,
        }
    }

    fn csr() -> Csr {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key);
        Csr::parse(&request.unwrap().pem().unwrap()).unwrap()
    }

    fn certificate(host_id: HostId, generation: i64, not_after_us: i64) -> AgentCertificate {
        let presented = Presented {
            issued: issued(generation),
            not_after_us,
        };
        AgentCertificate { host_id, presented }
    }

    #[tokio::test]
    async fn a_certificate_that_may_not_renew_locks_nobody() {
        let (app, agents, id, _folder) = server(None).await;
        let visitor = Visitor::new("10.9.9.9".into(), "", "", issued(2));
        let old = certificate(id, 1, NOW_US - 31 * DAY_US);
        let denied = admit_renewal(&agents, old, &csr(), None, visitor.clone()).await;
        let is_expired = matches!(denied, Err(ConnectError::Denied(Denial::Expired)));
        assert!(is_expired, "{denied:?}");
        let reason = async || {
            let host = hosts_store::get(&app.db, id).await.unwrap().unwrap();
            host.identity.locked_reason
        };
        assert_eq!(reason().await, None);
        // One that may renew is a second machine.
        let current = certificate(id, 2, NOW_US);
        let denied = admit_renewal(&agents, current, &csr(), None, visitor).await;
        let is_locked = matches!(denied, Err(ConnectError::Denied(Denial::Locked)));
        assert!(is_locked, "{denied:?}");
        assert!(reason().await.is_some());
    }

    #[tokio::test]
    async fn a_lock_by_an_older_certificate_leaves_no_decided_conflict_to_choose_from() {
        let decided = Conflict {
            kind: ConflictKind::OtherName,
            at_us: 1,
            earlier: side(5),
            later: side(4),
            kept: Some(Keep::Earlier),
        };
        let (app, agents, id, _folder) = server(Some(decided)).await;
        let older = certificate(id, 1, NOW_US);
        let context = AuditContext::system("test");
        let denied = renewal::renew(&agents, older, &csr(), context.clone()).await;
        let is_locked = matches!(denied, Err(RenewalError::Denied(Denial::Locked)));
        assert!(is_locked, "{denied:?}");
        let unlocked = conflicts::unlock(&app.hosts, context.clone(), id, Some(Keep::Later)).await;
        let Err(HostError::Invalid(found)) = unlocked else {
            panic!("unlocked for a machine of long ago");
        };
        assert_eq!(found[0].code, "keep-unknown");
        conflicts::unlock(&app.hosts, context, id, None)
            .await
            .unwrap();
    }
}
