//! What agents say about their hosts: `hello`, changed facts, heartbeats. Only what differs from what is stored is
//! written, so that ten thousand agents that reconnect with nothing new cost a look into memory each.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fleetwright_protocol::frame::Hello;
use fleetwright_protocol::{Facts, Heartbeat, HostId, JournalId, facts};

use super::host::{Host, Reported};
use super::{Hosts, labels, store};
use crate::db::{DbError, Tx};

/// A boot id is a UUID on Linux; other systems' are no longer.
const BOOT_ID_BYTES_MAX: usize = 64;
/// The registry's digest of a report that it does not know.
const UNKNOWN: i64 = 0;

impl Hosts {
    /// Keeps a heartbeat in memory.
    pub fn record_heartbeat(&self, id: HostId, mut heartbeat: Heartbeat) {
        self.registry().touch(id, self.now_us());
        facts::cap_list(&mut heartbeat.vms);
        let vms = heartbeat.vms.iter_mut();
        vms.for_each(|name| *name = labels::escaped(name));
        heartbeat.boot_id = heartbeat
            .boot_id
            .filter(|boot_id| boot_id.len() <= BOOT_ID_BYTES_MAX)
            .map(|boot_id| labels::escaped(&boot_id));
        self.inner.heartbeats.pin().insert(id, heartbeat);
    }
}

/// What `hello` brought to light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HelloRecorded {
    /// The agent lost its journal: its open commands are `outcome_unknown`. This stays true until the caller has
    /// closed them and called [`save_journal_in`] in the same transaction, so that a crash in between loses nothing.
    pub journal_changed: bool,
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
    let journal = hello.journal_id;
    let digest = digest(&reported, journal);
    if hosts.registry().reported_same(id, digest) {
        return Ok(HelloRecorded::default());
    }
    let Some(stored) = store::get(hosts.db(), id).await? else {
        // Deleted in this moment; its connection is being cut.
        return Ok(HelloRecorded::default());
    };
    let journal_changed = stored.journal_id.is_some_and(|known| known != journal);
    if stored.reported == reported && stored.journal_id == Some(journal) {
        hosts.registry().set_reported(id, digest);
        return Ok(HelloRecorded::default());
    }
    let remembered = if journal_changed { UNKNOWN } else { digest };
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let Some(host) = store::get_in(tx, id)? else {
                return Ok(());
            };
            if host.journal_id.is_none() {
                store::save_journal_in(tx, id, journal)?;
            }
            save(&handle, tx, &host, &reported, remembered)
        })
        .await?;
    Ok(HelloRecorded { journal_changed })
}

/// Records facts that changed while the agent is connected.
pub async fn record_facts(hosts: &Hosts, id: HostId, facts: Facts) -> Result<(), DbError> {
    hosts.registry().touch(id, hosts.now_us());
    let facts = labels::harmless_facts(facts);
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| match store::get_in(tx, id)? {
            None => Ok(()),
            Some(host) => {
                let mut reported = host.reported.clone();
                reported.facts = facts;
                if reported != host.reported {
                    // The next `hello` is compared with what is stored then.
                    save(&handle, tx, &host, &reported, UNKNOWN)?;
                }
                Ok::<(), DbError>(())
            }
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

/// Saves what differs; afterwards the registry knows the report by `digest`.
fn save(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    host: &Host,
    reported: &Reported,
    digest: i64,
) -> Result<(), DbError> {
    let id = host.id;
    if host.reported != *reported {
        let revision = store::take_revisions(tx, 1)?;
        store::save_reported_in(tx, id, revision, reported, &host.labels)?;
        hosts.announce(tx, revision);
    }
    let registry = hosts.registry().clone();
    tx.after_commit(move || registry.set_reported(id, digest));
    Ok(())
}

/// Odd, and so never [`UNKNOWN`].
fn digest(reported: &Reported, journal: JournalId) -> i64 {
    let mut hasher = DefaultHasher::new();
    journal.hash(&mut hasher);
    // The order of the fields and of the maps is fixed, so equal reports have equal texts.
    serde_json::json!([reported.facts, reported.tags, reported.attributes])
        .to_string()
        .hash(&mut hasher);
    hasher.finish().cast_signed() | 1
}
