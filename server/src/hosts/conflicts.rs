//! Two machines with one identity: what is stored and told when they are met, and how an operator ends it. What makes two
//! of one is decided in `sessions`.

use fleetwright_protocol::frame::Hello;
use fleetwright_protocol::{HostId, Session, Violation};
use serde_json::{Value, json};

use super::actions::{HostError, publish};
use super::host::{Host, Issued};
use super::keeping::keep_in;
use super::sessions::{Conflict, ConflictKind, Keep, Side, Standing, Verdict, judge};
use super::store::sessions as stored;
use super::{Hosts, labels, store};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};

/// A boot id is a UUID on Linux, a machine id is one without dashes; other systems' are no longer.
const ID_CHARS_MAX: usize = 64;

/// Who says hello, or renews: what is shown of a machine beside its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub address: String,
    pub boot_id: String,
    pub machine_id: String,
    pub issued: Issued,
}

impl Visitor {
    /// The ids are the machine's own words: they are made harmless here.
    pub fn new(address: String, boot_id: &str, machine_id: &str, issued: Issued) -> Self {
        let harmless = |text: &str| {
            let short: String = text.chars().take(ID_CHARS_MAX).collect();
            labels::escaped(&short)
        };
        Self {
            address,
            boot_id: harmless(boot_id),
            machine_id: harmless(machine_id),
            issued,
        }
    }

    pub fn of_hello(address: String, issued: Issued, hello: &Hello) -> Self {
        Self::new(address, &hello.boot_id, &hello.machine_id, issued)
    }

    fn side(&self, session: Option<&Session>, now_us: i64) -> Side {
        Side {
            address: self.address.clone(),
            boot_id: self.boot_id.clone(),
            machine_id: self.machine_id.clone(),
            mark: session.map(|session| session.mark),
            issued: self.issued,
            at_us: now_us,
            is_continued: true,
        }
    }
}

/// What a session is taken for, for all that is known now. Changes nothing. `None` for an unknown host.
pub async fn look(
    hosts: &Hosts,
    id: HostId,
    session: Option<&Session>,
) -> Result<Option<(Verdict, Standing)>, DbError> {
    let found = stored::standing(hosts.db(), id).await?;
    Ok(found.map(|found| (judge(&found.standing, session), found.standing)))
}

/// Begins a session, if it is of the host's own machine; otherwise changes nothing. Part of the transaction that settles
/// the `hello`.
pub fn begin_in(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    id: HostId,
    session: Option<&Session>,
    visitor: &Visitor,
) -> Result<Verdict, DbError> {
    let Some(found) = stored::standing_in(tx, id)? else {
        // Deleted in this moment: its connection is being cut.
        return Ok(Verdict::Again);
    };
    let verdict = judge(&found.standing, session);
    let moves_on = match verdict {
        Verdict::Next | Verdict::Broken => session.is_some() || found.standing.last.is_some(),
        Verdict::Again | Verdict::Refused | Verdict::Conflict(_) => false,
    };
    if moves_on {
        let side = visitor.side(session, hosts.now_us());
        if !stored::save_last_in(tx, id, &found, &side)? {
            let changed = "the host has begun another session";
            return Err(DbError::Unavailable(changed.to_owned()));
        }
    }
    Ok(verdict)
}

/// Two machines were met: nothing is sent to either until an operator has decided.
pub async fn lock(
    hosts: &Hosts,
    id: HostId,
    session: Option<Session>,
    visitor: Visitor,
    kind: ConflictKind,
) -> Result<(), DbError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| lock_in(&handle, tx, id, session.as_ref(), &visitor, kind))
        .await
}

/// The same within a transaction.
pub fn lock_in(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    id: HostId,
    session: Option<&Session>,
    visitor: &Visitor,
    kind: ConflictKind,
) -> Result<(), DbError> {
    let (Some(mut host), Some(found)) = (store::get_in(tx, id)?, stored::standing_in(tx, id)?)
    else {
        return Ok(());
    };
    if host.identity.locked_reason.is_some() {
        return Ok(());
    }
    let now_us = hosts.now_us();
    let later = visitor.side(session, now_us);
    let earlier = found.standing.last.clone();
    let conflict = Conflict {
        kind,
        at_us: now_us,
        // Without an earlier one there is nobody to be in conflict with.
        earlier: earlier.unwrap_or_else(|| later.clone()),
        later,
        kept: None,
    };
    let reason = conflict.told(id);
    tracing::warn!(host_id = %id, reason, "locked a host");
    let detail = told(&conflict, &reason);
    host.identity.locked_reason = Some(reason);
    host.revision = store::take_revisions(tx, 1)?;
    store::save_identity_in(tx, id, host.revision, &host.identity)?;
    let standing = Standing {
        conflict: Some(conflict),
        ..found.standing
    };
    stored::save_in(tx, id, &standing)?;
    let context = AuditContext {
        address: visitor.address.clone(),
        ..AuditContext::system("agents")
    };
    let entry = audit::entry("host.lock", "host", id, detail.clone());
    audit::append(tx, now_us, &context, &entry)?;
    hosts.announce(tx, host.revision);
    publish(hosts, tx, "host.locked", id, detail);
    let hosts = hosts.clone();
    tx.after_commit(move || {
        metrics::counter!("fleetwright_identity_conflicts_total").increment(1);
        hosts.registry().put(&host);
        let reason = fleetwright_protocol::close::IDENTITY_CONFLICT;
        hosts.parts().connections.cut(id, reason);
    });
    Ok(())
}

/// Ends a lock. Where two machines were met, `keep` says which of them is the host; the other is refused from now on,
/// and enrolls anew. Called again with the other one, it changes the decision.
pub async fn unlock(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    keep: Option<Keep>,
) -> Result<Host, HostError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let mut host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            let found = stored::standing_in(tx, id)?.ok_or(HostError::NotFound)?;
            let is_locked = host.identity.locked_reason.is_some();
            may_unlock(is_locked, &found.standing, keep)?;
            let decided = match keep {
                Some(keep) => keep_in(tx, &mut host, keep)?,
                None => None,
            };
            host.identity.locked_reason = None;
            host.revision = store::take_revisions(tx, 1)?;
            store::save_identity_in(tx, id, host.revision, &host.identity)?;
            let mut detail = json!({ "kept": keep });
            if let Some(conflict) = &decided {
                detail["earlier"] = shown(&conflict.earlier);
                detail["later"] = shown(&conflict.later);
            }
            let entry = audit::entry("host.unlock", "host", id, detail.clone());
            audit::append(tx, handle.now_us(), &context, &entry)?;
            handle.announce(tx, host.revision);
            publish(&handle, tx, "host.unlocked", id, detail);
            let unlocked = host.clone();
            tx.after_commit(move || {
                handle.registry().put(&unlocked);
                // Whoever is connected says who it is anew.
                let reason = "an operator has decided which machine is this host";
                handle.parts().connections.cut(id, reason);
            });
            Ok(host)
        })
        .await
}

fn may_unlock(is_locked: bool, standing: &Standing, keep: Option<Keep>) -> Result<(), HostError> {
    let refuse = |code: &'static str, detail: &str| {
        HostError::Invalid(vec![Violation::new("/keep", code, detail)])
    };
    match (&standing.conflict, keep) {
        (Some(conflict), None) if is_locked && conflict.kept.is_none() => Err(refuse(
            "keep-required",
            "say which of the two machines is the host: `earlier` or `later`",
        )),
        (None, Some(_)) if is_locked => Err(refuse(
            "keep-unknown",
            "the host was not locked because of two machines: there is none to keep",
        )),
        (Some(conflict), Some(keep)) if is_locked || conflict.kept != Some(keep) => Ok(()),
        (Some(_) | None, None) if is_locked => Ok(()),
        (Some(_) | None, Some(_) | None) => {
            Err(HostError::InvalidTransition("The host is not locked."))
        }
    }
}

/// What an event and an audit row say of it.
fn told(conflict: &Conflict, reason: &str) -> Value {
    json!({
        "reason": reason,
        "kind": conflict.kind,
        "earlier": shown(&conflict.earlier),
        "later": shown(&conflict.later),
    })
}

fn shown(side: &Side) -> Value {
    json!({
        "address": side.address,
        "boot_id": side.boot_id,
        "machine_id": side.machine_id,
        "session": side.mark.map(|mark| mark.counter),
        "certificate_generation": side.issued.generation,
    })
}
