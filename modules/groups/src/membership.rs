//! Who is in which group, as bitmaps over the index: own explicit and own dynamic members, and those of all descendants.
//! Remembered for one revision of the inventory and one generation of the groups. No I/O.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetwright_selector::Lookups;
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::catalog::{Catalog, Group, asks_last_seen};
use crate::decide::dependencies_first;
use crate::inventory::Indexed;

/// When each host was last seen, in µs since the Unix epoch.
pub type LastSeen = HashMap<Uuid, i64>;

/// Members of one group.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Its explicit members and those its selector matches.
    pub own: Arc<RoaringBitmap>,
    /// And those of all descendants.
    pub effective: Arc<RoaringBitmap>,
}

/// Members of groups, remembered between evaluations.
#[derive(Debug, Default)]
pub struct Memory {
    memo: Mutex<Memo>,
}

#[derive(Debug, Default)]
struct Memo {
    stamp: Stamp,
    members: HashMap<Uuid, Members>,
    /// Looking up a hundred ids takes longer than most selectors, and slots move only with the layout.
    explicit: HashMap<Uuid, (ExplicitStamp, Arc<RoaringBitmap>)>,
}

/// What members depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stamp {
    revision: i64,
    generation: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ExplicitStamp {
    layout: u64,
    group_generation: i64,
}

/// The members of some groups, and of all groups these depend on.
pub struct Membership<'a> {
    catalog: &'a Catalog,
    members: HashMap<Uuid, Members>,
}

impl Membership<'_> {
    pub fn of(&self, id: Uuid) -> Option<&Members> {
        self.members.get(&id)
    }

    /// For a criterion about groups: by id or name; none if there is no such group.
    pub fn effective(&self, reference: &str) -> Option<Arc<RoaringBitmap>> {
        let members = self.of(self.catalog.resolve(reference)?)?;
        Some(Arc::clone(&members.effective))
    }
}

impl Memory {
    /// The members of these groups. `last_seen` must be given if [`groups_ask_last_seen`] says so.
    pub fn members<'a>(
        &self,
        indexed: &Indexed,
        catalog: &'a Catalog,
        groups: &[Uuid],
        last_seen: Option<&LastSeen>,
    ) -> Membership<'a> {
        let mut membership = Membership {
            catalog,
            members: HashMap::new(),
        };
        // Who asks for no group may come without the catalogue, and its generation says nothing about what is remembered.
        if groups.is_empty() {
            return membership;
        }
        let stamp = Stamp {
            revision: indexed.revision,
            generation: catalog.generation(),
        };
        let is_volatile = last_seen.is_some();
        let known = if is_volatile {
            HashMap::new()
        } else {
            self.known(stamp, catalog, groups)
        };
        let order = dependencies_first(groups.iter().copied(), |id| {
            if known.contains_key(&id) {
                Vec::new()
            } else {
                catalog.dependencies(id)
            }
        });
        membership.members = known;
        for id in order {
            if membership.members.contains_key(&id) {
                continue;
            }
            if let Some(group) = catalog.get(id) {
                let members = self.compute(indexed, group, &membership, last_seen);
                membership.members.insert(id, members);
            }
        }
        if !is_volatile {
            self.remember(stamp, &membership.members);
        }
        membership
    }

    fn compute(
        &self,
        indexed: &Indexed,
        group: &Group,
        so_far: &Membership<'_>,
        last_seen: Option<&LastSeen>,
    ) -> Members {
        let lookups = Lookups {
            group_members: &|reference| so_far.effective(reference),
            last_seen_at_us: &|id| last_seen?.get(id).copied(),
        };
        let explicit = self.explicit(indexed, group);
        let own = match &group.selector {
            Some(selector) => {
                Arc::new(indexed.index.slots_selected(selector, &lookups) | &*explicit)
            }
            None => explicit,
        };
        let mut children = so_far
            .catalog
            .children(Some(group.id))
            .filter_map(|child| so_far.of(child))
            .peekable();
        let effective = if children.peek().is_none() {
            Arc::clone(&own)
        } else {
            Arc::new(children.fold((*own).clone(), |all, child| all | &*child.effective))
        };
        Members { own, effective }
    }

    fn explicit(&self, indexed: &Indexed, group: &Group) -> Arc<RoaringBitmap> {
        if group.explicit_host_ids.is_empty() {
            return Arc::default();
        }
        let stamp = ExplicitStamp {
            layout: indexed.layout,
            group_generation: group.generation,
        };
        if let Some((known, slots)) = self.lock().explicit.get(&group.id)
            && *known == stamp
        {
            return Arc::clone(slots);
        }
        let slots = Arc::new(indexed.index.slots_of(&group.explicit_host_ids));
        self.lock()
            .explicit
            .insert(group.id, (stamp, Arc::clone(&slots)));
        slots
    }

    /// What is remembered of these groups and of what they depend on, if it is of this moment.
    fn known(&self, stamp: Stamp, catalog: &Catalog, groups: &[Uuid]) -> HashMap<Uuid, Members> {
        let memo = self.lock();
        if memo.stamp != stamp {
            return HashMap::new();
        }
        let mut known = HashMap::new();
        let mut wanted = groups.to_vec();
        while let Some(id) = wanted.pop() {
            if known.contains_key(&id) {
                continue;
            }
            match memo.members.get(&id) {
                Some(members) => {
                    known.insert(id, members.clone());
                }
                // Parts of an unknown group may be known.
                None if catalog.get(id).is_some() => {
                    known.extend(
                        memo.members
                            .iter()
                            .map(|(id, members)| (*id, members.clone())),
                    );
                    return known;
                }
                None => {}
            }
        }
        known
    }

    fn remember(&self, stamp: Stamp, members: &HashMap<Uuid, Members>) {
        let mut memo = self.lock();
        if memo.stamp != stamp {
            memo.stamp = stamp;
            memo.members.clear();
        }
        #[expect(
            clippy::iter_over_hash_type,
            reason = "each is put by its own id into another map, so that no order reaches it"
        )]
        for (id, members) in members {
            memo.members.entry(*id).or_insert_with(|| members.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether any of these groups, or one they depend on, asks when hosts were last seen.
pub fn groups_ask_last_seen(catalog: &Catalog, groups: &[Uuid]) -> bool {
    let all = dependencies_first(groups.iter().copied(), |id| catalog.dependencies(id));
    let selectors = all
        .into_iter()
        .filter_map(|id| catalog.get(id)?.selector.as_ref());
    selectors.into_iter().any(asks_last_seen)
}
