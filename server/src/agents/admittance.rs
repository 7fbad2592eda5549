//! Judges presented certificates: may this agent connect, may it renew. The rules are in `generations`; here they meet
//! what is stored.

use super::Agents;
use super::authority::AuthorityError;
use super::csr::Csr;
use super::generations::{self, Connect, Refusal, Renew};
use super::identity::AgentCertificate;
use crate::audit::AuditContext;
use crate::db::DbError;
use crate::hosts::admission;
use crate::hosts::host::Approval;

/// A renewal or a first connection that meets another one of the same host is decided again; more than this many in a
/// row is a client that deserves to be told to try again.
const ROUNDS_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum AdmittanceError {
    /// Deleted, or never known here.
    #[error("there is no such host")]
    Unknown,
    #[error("refused: {0:?}")]
    Refused(Refusal),
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

/// Lets a certificate's host connect, or says why not. In the usual case it is decided from memory alone.
pub async fn admit_connection(
    agents: &Agents,
    certificate: AgentCertificate,
) -> Result<(), AdmittanceError> {
    let id = certificate.host_id;
    let presented = certificate.presented;
    let now_us = agents.now_us();
    let known = agents
        .hosts()
        .registry()
        .get(id)
        .ok_or(AdmittanceError::Unknown)?;
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
            .ok_or(AdmittanceError::Unknown)?;
        match generations::decide_connect(host.approval, &host.identity, presented, now_us) {
            Connect::Accept => return Ok(()),
            Connect::Refuse(refusal) => return Err(AdmittanceError::Refused(refusal)),
            Connect::AcceptAndPromote(identity) => {
                if admission::save_identity(agents.hosts(), id, host.identity, identity).await? {
                    return Ok(());
                }
            }
        }
    }
    Err(busy())
}

/// Whether a certificate's host may fetch what belongs to its commands. Changes nothing.
pub async fn admit_download(
    agents: &Agents,
    certificate: AgentCertificate,
) -> Result<(), AdmittanceError> {
    let id = certificate.host_id;
    let host = admission::identity_of(agents.hosts(), id)
        .await?
        .ok_or(AdmittanceError::Unknown)?;
    let now_us = agents.now_us();
    match generations::decide_connect(host.approval, &host.identity, certificate.presented, now_us)
    {
        Connect::Accept | Connect::AcceptAndPromote(_) => Ok(()),
        Connect::Refuse(refusal) => Err(AdmittanceError::Refused(refusal)),
    }
}

/// Signs the next certificate of a host, or locks the host if two machines use its identity.
pub async fn renew(
    agents: &Agents,
    certificate: AgentCertificate,
    csr: &Csr,
    context: AuditContext,
) -> Result<Renewed, AdmittanceError> {
    let id = certificate.host_id;
    let now_us = agents.now_us();
    for _ in 0..ROUNDS_MAX {
        let host = admission::identity_of(agents.hosts(), id)
            .await?
            .ok_or(AdmittanceError::Unknown)?;
        let decision = generations::decide_renew(
            host.approval,
            &host.identity,
            certificate.presented,
            csr.key_digest(),
            now_us,
        );
        match decision {
            Renew::Refuse(refusal) => return Err(AdmittanceError::Refused(refusal)),
            Renew::Lock(identity) => {
                tracing::warn!(host_id = %id, reason = identity.locked_reason, "locked a host");
                admission::lock_host(agents.hosts(), context, id, identity).await?;
                return Err(AdmittanceError::Refused(Refusal::Locked));
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
    Err(busy())
}

fn busy() -> AdmittanceError {
    AdmittanceError::Db(DbError::Unavailable(
        "the host's identity keeps changing".to_owned(),
    ))
}
