//! The inventory feed: every host and deletion in revision order. Followers (modules' indexes) apply a page, then ask
//! again after its revision; from 0 that is a snapshot. Last-seen times and load are not in it: they change all the
//! time.

use std::sync::atomic::{AtomicI64, Ordering};

use fleetwright_plugin_api::wire::{HostChange, HostChanges, HostRecord};

use super::host::{Host, status_name};
use super::store::{self, Tombstone};
use crate::db::{Db, DbError};

/// Entries in one page: about 4 MiB as JSON for hosts of ordinary size.
pub const CHANGES_MAX: u32 = 5_000;

/// The newest committed revision.
#[derive(Debug)]
pub struct HostFeed {
    revision: AtomicI64,
}

impl HostFeed {
    pub(super) fn at(revision: i64) -> Self {
        Self {
            revision: AtomicI64::new(revision),
        }
    }

    /// Rises only after the commit that made the revision visible to readers.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    pub(super) fn committed(&self, revision: i64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }
}

/// Changes after a revision, at most `limit` of them (and [`CHANGES_MAX`]). A host changed twice is in it once, at its
/// latest revision.
pub async fn changes(db: &Db, after_revision: i64, limit: u32) -> Result<HostChanges, DbError> {
    let limit = limit.clamp(1, CHANGES_MAX);
    let (hosts, tombstones) = store::changed_after(db, after_revision, limit + 1).await?;
    Ok(page(after_revision, limit, hosts, tombstones))
}

pub fn record(host: &Host) -> HostRecord {
    let facts = &host.reported.facts;
    let names = host.names();
    HostRecord {
        id: host.id,
        revision: host.revision,
        approval_status: host.approval.as_str().to_owned(),
        status: status_name(host.online).to_owned(),
        reserved: host.labels.reserved,
        created_at_us: host.created_at_us,
        fqdn: names.fqdn,
        hostname: names.hostname,
        platform: facts.platform.clone(),
        platform_release: facts.platform_release.clone(),
        platform_version: facts.platform_version.clone(),
        architecture: facts.architecture.clone(),
        agent_version: facts.agent_version.clone(),
        cpu_count: facts.cpu_count,
        memory_total_mb: facts.memory_total_mb,
        kvm_available: facts.kvm_available,
        ipv4: facts.ipv4.clone(),
        ipv6: facts.ipv6.clone(),
        tags: host.labels.tags.clone(),
        attributes: host.labels.attributes.clone(),
        agent_tags: host.reported.tags.clone(),
        agent_attributes: host.reported.attributes.clone(),
    }
}

/// Merges both lists into one page. Each holds up to `limit + 1` entries in revision order, so whatever fits in the
/// page is complete.
fn page(
    after_revision: i64,
    limit: u32,
    hosts: Vec<Host>,
    tombstones: Vec<Tombstone>,
) -> HostChanges {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut all: Vec<(i64, HostChange)> = hosts
        .iter()
        .map(|host| (host.revision, HostChange::Upsert(Box::new(record(host)))))
        .collect();
    all.extend(tombstones.into_iter().map(|tombstone| {
        let Tombstone { id, revision } = tombstone;
        (revision, HostChange::Deleted { id, revision })
    }));
    all.sort_by_key(|(revision, _)| *revision);
    let at_end = all.len() <= limit;
    all.truncate(limit);
    HostChanges {
        revision: all.last().map_or(after_revision, |(revision, _)| *revision),
        changes: all.into_iter().map(|(_, change)| change).collect(),
        at_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::host::tests::host;
    use fleetwright_protocol::HostId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn tombstone(revision: i64) -> Tombstone {
        let id = HostId(Uuid::from_u128(revision.unsigned_abs().into()));
        Tombstone { id, revision }
    }

    proptest! {
        /// Whatever the mix, following page by page shows every change once and in order.
        #[test]
        fn following_pages_shows_every_change_once(kinds in prop::collection::vec(any::<bool>(), 0..40), limit in 1_u32..9) {
            let all: Vec<(i64, bool)> = (1..).zip(kinds).collect();
            let after = |revision: i64, deleted: bool| -> Vec<i64> {
                let wanted = all.iter().filter(|(at, kind)| *at > revision && *kind == deleted);
                wanted.map(|(at, _)| *at).take(limit as usize + 1).collect()
            };
            let mut seen = Vec::new();
            let mut revision = 0;
            loop {
                let hosts = after(revision, false).into_iter().map(host).collect();
                let deleted = after(revision, true).into_iter().map(tombstone).collect();
                let page = page(revision, limit, hosts, deleted);
                prop_assert!(page.changes.len() <= limit as usize);
                for change in &page.changes {
                    seen.push(match change {
                        HostChange::Upsert(record) => record.revision,
                        HostChange::Deleted { revision, .. } => *revision,
                    });
                }
                revision = page.revision;
                if page.at_end {
                    break;
                }
            }
            let expected: Vec<i64> = all.iter().map(|(at, _)| *at).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_empty_page_stays_where_it_is() {
        let page = page(7, 10, Vec::new(), Vec::new());
        assert_eq!(
            (page.revision, page.at_end, page.changes.len()),
            (7, true, 0)
        );
    }

    #[test]
    fn the_revision_never_goes_back() {
        let feed = HostFeed::at(5);
        feed.committed(9);
        feed.committed(7);
        assert_eq!(feed.revision(), 9);
    }
}
