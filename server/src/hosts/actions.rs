//! What operators do to hosts: approve, reject, label. Each is one transaction with its audit row. None creates
//! anything and all are idempotent or refuse the second time, so none needs an idempotency key.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_protocol::{HostId, Violation};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::events::changed_event;
use super::host::{Approval, Host, Labels};
use super::{Hosts, claims, keeping, labels, store};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};

pub use super::error::HostError;
pub(crate) use super::events::publish;
pub use super::reports::{record_facts, record_hello, record_offline, save_journal_in};
pub use super::store::missing_in;

/// Hosts that one request may approve: ten screens of the largest page, one short transaction.
pub const APPROVE_MAX: usize = 5_000;
/// The same if what they claim is taken over: each has labels of its own to be written and told.
pub const ACCEPT_MAX: usize = 200;
/// Of what is taken over so much stands in the audit row of one request; of the hosts beyond it, a digest.
const TOLD_BYTES_MAX: usize = 16 * 1024;

/// A change of the operator's labels; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct HostPatch {
    pub tags: Option<Vec<String>>,
    pub attributes: Option<BTreeMap<String, String>>,
    pub reserved: Option<bool>,
}

/// Lets a host in, with `accept_tags` taking over the tags and attributes that it claims. Also lifts a lock, in favour of the
/// machine that was known before, and lets a rejected host in after all. What it is called then it stays called. Nothing is done
/// if the host is not at a revision that the caller expects: what it claims may be another thing by now.
pub async fn approve_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    accept_tags: bool,
    is_expected: impl FnOnce(i64) -> bool + Send + 'static,
) -> Result<Host, HostError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if !is_expected(host.revision) {
                return Err(HostError::Stale);
            }
            if !waits(&host) {
                return Err(HostError::InvalidTransition(
                    "The host is already approved.",
                ));
            }
            let decided = claims::let_in(&host, accept_tags).map_err(HostError::Invalid)?;
            decide_approval(&handle, tx, &context, &host, decided)
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
            let mut decided = host.clone();
            decided.approval = Approval::Rejected;
            decided.identity.locked_reason = None;
            decide_approval(&handle, tx, &context, &host, decided)
        })
        .await
}

/// How many hosts [`approve_hosts`] let in, and how many were in already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approved {
    pub approved: usize,
    pub unchanged: usize,
}

/// Lets many hosts in; all of them or, if one is unknown, claims more than can be taken over or is at another one of the
/// `revisions` than is expected there, none. Repeated, it changes nothing more.
pub async fn approve_hosts(
    hosts: &Hosts,
    context: AuditContext,
    ids: Vec<HostId>,
    accept_tags: bool,
    revisions: BTreeMap<HostId, i64>,
) -> Result<Approved, HostError> {
    let most = if accept_tags { ACCEPT_MAX } else { APPROVE_MAX };
    if ids.is_empty() || ids.len() > most {
        let detail = format!("must hold between 1 and {most} ids");
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
            let waiting: Vec<&Host> = known.iter().filter(|host| waits(host)).collect();
            let is_stale = |host: &&Host| {
                let expected = revisions.get(&host.id);
                expected.is_some_and(|expected| *expected != host.revision)
            };
            if waiting.iter().any(is_stale) {
                return Err(HostError::Stale);
            }
            let decided: Vec<Host> = waiting
                .iter()
                .map(|host| {
                    claims::let_in(host, accept_tags)
                        .map_err(|found| HostError::Invalid(placed(&ids, host.id, found)))
                })
                .collect::<Result<_, _>>()?;
            let outcome = Approved {
                approved: decided.len(),
                unchanged: known.len() - decided.len(),
            };
            if !decided.is_empty() {
                let taken = taken_over(&waiting, &decided);
                approve_in(&handle, tx, &context, &decided, taken)?;
                unlock_in(&handle, tx, &known)?;
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
            store::save_labels_in(tx, id, host.revision, &host.labels)?;
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
    mut decided: Host,
) -> Result<Host, HostError> {
    let approval = decided.approval;
    let (action, kind) = match approval {
        Approval::Approved => ("host.approve", "host.approved"),
        Approval::Rejected | Approval::Pending => ("host.reject", "host.rejected"),
    };
    let id = host.id;
    decided.revision = store::take_revisions(tx, 1)?;
    store::save_approval_in(
        tx,
        std::slice::from_ref(&decided),
        decided.revision,
        approval,
    )?;
    if approval == Approval::Approved && keeping::keep_known_in(tx, &mut decided)? {
        store::save_identity_in(tx, id, decided.revision, &decided.identity)?;
    }
    let mut detail =
        json!({"before": host.approval.as_str(), "locked": host.identity.locked_reason.is_some()});
    if decided.labels != host.labels {
        store::save_labels_in(tx, id, decided.revision, &decided.labels)?;
        detail["tags"] = json!(decided.labels.tags);
        detail["attributes"] = json!(decided.labels.attributes);
    }
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
    decided: &[Host],
    taken: Map<String, Value>,
) -> Result<(), DbError> {
    let ids: Vec<HostId> = decided.iter().map(|host| host.id).collect();
    let first = store::take_revisions(tx, ids.len())?;
    store::save_approval_in(tx, decided, first, Approval::Approved)?;
    for (revision, host) in (first..).zip(decided) {
        if taken.contains_key(&host.id.to_string()) {
            store::save_labels_in(tx, host.id, revision, &host.labels)?;
        }
    }
    let mut all = Sha256::new();
    ids.iter().for_each(|id| all.update(id.as_bytes()));
    let detail =
        json!({"count": ids.len(), "ids_sha256": hex::encode(all.finalize()), "taken_over": taken});
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

/// What each host whose labels change is given, by its id; beyond so much in all, only the digest of its labels then.
fn taken_over(before: &[&Host], decided: &[Host]) -> Map<String, Value> {
    let mut taken = Map::new();
    let mut room = TOLD_BYTES_MAX;
    for (before, host) in before.iter().zip(decided) {
        let (had, has) = (&before.labels, &host.labels);
        if had == has {
            continue;
        }
        let tags: Vec<&String> = has
            .tags
            .iter()
            .filter(|tag| !had.tags.contains(tag))
            .collect();
        let is_new = |(name, value): &(&String, &String)| had.attributes.get(*name) != Some(*value);
        let attributes: BTreeMap<_, _> = has.attributes.iter().filter(is_new).collect();
        let whole = json!({"tags": tags, "attributes": attributes});
        let told = match room.checked_sub(whole.to_string().len()) {
            Some(rest) => {
                room = rest;
                whole
            }
            None => json!({"labels_sha256": digest(has)}),
        };
        taken.insert(host.id.to_string(), told);
    }
    taken
}

/// What is wrong with one of the hosts, by its place in the request.
fn placed(ids: &[HostId], id: HostId, found: Vec<Violation>) -> Vec<Violation> {
    let index = ids.iter().position(|one| *one == id).unwrap_or_default();
    let at_host = |one: Violation| Violation {
        pointer: format!("/host_ids/{index}"),
        detail: format!("{}: {}", one.pointer.trim_start_matches('/'), one.detail),
        ..one
    };
    found.into_iter().map(at_host).collect()
}

/// Of those that were locked because two machines were met, the one known before is the host.
fn unlock_in(hosts: &Hosts, tx: &mut Tx<'_>, known: &[Host]) -> Result<(), DbError> {
    let locked = known
        .iter()
        .filter(|host| host.identity.locked_reason.is_some());
    for before in locked {
        // As its approval has just made it.
        let Some(mut host) = store::get_in(tx, before.id)? else {
            continue;
        };
        if !keeping::keep_known_in(tx, &mut host)? {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::host::tests::host;

    #[test]
    fn what_is_taken_over_is_told_of_each_host_within_bounds() {
        let before: Vec<Host> = (1..=100).map(host).collect();
        let mut decided = before.clone();
        for host in &mut decided[1..] {
            host.labels.tags = vec!["x".repeat(250)];
        }
        let waiting: Vec<&Host> = before.iter().collect();
        let taken = taken_over(&waiting, &decided);
        assert_eq!(taken.len(), 99, "one claims nothing");
        let first = &taken[&decided[1].id.to_string()];
        assert_eq!(first["tags"], json!(decided[1].labels.tags));
        let last = &taken[&decided[99].id.to_string()];
        assert_eq!(last["labels_sha256"], json!(digest(&decided[99].labels)));
        assert!(Value::from(taken).to_string().len() < 2 * TOLD_BYTES_MAX);
    }
}
