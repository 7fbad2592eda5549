//! What operators do to hosts: approve, reject, label. Each is one transaction with its audit row. None creates
//! anything and all are idempotent or refuse the second time, so none needs an idempotency key.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_protocol::{HostId, Violation};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::host::{Approval, Host, Labels};
use super::keeping;
use super::{Hosts, labels, store};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};
use crate::events::{Event, Visibility};

pub use super::reports::{record_facts, record_hello, record_offline, save_journal_in};
pub use super::store::missing_in;

/// Hosts that one request may approve: ten screens of the largest page, one short transaction.
pub const APPROVE_MAX: usize = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("there is no such host")]
    NotFound,
    #[error("{0}")]
    InvalidTransition(&'static str),
    /// `If-Match` names another revision.
    #[error("the host has changed since it was read")]
    Stale,
    #[error("the input is not valid")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A change of the operator's labels; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct HostPatch {
    pub tags: Option<Vec<String>>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub reserved: Option<bool>,
}

/// Lets a host in. Also lifts a lock, in favour of the machine that was known before, and lets a rejected host in after
/// all.
pub async fn approve_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
) -> Result<Host, HostError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if !waits(&host) {
                return Err(HostError::InvalidTransition(
                    "The host is already approved.",
                ));
            }
            decide_approval(&handle, tx, &context, &host, Approval::Approved)
        })
        .await
}

/// Shuts a host out: its connection is cut and its certificate is no longer renewed.
pub async fn reject_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
) -> Result<Host, HostError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if host.approval == Approval::Rejected {
                return Err(HostError::InvalidTransition(
                    "The host is already rejected.",
                ));
            }
            decide_approval(&handle, tx, &context, &host, Approval::Rejected)
        })
        .await
}

/// How many hosts [`approve_hosts`] let in, and how many were in already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approved {
    pub approved: usize,
    pub unchanged: usize,
}

/// Lets many hosts in; all of them or, if one is unknown, none. Repeated, it changes nothing more.
pub async fn approve_hosts(
    hosts: &Hosts,
    context: AuditContext,
    ids: Vec<HostId>,
) -> Result<Approved, HostError> {
    if ids.is_empty() || ids.len() > APPROVE_MAX {
        let detail = format!("must hold between 1 and {APPROVE_MAX} ids");
        let found = Violation::new("/host_ids", "host-ids-invalid", detail);
        return Err(HostError::Invalid(vec![found]));
    }
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let wanted: BTreeSet<HostId> = ids.iter().copied().collect();
            let wanted: Vec<HostId> = wanted.into_iter().collect();
            let known = store::get_many_in(tx, &wanted)?;
            if known.len() < wanted.len() {
                return Err(HostError::Invalid(unknown(&ids, &known)));
            }
            let waiting: Vec<HostId> = known
                .iter()
                .filter(|host| waits(host))
                .map(|host| host.id)
                .collect();
            let outcome = Approved {
                approved: waiting.len(),
                unchanged: known.len() - waiting.len(),
            };
            if !waiting.is_empty() {
                approve_in(&handle, tx, &context, waiting)?;
                unlock_in(&handle, tx, known)?;
            }
            Ok(outcome)
        })
        .await
}

/// Changes the operator's labels, if the host is at a revision that the caller expects.
pub async fn patch_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    patch: HostPatch,
    is_expected: impl FnOnce(i64) -> bool + Send + 'static,
) -> Result<Host, HostError> {
    let patch = checked(patch).map_err(HostError::Invalid)?;
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let mut host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if !is_expected(host.revision) {
                return Err(HostError::Stale);
            }
            let before = host.labels.clone();
            if let Some(tags) = patch.tags {
                host.labels.tags = tags;
            }
            if let Some(attributes) = patch.attributes {
                host.labels.attributes = attributes;
            }
            if let Some(reserved) = patch.reserved {
                host.labels.reserved = reserved;
            }
            if host.labels == before {
                return Ok(host);
            }
            host.revision = store::take_revisions(tx, 1)?;
            store::save_labels_in(tx, id, host.revision, &host.labels, &host.reported)?;
            let detail = json!({"before": digest(&before), "after": digest(&host.labels)});
            audit::append(
                tx,
                handle.now_us(),
                &context,
                &audit::entry("host.update", "host", id, detail),
            )?;
            handle.announce(tx, host.revision);
            publish(&handle, tx, "host.updated", id, json!({}));
            Ok(host)
        })
        .await
}

/// Whether approving the host changes anything.
fn waits(host: &Host) -> bool {
    host.approval != Approval::Approved || host.identity.locked_reason.is_some()
}

fn decide_approval(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    context: &AuditContext,
    host: &Host,
    approval: Approval,
) -> Result<Host, HostError> {
    let (action, kind) = match approval {
        Approval::Approved => ("host.approve", "host.approved"),
        Approval::Rejected | Approval::Pending => ("host.reject", "host.rejected"),
    };
    let id = host.id;
    let mut decided = host.clone();
    decided.revision = store::take_revisions(tx, 1)?;
    decided.approval = approval;
    decided.identity.locked_reason = None;
    store::save_approval_in(tx, &[id], decided.revision, approval)?;
    if approval == Approval::Approved && keeping::keep_known_in(tx, &mut decided)? {
        store::save_identity_in(tx, id, decided.revision, &decided.identity)?;
    }
    let detail =
        json!({"before": host.approval.as_str(), "locked": host.identity.locked_reason.is_some()});
    audit::append(
        tx,
        hosts.now_us(),
        context,
        &audit::entry(action, "host", id, detail),
    )?;
    hosts.announce(tx, decided.revision);
    publish(hosts, tx, kind, id, json!({}));
    let hosts = hosts.clone();
    let put = decided.clone();
    tx.after_commit(move || {
        hosts.registry().put(&put);
        match approval {
            Approval::Approved | Approval::Pending => {}
            Approval::Rejected => hosts.parts().connections.cut(id, "the host was rejected"),
        }
    });
    Ok(decided)
}

fn approve_in(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    context: &AuditContext,
    ids: Vec<HostId>,
) -> Result<(), DbError> {
    let first = store::take_revisions(tx, ids.len())?;
    store::save_approval_in(tx, &ids, first, Approval::Approved)?;
    let mut all = Sha256::new();
    ids.iter().for_each(|id| all.update(id.as_bytes()));
    let detail = json!({"count": ids.len(), "ids_sha256": hex::encode(all.finalize())});
    // One request is one mutation: its row names the hosts by count and digest, each host's own by its revision.
    audit::append(
        tx,
        hosts.now_us(),
        context,
        &audit::entry("host.approve", "hosts", ids.len(), detail),
    )?;
    hosts.announce(tx, first + i64::try_from(ids.len()).unwrap_or(i64::MAX) - 1);
    let hosts = hosts.clone();
    tx.after_commit(move || {
        hosts.registry().set_approval(&ids, Approval::Approved);
        hosts.parts().events.publish(changed_event(ids.len()));
    });
    Ok(())
}

/// Of those that were locked because two machines were met, the one known before is the host.
fn unlock_in(hosts: &Hosts, tx: &mut Tx<'_>, known: Vec<Host>) -> Result<(), DbError> {
    for mut host in known {
        if host.identity.locked_reason.take().is_none() {
            continue;
        }
        if !keeping::keep_known_in(tx, &mut host)? {
            continue;
        }
        // Its revision was raised with its approval.
        let Some(approved) = store::get_in(tx, host.id)? else {
            continue;
        };
        host.revision = approved.revision;
        host.approval = approved.approval;
        store::save_identity_in(tx, host.id, host.revision, &host.identity)?;
        let hosts = hosts.clone();
        tx.after_commit(move || hosts.registry().put(&host));
    }
    Ok(())
}

/// Every id that is not among the known hosts, by its place in the request.
fn unknown(ids: &[HostId], known: &[Host]) -> Vec<Violation> {
    let known: BTreeSet<HostId> = known.iter().map(|host| host.id).collect();
    ids.iter()
        .enumerate()
        .filter(|(_, id)| !known.contains(id))
        .map(|(index, id)| {
            let detail = format!("there is no host {id}");
            Violation::new(format!("/host_ids/{index}"), "host-unknown", detail)
        })
        .collect()
}

fn checked(patch: HostPatch) -> Result<HostPatch, Vec<Violation>> {
    let mut found = Vec::new();
    let tags = match patch.tags.map(|tags| labels::tags("/tags", tags)) {
        None => None,
        Some(Ok(tags)) => Some(tags),
        Some(Err(violations)) => {
            found.extend(violations);
            None
        }
    };
    if let Some(attributes) = &patch.attributes
        && let Err(violations) = labels::attributes("/attributes", attributes)
    {
        found.extend(violations);
    }
    if found.is_empty() {
        Ok(HostPatch { tags, ..patch })
    } else {
        Err(found)
    }
}

fn digest(labels: &Labels) -> String {
    let text = json!([labels.tags, labels.attributes, labels.reserved]).to_string();
    hex::encode(Sha256::digest(text))
}

/// Tells the watching people once `tx` is on disk.
pub(crate) fn publish(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    kind: &'static str,
    id: HostId,
    data: serde_json::Value,
) {
    let events = hosts.parts().events.clone();
    tx.after_commit(move || events.publish(host_event(kind, id, data)));
}

pub(super) fn host_event(kind: &'static str, id: HostId, data: serde_json::Value) -> Event {
    Event {
        kind,
        subject_kind: "host",
        subject_id: id.to_string(),
        data,
        visibility: Visibility::role(crate::auth::Role::Viewer),
    }
}

/// For changes of many hosts at once: read the list again.
pub(super) fn changed_event(count: usize) -> Event {
    Event {
        kind: "hosts.changed",
        subject_kind: "hosts",
        subject_id: String::new(),
        data: json!({"count": count}),
        visibility: Visibility::role(crate::auth::Role::Viewer),
    }
}
