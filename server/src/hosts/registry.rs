//! Every host's few hot fields in memory: approval, presence, last seen, the certificate that may connect. Loaded at
//! start, changed by after-commit hooks and by what agents send. It is a cache of the inventory for what happens per
//! frame or per connection, and the truth about presence between two saves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use fleetwright_protocol::HostId;
use fleetwright_protocol::limits::OFFLINE_AFTER_SECONDS;
use tokio::sync::Notify;

use super::host::{Approval, Host, Issued};
use super::store::{self, RegistryRow};
use crate::clock::SharedClock;
use crate::db::{Db, DbError};

/// Hosts loaded by one query: bounds the memory of the answer while a large fleet loads.
const LOAD_PAGE: u32 = 10_000;
/// A host silent for longer is offline.
const OFFLINE_AFTER_US: i64 = OFFLINE_AFTER_SECONDS as i64 * 1_000_000;
/// "Not heard since this server started."
const NEVER: i64 = i64::MIN;

/// What others see of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMeta {
    pub approval: Approval,
    pub online: bool,
    /// 0: never.
    pub last_seen_us: i64,
    /// Two machines showed this identity; nobody may connect as it.
    pub locked: bool,
    /// The certificate that connects without looking further.
    pub current: Issued,
}

/// A handle on the registry; cheap to clone.
#[derive(Clone)]
pub struct HostRegistry {
    inner: Arc<RegistryState>,
}

struct RegistryState {
    clock: SharedClock,
    hosts: RwLock<Registered>,
    /// Hosts whose presence differs, or may differ, from what is stored.
    flipped: Mutex<Vec<HostId>>,
    flipped_some: Notify,
}

struct Registered {
    by_id: HashMap<HostId, Entry>,
    /// How many of them are approved.
    approved: usize,
}

struct Entry {
    approval: Approval,
    locked: bool,
    current: Issued,
    online: AtomicBool,
    stored_online: AtomicBool,
    last_seen_us: AtomicI64,
    stored_last_seen_us: AtomicI64,
    /// On the monotonic clock.
    heard_us: AtomicI64,
    /// A digest of what the agent last reported, if that is what is stored; 0 for unknown.
    reported_digest: AtomicI64,
}

impl HostRegistry {
    /// Reads the whole inventory. Hosts stored as online have until the usual silence to show up.
    pub async fn load(db: &Db, clock: SharedClock) -> Result<Self, DbError> {
        let now = clock.monotonic_us();
        let rows = rows(db).await?;
        let mut hosts: HashMap<HostId, Entry> = rows
            .into_iter()
            .map(|row| (row.id, Entry::new(&row, now)))
            .collect();
        hosts.shrink_to_fit();
        Ok(Self {
            inner: Arc::new(RegistryState {
                clock,
                hosts: RwLock::new(Registered {
                    approved: hosts.values().filter(|entry| entry.is_approved()).count(),
                    by_id: hosts,
                }),
                flipped: Mutex::new(Vec::new()),
                flipped_some: Notify::new(),
            }),
        })
    }

    /// Takes over what is stored: who there is, approval, certificates. Presence stays as it is; what agents reported is
    /// compared with what is stored when they say hello again.
    pub(super) async fn reload(&self, db: &Db) -> Result<(), DbError> {
        let rows = rows(db).await?;
        let stored_online: Vec<_> = rows.iter().map(|row| (row.id, row.online)).collect();
        self.write(|registered| {
            let mut earlier = std::mem::take(&mut registered.by_id);
            for row in rows {
                let mut entry = earlier
                    .remove(&row.id)
                    .unwrap_or_else(|| Entry::new(&row, NEVER));
                entry.approval = row.approval;
                entry.locked = row.locked;
                entry.current = row.current;
                entry.reported_digest = AtomicI64::new(0);
                registered.by_id.insert(row.id, entry);
            }
            let approved = registered
                .by_id
                .values()
                .filter(|entry| entry.is_approved());
            registered.approved = approved.count();
        });
        self.presence_stored(&stored_online);
        Ok(())
    }

    pub fn get(&self, id: HostId) -> Option<HostMeta> {
        self.with(id, Entry::meta)
    }

    pub fn contains(&self, id: HostId) -> bool {
        self.with(id, |_| ()).is_some()
    }

    /// Whether the host may be connected at all: known, approved and not locked.
    pub fn is_admitted(&self, id: HostId) -> bool {
        self.with(id, |entry| {
            entry.approval == Approval::Approved && !entry.locked
        }) == Some(true)
    }

    pub fn len(&self) -> usize {
        self.read(|registered| registered.by_id.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Approved hosts: what a licence counts.
    pub fn approved_count(&self) -> usize {
        self.read(|registered| registered.approved)
    }

    /// The host has just been heard from. Brings a host back that was taken for offline.
    pub fn touch(&self, id: HostId, now_us: i64) {
        let heard_us = self.inner.clock.monotonic_us();
        let came_back = self.with(id, |entry| {
            entry.last_seen_us.store(now_us, Ordering::Relaxed);
            entry.heard_us.store(heard_us, Ordering::Relaxed);
            !entry.online.swap(true, Ordering::Relaxed)
        });
        if came_back == Some(true) {
            self.mark_flipped([id]);
        }
    }

    /// Every host's last sign of life, in µs since the epoch; hosts never seen are left out.
    pub fn last_seen(&self) -> Vec<(HostId, i64)> {
        self.read(|registered| {
            let all = registered
                .by_id
                .iter()
                .map(|(id, entry)| (*id, entry.last_seen_us.load(Ordering::Relaxed)));
            all.filter(|(_, seen)| *seen > 0).collect()
        })
    }

    /// Takes these hosts for offline at once; they come back with their next frame.
    pub(super) fn set_offline(&self, ids: &[HostId]) {
        let went: Vec<HostId> = ids
            .iter()
            .copied()
            .filter(|id| {
                self.with(*id, |entry| {
                    entry.heard_us.store(NEVER, Ordering::Relaxed);
                    entry.online.swap(false, Ordering::Relaxed)
                }) == Some(true)
            })
            .collect();
        self.mark_flipped(went);
    }

    /// Takes every host that has been silent for too long for offline; returns them.
    pub(super) fn expire_silent(&self) -> Vec<HostId> {
        let latest = self.inner.clock.monotonic_us() - OFFLINE_AFTER_US;
        let mut silent: Vec<HostId> = self.read(|registered| {
            let silent = registered.by_id.iter().filter(|(_, entry)| {
                entry.online.load(Ordering::Relaxed)
                    && entry.heard_us.load(Ordering::Relaxed) < latest
            });
            silent.map(|(id, _)| *id).collect()
        });
        // The map's order is chance; what is saved and told follows from this one.
        silent.sort_unstable();
        let expired: Vec<HostId> = silent
            .into_iter()
            .filter(|id| {
                // A frame may have come in between; only the silent ones go.
                self.with(*id, |entry| {
                    entry.heard_us.load(Ordering::Relaxed) < latest
                        && entry.online.swap(false, Ordering::Relaxed)
                }) == Some(true)
            })
            .collect();
        self.mark_flipped(expired.iter().copied());
        expired
    }

    /// Waits until some presence has changed.
    pub(super) async fn presence_changed(&self) {
        self.inner.flipped_some.notified().await;
    }

    /// Takes at most `limit` hosts whose presence may not be what is stored; returns those where it is not, each once,
    /// with what it should be. `None` when no host is left to look at.
    pub(super) fn take_flipped(&self, limit: usize) -> Option<Vec<(HostId, bool)>> {
        let mut ids = match self.inner.flipped.lock() {
            Ok(mut flipped) => {
                let keep = flipped.len().saturating_sub(limit);
                flipped.split_off(keep)
            }
            Err(_) => Vec::new(),
        };
        if ids.is_empty() {
            return None;
        }
        ids.sort_unstable();
        ids.dedup();
        let state = |id| {
            self.with(id, |entry| {
                let online = entry.online.load(Ordering::Relaxed);
                (online != entry.stored_online.load(Ordering::Relaxed)).then_some(online)
            })
        };
        let differing = ids
            .into_iter()
            .filter_map(|id| state(id).flatten().map(|online| (id, online)));
        Some(differing.collect())
    }

    /// Gives back what could not be saved.
    pub(super) fn mark_flipped(&self, ids: impl IntoIterator<Item = HostId>) {
        let some = match self.inner.flipped.lock() {
            Ok(mut flipped) => {
                flipped.extend(ids);
                !flipped.is_empty()
            }
            Err(_) => false,
        };
        if some {
            self.inner.flipped_some.notify_one();
        }
    }

    /// The stored presence is now this (an after-commit hook).
    pub(super) fn presence_stored(&self, statuses: &[(HostId, bool)]) {
        let again: Vec<HostId> = statuses
            .iter()
            .filter(|(id, stored)| {
                self.with(*id, |entry| {
                    entry.stored_online.store(*stored, Ordering::Relaxed);
                    entry.online.load(Ordering::Relaxed) != *stored
                }) == Some(true)
            })
            .map(|(id, _)| *id)
            .collect();
        self.mark_flipped(again);
    }

    /// Hosts seen since their last seen time was stored.
    pub(super) fn seen_since_stored(&self) -> Vec<(HostId, i64)> {
        let mut seen: Vec<_> = self.read(|registered| {
            let seen = registered.by_id.iter().filter_map(|(id, entry)| {
                let now = entry.last_seen_us.load(Ordering::Relaxed);
                (now != entry.stored_last_seen_us.load(Ordering::Relaxed)).then_some((*id, now))
            });
            seen.collect()
        });
        // The map's order is chance; the batches are the same ones each time.
        seen.sort_unstable();
        seen
    }

    pub(super) fn last_seen_stored(&self, seen: &[(HostId, i64)]) {
        for (id, at) in seen {
            self.with(*id, |entry| {
                entry.stored_last_seen_us.store(*at, Ordering::Relaxed);
            });
        }
    }

    /// Whether the agent's last stored report had this digest.
    pub(super) fn reported_same(&self, id: HostId, digest: i64) -> bool {
        self.with(id, |entry| {
            entry.reported_digest.load(Ordering::Relaxed) == digest
        }) == Some(true)
    }

    /// The stored report has this digest; 0 for "look it up".
    pub(super) fn set_reported(&self, id: HostId, digest: i64) {
        self.with(id, |entry| {
            entry.reported_digest.store(digest, Ordering::Relaxed);
        });
    }

    /// Adds or changes what operators and enrollments decide; presence stays as it is.
    pub(super) fn put(&self, host: &Host) {
        let row = RegistryRow {
            id: host.id,
            approval: host.approval,
            online: host.online,
            last_seen_us: host.last_seen_us.unwrap_or(0),
            locked: host.identity.locked_reason.is_some(),
            current: host.identity.current,
        };
        self.write(|registered| {
            let fresh = || Entry::new(&row, NEVER);
            let known = registered.by_id.get(&row.id);
            registered.approved -= usize::from(known.is_some_and(Entry::is_approved));
            registered.approved += usize::from(row.approval == Approval::Approved);
            let entry = registered.by_id.entry(row.id).or_insert_with(fresh);
            entry.approval = row.approval;
            entry.locked = row.locked;
            entry.current = row.current;
        });
    }

    pub(super) fn set_approval(&self, ids: &[HostId], approval: Approval) {
        self.write(|registered| {
            for id in ids {
                if let Some(entry) = registered.by_id.get_mut(id) {
                    registered.approved -= usize::from(entry.is_approved());
                    registered.approved += usize::from(approval == Approval::Approved);
                    entry.approval = approval;
                    entry.locked = false;
                }
            }
        });
    }

    pub(super) fn remove(&self, id: HostId) {
        self.write(|registered| {
            let removed = registered.by_id.remove(&id);
            registered.approved -= usize::from(removed.is_some_and(|entry| entry.is_approved()));
        });
    }

    fn with<T>(&self, id: HostId, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.read(|registered| registered.by_id.get(&id).map(look))
    }

    fn read<T>(&self, look: impl FnOnce(&Registered) -> T) -> T {
        // A poisoned lock only means that some reader panicked; no writer leaves an entry half changed.
        match self.inner.hosts.read() {
            Ok(hosts) => look(&hosts),
            Err(poisoned) => look(&poisoned.into_inner()),
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Registered) -> T) -> T {
        match self.inner.hosts.write() {
            Ok(mut hosts) => change(&mut hosts),
            Err(poisoned) => change(&mut poisoned.into_inner()),
        }
    }
}

async fn rows(db: &Db) -> Result<Vec<RegistryRow>, DbError> {
    let mut rows = Vec::new();
    loop {
        let after = rows.last().map(|row: &RegistryRow| row.id);
        let page = store::registry_page(db, after, LOAD_PAGE).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

impl Entry {
    fn new(row: &RegistryRow, now_monotonic_us: i64) -> Self {
        Self {
            approval: row.approval,
            locked: row.locked,
            current: row.current,
            online: AtomicBool::new(row.online),
            stored_online: AtomicBool::new(row.online),
            last_seen_us: AtomicI64::new(row.last_seen_us),
            stored_last_seen_us: AtomicI64::new(row.last_seen_us),
            heard_us: AtomicI64::new(if row.online { now_monotonic_us } else { NEVER }),
            reported_digest: AtomicI64::new(0),
        }
    }

    fn is_approved(&self) -> bool {
        self.approval == Approval::Approved
    }

    fn meta(&self) -> HostMeta {
        HostMeta {
            approval: self.approval,
            online: self.online.load(Ordering::Relaxed),
            last_seen_us: self.last_seen_us.load(Ordering::Relaxed),
            locked: self.locked,
            current: self.current,
        }
    }
}
