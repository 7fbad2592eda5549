//! How a host gets into the inventory and how its identity moves on: enrollment, renewal, connecting. The rules of
//! generations are in `agents::generations`; tokens and certificates are the agents' side. A host is known again by
//! its key.

use fleetwright_protocol::HostId;
use serde_json::json;
use uuid::Uuid;

use super::events::publish;
use super::host::{Approval, Host, Identity, Issued, KeyDigest, Labels, Reported};
use super::sessions::Standing;
use super::{Hosts, keeping, store};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};

/// An agent that showed a valid enrollment token and proof of its key.
#[derive(Clone, Debug)]
pub struct Admission {
    pub key: KeyDigest,
    pub reported: Reported,
    pub token_id: Uuid,
    /// The token's tags, for the host's labels.
    pub tags: Vec<String>,
    pub auto_approve: bool,
    /// The id it gets if its key is new.
    pub new_id: HostId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub host_id: HostId,
    pub generation: i64,
    pub approval: Approval,
    /// Whether this takes one of the token's uses; a repeated request, whose answer was lost, does not.
    pub takes_use: bool,
}

/// What is known of a host that presents a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub approval: Approval,
    pub identity: Identity,
    pub standing: Standing,
}

/// What an enrollment means for what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionDecision {
    New,
    /// The same key with the same token as before: the answer was lost.
    Repeated,
    /// A known host that enrolls anew keeps its id.
    Returned {
        identity: Identity,
        approval: Approval,
    },
    /// An operator rejected this host; a token does not overrule that.
    Refused,
}

#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("the host was rejected by an operator")]
    Rejected,
    #[error(transparent)]
    Db(#[from] DbError),
}

pub fn decide_admission(known: Option<&Host>, admission: &Admission) -> AdmissionDecision {
    let Some(host) = known else {
        return AdmissionDecision::New;
    };
    match host.approval {
        Approval::Rejected => return AdmissionDecision::Refused,
        Approval::Pending | Approval::Approved => {}
    }
    let identity = &host.identity;
    if host.enrolled_with == Some(admission.token_id) && identity.current.key == admission.key {
        return AdmissionDecision::Repeated;
    }
    let newest = identity
        .next
        .map_or(identity.current.generation, |next| next.generation);
    // A lock is lifted by an operator only: whoever cloned the machine has its key too.
    let approval = if admission.auto_approve && identity.locked_reason.is_none() {
        Approval::Approved
    } else {
        Approval::Pending
    };
    AdmissionDecision::Returned {
        identity: Identity {
            current: Issued {
                generation: newest + 1,
                key: admission.key,
            },
            next: None,
            locked_reason: identity.locked_reason.clone(),
        },
        approval,
    }
}

/// Stores a host that enrolls.
pub fn admit_in(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    context: &AuditContext,
    admission: Admission,
) -> Result<Admitted, AdmissionError> {
    let known = store::find_by_key_in(tx, admission.key)?;
    let decision = decide_admission(known.as_ref(), &admission);
    let (host, takes_use) = match (decision, known) {
        (AdmissionDecision::Refused, _) => return Err(AdmissionError::Rejected),
        (AdmissionDecision::Repeated, Some(host)) => (host, false),
        (AdmissionDecision::Returned { identity, approval }, Some(host)) => {
            (returned_in(tx, host, identity, approval, &admission)?, true)
        }
        (
            AdmissionDecision::New
            | AdmissionDecision::Repeated
            | AdmissionDecision::Returned { .. },
            _,
        ) => (new_in(hosts, tx, &admission)?, true),
    };
    if takes_use {
        let detail = json!({
            "token_id": admission.token_id,
            "approval_status": host.approval.as_str(),
            "generation": host.identity.current.generation,
        });
        let entry = audit::entry("host.enroll", "host", host.id, detail);
        audit::append(tx, hosts.now_us(), context, &entry)?;
        hosts.announce(tx, host.revision);
        let kind = match host.approval {
            Approval::Approved => "host.enrolled",
            Approval::Pending | Approval::Rejected => "host.pending",
        };
        publish(hosts, tx, kind, host.id, json!({}));
        let (hosts, host) = (hosts.clone(), host.clone());
        tx.after_commit(move || {
            // In this order: a connection that is just being made either sees the new identity or is seen here.
            hosts.registry().put(&host);
            hosts.registry().set_reported(host.id, 0);
            hosts
                .parts()
                .connections
                .cut(host.id, "the host enrolled anew");
        });
    }
    Ok(Admitted {
        host_id: host.id,
        generation: host.identity.current.generation,
        approval: host.approval,
        takes_use,
    })
}

/// What a certificate of this host is judged by; `None` for an unknown host.
pub async fn identity_of(hosts: &Hosts, id: HostId) -> Result<Option<Known>, DbError> {
    let Some(host) = store::get(hosts.db(), id).await? else {
        return Ok(None);
    };
    let found = store::sessions::standing(hosts.db(), id).await?;
    Ok(Some(Known {
        approval: host.approval,
        identity: host.identity,
        standing: found.unwrap_or_default().standing,
    }))
}

/// Stores a changed identity, if the host still has the one the change was decided on. Returns whether it had.
pub async fn save_identity(
    hosts: &Hosts,
    id: HostId,
    decided_on: Identity,
    identity: Identity,
) -> Result<bool, DbError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let Some(mut host) = store::get_in(tx, id)? else {
                return Ok(false);
            };
            if host.identity != decided_on {
                return Ok(false);
            }
            // Nothing of it is in the feed, but an operator's `If-Match` must not notice renewals either.
            store::save_identity_in(tx, id, host.revision, &identity)?;
            host.identity = identity;
            tx.after_commit(move || handle.registry().put(&host));
            Ok::<bool, DbError>(true)
        })
        .await
}

/// Locks a host out because two machines share its identity, and tells the operators.
pub async fn lock_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    identity: Identity,
) -> Result<(), DbError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let Some(mut host) = store::get_in(tx, id)? else {
                return Ok(());
            };
            if host.identity.locked_reason.is_some() {
                return Ok(());
            }
            host.identity.locked_reason = identity.locked_reason;
            host.revision = store::take_revisions(tx, 1)?;
            store::save_identity_in(tx, id, host.revision, &host.identity)?;
            keeping::forget_decided_in(tx, id)?;
            let detail = json!({"reason": host.identity.locked_reason});
            let entry = audit::entry("host.lock", "host", id, detail.clone());
            audit::append(tx, handle.now_us(), &context, &entry)?;
            handle.announce(tx, host.revision);
            publish(&handle, tx, "host.locked", id, detail);
            tx.after_commit(move || {
                handle.registry().put(&host);
                handle
                    .parts()
                    .connections
                    .cut(id, "two machines share this identity");
            });
            Ok::<(), DbError>(())
        })
        .await
}

fn new_in(hosts: &Hosts, tx: &mut Tx<'_>, admission: &Admission) -> Result<Host, DbError> {
    let host = Host {
        id: admission.new_id,
        revision: store::take_revisions(tx, 1)?,
        approval: if admission.auto_approve {
            Approval::Approved
        } else {
            Approval::Pending
        },
        online: false,
        created_at_us: hosts.now_us(),
        last_seen_us: None,
        reported: admission.reported.clone(),
        labels: Labels {
            tags: admission.tags.clone(),
            ..Labels::default()
        },
        // The token's maker lets the host in, and by that name.
        pinned: admission.auto_approve.then(|| admission.reported.names()),
        identity: Identity {
            current: Issued {
                generation: 1,
                key: admission.key,
            },
            next: None,
            locked_reason: None,
        },
        journal_id: None,
        enrolled_with: Some(admission.token_id),
    };
    store::insert_in(tx, &host)?;
    Ok(host)
}

fn returned_in(
    tx: &mut Tx<'_>,
    mut host: Host,
    identity: Identity,
    approval: Approval,
    admission: &Admission,
) -> Result<Host, DbError> {
    host.revision = store::take_revisions(tx, 1)?;
    host.identity = identity;
    let floor = keeping::begin_anew_in(tx, host.id)?;
    let current = &mut host.identity.current;
    current.generation = current.generation.max(floor + 1);
    host.approval = approval;
    host.enrolled_with = Some(admission.token_id);
    host.reported = admission.reported.clone();
    host.labels.tags.extend(admission.tags.iter().cloned());
    host.labels.tags.sort_unstable();
    host.labels.tags.dedup();
    // A known host keeps its name, whatever token it comes back with.
    if approval == Approval::Approved && host.pinned.is_none() {
        host.pinned = Some(host.reported.names());
    }
    let (id, revision) = (host.id, host.revision);
    store::save_approval_in(tx, std::slice::from_ref(&host), revision, approval)?;
    store::save_identity_in(tx, id, revision, &host.identity)?;
    store::save_enrolled_with_in(tx, id, admission.token_id)?;
    store::save_labels_in(tx, id, revision, &host.labels)?;
    store::save_reported_in(tx, revision, &host)?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::host::tests::host;

    fn admission(key: u8, token: u128, auto_approve: bool) -> Admission {
        Admission {
            key: KeyDigest([key; 32]),
            reported: Reported::default(),
            token_id: Uuid::from_u128(token),
            tags: Vec::new(),
            auto_approve,
            new_id: HostId(Uuid::from_u128(99)),
        }
    }

    fn known(token: u128) -> Host {
        Host {
            enrolled_with: Some(Uuid::from_u128(token)),
            ..host(1)
        }
    }

    #[test]
    fn an_unknown_key_is_a_new_host() {
        let decision = decide_admission(None, &admission(1, 1, false));
        assert_eq!(decision, AdmissionDecision::New);
    }

    #[test]
    fn the_same_key_and_token_again_is_a_lost_answer() {
        let decision = decide_admission(Some(&known(5)), &admission(7, 5, false));
        assert_eq!(decision, AdmissionDecision::Repeated);
    }

    #[test]
    fn a_known_host_returns_with_a_newer_generation_and_needs_approval_again() {
        let mut host = known(5);
        let key = KeyDigest([7; 32]);
        host.identity.next = Some(Issued { generation: 2, key });
        for (auto_approve, expected) in [(false, Approval::Pending), (true, Approval::Approved)] {
            let AdmissionDecision::Returned { identity, approval } =
                decide_admission(Some(&host), &admission(7, 6, auto_approve))
            else {
                panic!("not returned");
            };
            assert_eq!(identity.current.generation, 3);
            assert_eq!((identity.next, approval), (None, expected));
        }
    }

    #[test]
    fn a_token_neither_unlocks_nor_unrejects_a_host() {
        let mut locked = known(5);
        locked.identity.locked_reason = Some("clone".into());
        let AdmissionDecision::Returned { identity, approval } =
            decide_admission(Some(&locked), &admission(7, 6, true))
        else {
            panic!("not returned");
        };
        assert_eq!(approval, Approval::Pending);
        assert!(identity.locked_reason.is_some());
        let mut rejected = known(5);
        rejected.approval = Approval::Rejected;
        for token in [5, 6] {
            let decision = decide_admission(Some(&rejected), &admission(7, token, true));
            assert_eq!(decision, AdmissionDecision::Refused);
        }
    }
}
