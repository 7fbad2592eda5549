//! Decisions about the graph of groups, free of I/O and clock: may a group be saved or deleted as asked, and in which order
//! are members computed. Not what a selector selects.

mod save;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use fleetwright_plugin_api::sdk::IfMatch;
use uuid::Uuid;

use crate::catalog::Catalog;

pub(crate) use save::unknown_groups;
pub use save::{Cycle, Draft, NotSaved, SaveAs, decide_save};

/// Groups there may be: five times the number the performance targets are set for, and as many as one read of the
/// database can list.
pub const GROUPS_MAX: usize = 5_000;

/// The roots and all they depend on, each once and after what it depends on itself. Should there be a cycle, its last edge
/// is left out.
pub fn dependencies_first(
    roots: impl IntoIterator<Item = Uuid>,
    dependencies: impl Fn(Uuid) -> Vec<Uuid>,
) -> Vec<Uuid> {
    let mut order = Vec::new();
    let mut entered = HashSet::new();
    for root in roots {
        if !entered.insert(root) {
            continue;
        }
        // Not recursive: a chain of parents may be as long as there are groups.
        let mut stack = vec![(root, dependencies(root))];
        while let Some((id, rest)) = stack.last_mut() {
            match rest.pop() {
                Some(next) => {
                    if entered.insert(next) {
                        stack.push((next, dependencies(next)));
                    }
                }
                None => {
                    order.push(*id);
                    stack.pop();
                }
            }
        }
    }
    order
}

/// Why a group cannot be deleted.
#[derive(Clone, Debug, PartialEq)]
pub enum DeleteRefusal {
    NotFound,
    Stale,
    /// Selectors of these groups name it; ascending by id.
    InUse(BTreeSet<Uuid>),
}

/// Whether a group may go: no other group's selector names it.
pub fn decide_delete(catalog: &Catalog, id: Uuid, seen: &IfMatch) -> Result<(), DeleteRefusal> {
    let group = catalog.get(id).ok_or(DeleteRefusal::NotFound)?;
    if !seen.matches(group.revision) {
        return Err(DeleteRefusal::Stale);
    }
    let users: BTreeSet<Uuid> = catalog
        .after(None)
        .filter(|other| other.id != id && other.references().contains(&id))
        .map(|other| other.id)
        .collect();
    if users.is_empty() {
        Ok(())
    } else {
        Err(DeleteRefusal::InUse(users))
    }
}
