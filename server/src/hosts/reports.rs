//! What agents say about their hosts: `hello`, changed facts, heartbeats. Only what differs from what is stored is
//! written; an agent that reconnects with nothing new costs a look into memory. After a restart, when nothing is in
//! memory, hellos that wait together are looked up and stored together: ten thousand agents dial in at once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use fleetwright_protocol::frame::Hello;
use fleetwright_protocol::{Facts, Heartbeat, HostId, JournalId, facts};
use tokio::sync::oneshot;

use super::host::{Host, Reported};
use super::{Hosts, labels, store};
use crate::db::{DbError, Tx};

/// A boot id is a UUID on Linux; other systems' are no longer.
const BOOT_ID_BYTES_MAX: usize = 64;
/// The registry's digest of a report that it does not know.
const UNKNOWN: i64 = 0;
/// Hellos in one transaction: a few milliseconds of the writer's time.
const BATCH_MAX: usize = 128;

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
    hosts.inner.hellos.record(hosts, news).await
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
            if reported != host.reported {
                let revision = store::take_revisions(tx, 1)?;
                store::save_reported_in(tx, id, revision, &reported, &host.labels)?;
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

/// A hello that is not known to be what is stored.
#[derive(Clone)]
struct News {
    id: HostId,
    reported: Reported,
    journal: JournalId,
    digest: i64,
}

type Answer = oneshot::Sender<Result<HelloRecorded, DbError>>;

/// Hellos that wait to be stored. The first one starts a task that stores them all, batch after batch, and ends.
#[derive(Default)]
pub(super) struct HelloQueue {
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    is_draining: bool,
    waiting: Vec<(News, Answer)>,
}

impl HelloQueue {
    async fn record(&self, hosts: &Hosts, news: News) -> Result<HelloRecorded, DbError> {
        let (answer, recorded) = oneshot::channel();
        let must_drain = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push((news, answer));
            !std::mem::replace(&mut state.is_draining, true)
        };
        if must_drain {
            // A task of its own: this connection may end while others wait for the batch.
            tokio::spawn(drain(hosts.clone()));
        }
        let stopping = |_| DbError::Unavailable("the server is stopping".to_owned());
        recorded.await.map_err(stopping)?
    }

    /// Up to a batch of waiting hellos; with none left, the next one starts a new task.
    fn take(&self) -> Vec<(News, Answer)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.waiting.len().min(BATCH_MAX);
        state.is_draining = count > 0;
        state.waiting.drain(..count).collect()
    }
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
    let differs = |news: &&News| {
        let host = stored.get(&news.id);
        host.is_some_and(|host| host.reported != news.reported)
    };
    let changed: Vec<&News> = news.iter().filter(differs).collect();
    if !changed.is_empty() {
        let first = store::take_revisions(tx, changed.len())?;
        let mut last = first;
        for (revision, news) in (first..).zip(changed) {
            if let Some(host) = stored.get(&news.id) {
                store::save_reported_in(tx, news.id, revision, &news.reported, &host.labels)?;
            }
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
