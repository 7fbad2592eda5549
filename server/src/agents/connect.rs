//! May this agent connect, or fetch what belongs to its commands? The rules are in `generations`; here they meet what is
//! stored. What happens to a renewal is in `renewal`.

use fleetwright_protocol::Session;

use super::Agents;
use super::generations::{self, Connect, Denial, Presented};
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
/// one that an operator decided against.
pub async fn admit_renewal(
    agents: &Agents,
    certificate: AgentCertificate,
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
    match generations::decide_connect(host.approval, &host.identity, certificate.presented, now_us)
    {
        Connect::Accept | Connect::AcceptAndPromote(_) => Ok(()),
        Connect::Deny(denial) => Err(ConnectError::Denied(denial)),
    }
}
