//! What agents say about their hosts: `hello`, changed facts, heartbeats. Only what differs from what is stored is
//! written; an agent that reconnects with nothing new costs a look into memory. After a restart, when nothing is in
//! memory, hellos that wait together are looked up and stored together: ten thousand agents dial in at once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fleetwright_protocol::frame::Hello;
use fleetwright_protocol::{Facts, Heartbeat, HostId, JournalId};
use serde_json::json;
use tokio::sync::oneshot;

use super::events::publish;
use super::hellos::{Answer, News};
use super::host::{Host, Reported};
use super::{Hosts, labels, store};
use crate::config::HostNames;
use crate::db::{DbError, Tx};

pub use super::hellos::HelloRecorded;

/// The registry's digest of a report that it does not know.
const UNKNOWN: i64 = 0;

impl Hosts {
    /// Keeps a heartbeat in memory; none of a host that has just been deleted.
    pub fn record_heartbeat(&self, id: HostId, heartbeat: Heartbeat) {
        let registry = self.registry();
        registry.touch(id, self.now_us());
        if registry.contains(id) {
            let is_node = registry.is_admitted(id);
            let arrived_us = self.inner.parts.clock.lease_us();
            let heartbeats = &self.inner.heartbeats;
            heartbeats.put(id, heartbeat, arrived_us, is_node);
        }
    }
}

/// Records a `hello`: the host is online, and what the agent says of it is stored if it is new.
pub async fn record_hello(
    hosts: &Hosts,
    id: HostId,
    hello: &Hello,
) -> Result<HelloRecorded, DbError> {
    hosts.registry().touch(id, hosts.now_us());
    let reported = labels::harmless(
        hello.facts.clone(),
        hello.tags.clone(),
        hello.attributes.clone(),
    );
    let digest = digest(&reported, hello.journal_id);
    if hosts.registry().reported_same(id, digest) {
        return Ok(HelloRecorded::default());
    }
    let news = News {
        id,
        reported,
        journal: hello.journal_id,
        digest,
    };
    stored(hosts, news).await
}

/// Records facts that changed while the agent is connected.
pub async fn record_facts(hosts: &Hosts, id: HostId, facts: Facts) -> Result<(), DbError> {
    hosts.registry().touch(id, hosts.now_us());
    let facts = labels::harmless_facts(facts);
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let Some(host) = store::get_in(tx, id)? else {
                return Ok(());
            };
            let mut reported = host.reported.clone();
            reported.facts = facts;
            let after = said(&handle, &host, reported);
            if after != host {
                let revision = store::take_revisions(tx, 1)?;
                store::save_reported_in(tx, revision, &after)?;
                tell(&handle, tx, &host, &after);
                handle.announce(tx, revision);
                // The next `hello` is compared with what is stored then.
                tx.after_commit(move || handle.registry().set_reported(id, UNKNOWN));
            }
            Ok::<(), DbError>(())
        })
        .await
}

/// These hosts are offline: their connection has ended. Known at once, stored with the next batch.
pub async fn record_offline(hosts: &Hosts, ids: Vec<HostId>) -> Result<(), DbError> {
    hosts.registry().set_offline(&ids);
    hosts.forget_heartbeats(&ids);
    Ok(())
}

/// The agent's journal is this one from now on; part of the transaction that closes the lost one's commands.
pub fn save_journal_in(tx: &mut Tx<'_>, id: HostId, journal: JournalId) -> Result<(), DbError> {
    store::save_journal_in(tx, id, journal)
}

/// Waits until the news are stored, together with those of others.
async fn stored(hosts: &Hosts, news: News) -> Result<HelloRecorded, DbError> {
    let (answer, recorded) = oneshot::channel();
    if hosts.inner.hellos.put(news, answer) {
        // A task of its own: this connection may end while others wait for the batch.
        tokio::spawn(drain(hosts.clone()));
    }
    let stopping = |_| DbError::Unavailable("the server is stopping".to_owned());
    recorded.await.map_err(stopping)?
}

async fn drain(hosts: Hosts) {
    loop {
        let batch = hosts.inner.hellos.take();
        if batch.is_empty() {
            return;
        }
        let (news, answers): (Vec<News>, Vec<Answer>) = batch.into_iter().unzip();
        let handle = hosts.clone();
        let recorded = hosts
            .db()
            .write(move |tx| store_batch_in(&handle, tx, news))
            .await;
        match recorded {
            Ok(recorded) => {
                for (answer, recorded) in answers.into_iter().zip(recorded) {
                    let _ = answer.send(Ok(recorded));
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for answer in answers {
                    let _ = answer.send(Err(DbError::Unavailable(reason.clone())));
                }
            }
        }
    }
}

/// Stores what differs; answers in the order of the news.
fn store_batch_in(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    news: Vec<News>,
) -> Result<Vec<HelloRecorded>, DbError> {
    let ids: Vec<HostId> = news.iter().map(|news| news.id).collect();
    let stored = store::get_many_in(tx, &ids)?;
    let stored: HashMap<HostId, Host> = stored.into_iter().map(|host| (host.id, host)).collect();
    let changed = |news: &News| {
        let host = stored.get(&news.id)?;
        let after = said(hosts, host, news.reported.clone());
        (after != *host).then_some((host, after))
    };
    let changed: Vec<(&Host, Host)> = news.iter().filter_map(changed).collect();
    if !changed.is_empty() {
        let first = store::take_revisions(tx, changed.len())?;
        let mut last = first;
        for (revision, (before, after)) in (first..).zip(&changed) {
            store::save_reported_in(tx, revision, after)?;
            tell(hosts, tx, before, after);
            last = revision;
        }
        hosts.announce(tx, last);
    }
    let mut recorded = Vec::with_capacity(news.len());
    let mut known = Vec::with_capacity(news.len());
    for news in &news {
        // Deleted in this moment: its connection is being cut.
        let Some(host) = stored.get(&news.id) else {
            recorded.push(HelloRecorded::default());
            continue;
        };
        let journal_changed = host.journal_id.is_some_and(|known| known != news.journal);
        if host.journal_id.is_none() {
            store::save_journal_in(tx, news.id, news.journal)?;
        }
        known.push((
            news.id,
            if journal_changed {
                UNKNOWN
            } else {
                news.digest
            },
        ));
        recorded.push(HelloRecorded { journal_changed });
    }
    let registry = hosts.registry().clone();
    tx.after_commit(move || {
        for (id, digest) in known {
            registry.set_reported(id, digest);
        }
    });
    Ok(recorded)
}

/// The host once its agent has said this of it.
fn said(hosts: &Hosts, host: &Host, reported: Reported) -> Host {
    let pinned = match (hosts.parts().names, &host.pinned) {
        (HostNames::Live, Some(_)) => Some(reported.names()),
        (HostNames::Live | HostNames::Pinned, pinned) => pinned.clone(),
    };
    Host {
        reported,
        pinned,
        ..host.clone()
    }
}

/// What an agent says and is not believed, or not kept, is told to people.
fn tell(hosts: &Hosts, tx: &mut Tx<'_>, before: &Host, after: &Host) {
    let id = after.id;
    if let Some(names) = after.pending_names()
        && before.pending_names().as_ref() != Some(&names)
    {
        tracing::warn!(
            host_id = %id, fqdn = ?names.fqdn, hostname = ?names.hostname,
            "a host calls itself something else than when it was approved: it keeps its name until a person accepts the new one"
        );
        publish(hosts, tx, "host.names_pending", id, json!(names));
    }
    let cut = &after.reported.cut;
    if !cut.is_empty() && before.reported.cut != *cut {
        tracing::warn!(host_id = %id, ?cut, "a host says more of itself than is kept");
        publish(hosts, tx, "host.claims_cut", id, json!({ "cut": cut }));
    }
}

/// Odd, and so never [`UNKNOWN`].
fn digest(reported: &Reported, journal: JournalId) -> i64 {
    let mut hasher = DefaultHasher::new();
    journal.hash(&mut hasher);
    // The order of the fields and of the maps is fixed, so equal reports have equal texts.
    json!([
        reported.facts,
        reported.tags,
        reported.attributes,
        reported.cut
    ])
    .to_string()
    .hash(&mut hasher);
    hasher.finish().cast_signed() | 1
}
