//! Renews a host's certificate, or locks the host. The rules are in `generations`; here they meet what is stored.
//!
//! Two renewals of one host that race are decided one after the other: each writes its decision only if the host's identity
//! is still as it was read, and decides again otherwise. Two that come from the same machine (its first answer was lost)
//! are given the same next generation, until that one has connected. One that comes from an older generation than the one
//! in use is another machine with the same identity: the host is locked, and its connection is cut.

use super::Agents;
use super::authority::AuthorityError;
use super::csr::Csr;
use super::generations::{self, Denial, Renew};
use super::identity::AgentCertificate;
use crate::audit::AuditContext;
use crate::db::DbError;
use crate::hosts::admission;

/// A renewal that meets another one of the same host is decided again; more than this many in a row is a client that
/// deserves to be told to try again.
const ROUNDS_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// Deleted, or never known here.
    #[error("there is no such host")]
    Unknown,
    #[error("denied: {0:?}")]
    Denied(Denial),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the certificate could not be signed")]
    Authority(#[from] AuthorityError),
}

#[derive(Clone, Debug)]
pub struct Renewed {
    pub certificate_pem: String,
    pub generation: i64,
}

/// Signs the next certificate of a host, or locks the host if two machines use its identity.
pub async fn renew(
    agents: &Agents,
    certificate: AgentCertificate,
    csr: &Csr,
    context: AuditContext,
) -> Result<Renewed, RenewalError> {
    let id = certificate.host_id;
    let now_us = agents.now_us();
    for _ in 0..ROUNDS_MAX {
        let host = admission::identity_of(agents.hosts(), id)
            .await?
            .ok_or(RenewalError::Unknown)?;
        let floor = host.standing.generation_floor();
        let decision = generations::decide_renew(
            host.approval,
            &host.identity,
            certificate.presented,
            csr.key_digest(),
            now_us,
        );
        match decision.above(floor) {
            Renew::Deny(denial) => return Err(RenewalError::Denied(denial)),
            Renew::Lock(identity) => {
                tracing::warn!(host_id = %id, reason = identity.locked_reason, "locked a host");
                admission::lock_host(agents.hosts(), context, id, identity).await?;
                return Err(RenewalError::Denied(Denial::Locked));
            }
            Renew::Issue {
                identity,
                generation,
            } => {
                let saved = identity == host.identity
                    || admission::save_identity(agents.hosts(), id, host.identity, identity)
                        .await?;
                if saved {
                    let certificate_pem = agents.sign(csr, id, generation, now_us)?;
                    return Ok(Renewed {
                        certificate_pem,
                        generation,
                    });
                }
            }
        }
    }
    Err(RenewalError::Db(DbError::Unavailable(
        "the host's identity keeps changing".to_owned(),
    )))
}
