//! Decisions about the graph of groups, free of I/O and clock: may a group be saved or deleted as asked, and in which order
//! are members computed. Not what a selector selects.

mod save;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use fleetwright_plugin_api::sdk::IfMatch;
use uuid::Uuid;

use crate::catalog::Catalog;

pub(crate) use save::unknown_groups;
pub use save::{Cycle, Draft, NotSaved, SaveAs, decide_save};

/// Groups there may be: five times the number the performance targets are set for, and as many as one read of the
/// database can list.
pub const GROUPS_MAX: usize = 5_000;

/// What a group depends on, seen from the group itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edges {
    pub parent: Option<Uuid>,
    /// Groups its selector names.
    pub references: Vec<Uuid>,
}

/// Who depends on whom: a parent on its children, and a group on those its selector names. Must stay acyclic, or members
/// would be defined by themselves.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<Uuid, Edges>,
    children: HashMap<Uuid, Vec<Uuid>>,
}

impl Graph {
    pub fn new(nodes: impl IntoIterator<Item = (Uuid, Edges)>) -> Self {
        let mut graph = Self::default();
        for (id, edges) in nodes {
            graph.put(id, edges);
        }
        graph
    }

    /// Adds a group, or replaces its edges.
    pub fn put(&mut self, id: Uuid, edges: Edges) {
        if let Some(old_parent) = self.nodes.get(&id).and_then(|old| old.parent)
            && let Some(siblings) = self.children.get_mut(&old_parent)
        {
            siblings.retain(|sibling| *sibling != id);
        }
        if let Some(parent) = edges.parent {
            self.children.entry(parent).or_default().push(id);
        }
        self.nodes.insert(id, edges);
    }

    /// The groups this one depends on.
    fn dependencies(&self, id: Uuid) -> impl Iterator<Item = Uuid> {
        let children = self.children.get(&id).into_iter().flatten();
        let references = self
            .nodes
            .get(&id)
            .into_iter()
            .flat_map(|edges| &edges.references);
        children.chain(references).copied()
    }

    /// A shortest cycle through that group, beginning and ending with it. A change of one group's edges can only close
    /// cycles through it.
    pub fn cycle_through(&self, id: Uuid) -> Option<Vec<Uuid>> {
        let mut came_from: HashMap<Uuid, Uuid> = HashMap::new();
        let mut queue = VecDeque::from([id]);
        while let Some(at) = queue.pop_front() {
            for next in self.dependencies(at) {
                if next == id {
                    return Some(path_back(&came_from, id, at));
                }
                if let std::collections::hash_map::Entry::Vacant(entry) = came_from.entry(next) {
                    entry.insert(at);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// The way from `id` to `last`, closed with `id`.
fn path_back(came_from: &HashMap<Uuid, Uuid>, id: Uuid, last: Uuid) -> Vec<Uuid> {
    let mut path = vec![id];
    let mut at = last;
    while at != id {
        path.push(at);
        // Every group on the way has been reached from another.
        at = came_from.get(&at).copied().unwrap_or(id);
    }
    path.push(id);
    path.reverse();
    path
}

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
