//! All groups in memory, as of one generation of the graph. A value: a change makes a new one. Not their members, and not
//! where they are stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fleetwright_selector::{HostField, Leaf, NumberField, ValidSelector};
use uuid::Uuid;

use crate::graph::{Edges, Graph};

/// One group as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: Uuid,
    pub name: String,
    pub description: String,
    pub parent_id: Option<Uuid>,
    /// Ascending, without duplicates.
    pub explicit_host_ids: Vec<Uuid>,
    /// Names other groups by id only.
    pub selector: Option<ValidSelector>,
    pub created_at_us: i64,
    pub updated_at_us: i64,
    /// From 1; rises with every change of this group.
    pub revision: i64,
    /// The generation of the graph with which it was last written.
    pub generation: i64,
}

/// Every group, by id, by name and by parent.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    generation: i64,
    groups: BTreeMap<Uuid, Arc<Group>>,
    by_name: HashMap<String, Uuid>,
    children: BTreeMap<Option<Uuid>, BTreeSet<Uuid>>,
}

/// What happened to the groups between two generations.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub written: Vec<Group>,
    pub removed: Vec<Uuid>,
    pub generation: i64,
}

/// A name as names are compared: the ASCII case does not matter, as in selectors.
pub fn name_key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Whether the selector asks when hosts were last seen, which the inventory's revision says nothing about.
pub fn asks_last_seen(selector: &ValidSelector) -> bool {
    let mut asks = false;
    for criterion in selector.criteria() {
        criterion.for_each_leaf(&mut |leaf| {
            asks |= match leaf {
                Leaf::Number { field, .. } => *field == NumberField::LastSeenAt,
                Leaf::Exists { field, .. } => *field == HostField::Number(NumberField::LastSeenAt),
                Leaf::Text { .. }
                | Leaf::Version { .. }
                | Leaf::List { .. }
                | Leaf::Group(_)
                | Leaf::Bool { .. } => false,
            }
        });
    }
    asks
}

impl Group {
    /// The groups its selector names.
    pub fn references(&self) -> Vec<Uuid> {
        self.selector.as_ref().map_or_else(Vec::new, referenced_ids)
    }
}

/// The groups a stored selector names; in one that is stored, all are ids.
pub fn referenced_ids(selector: &ValidSelector) -> Vec<Uuid> {
    let references = selector.group_references();
    references
        .into_iter()
        .filter_map(|reference| Uuid::try_parse(reference).ok())
        .collect()
}

impl Catalog {
    /// The generation of the graph this is.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn get(&self, id: Uuid) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    /// The group of that name, in any ASCII case.
    pub fn named(&self, name: &str) -> Option<&Arc<Group>> {
        self.get(*self.by_name.get(&name_key(name))?)
    }

    /// The group a selector means: by id if there is one of that id, else by name.
    pub fn resolve(&self, reference: &str) -> Option<Uuid> {
        let by_id = Uuid::try_parse(reference)
            .ok()
            .filter(|id| self.groups.contains_key(id));
        by_id.or_else(|| self.named(reference).map(|group| group.id))
    }

    /// Ascending by id. Of `None`, the groups at the top level.
    pub fn children(&self, parent_id: Option<Uuid>) -> impl Iterator<Item = Uuid> {
        self.children.get(&parent_id).into_iter().flatten().copied()
    }

    /// All groups after that id, ascending by id.
    pub fn after(&self, id: Option<Uuid>) -> impl Iterator<Item = &Arc<Group>> {
        use std::ops::Bound;
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.groups
            .range((from, Bound::Unbounded))
            .map(|(_, group)| group)
    }

    /// What the members of a group are made of besides its own: those of its children, and of the groups it names.
    pub fn dependencies(&self, id: Uuid) -> Vec<Uuid> {
        let mut found: Vec<Uuid> = self.children(Some(id)).collect();
        if let Some(group) = self.get(id) {
            found.extend(group.references());
        }
        found
    }

    /// The graph to decide on.
    pub fn graph(&self) -> Graph {
        let edges = |group: &Arc<Group>| Edges {
            parent: group.parent_id,
            references: group.references(),
        };
        Graph::new(self.groups.iter().map(|(id, group)| (*id, edges(group))))
    }

    /// The catalogue after these changes.
    #[must_use]
    pub fn with(&self, changes: Changes) -> Self {
        let mut next = self.clone();
        for id in changes.removed {
            next.take(id);
        }
        // All out before any in: two groups may have swapped their names.
        for group in &changes.written {
            next.take(group.id);
        }
        for group in changes.written {
            next.by_name.insert(name_key(&group.name), group.id);
            next.children
                .entry(group.parent_id)
                .or_default()
                .insert(group.id);
            next.groups.insert(group.id, Arc::new(group));
        }
        next.generation = changes.generation;
        next
    }

    fn take(&mut self, id: Uuid) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        let key = name_key(&group.name);
        if self.by_name.get(&key) == Some(&id) {
            self.by_name.remove(&key);
        }
        if let Some(siblings) = self.children.get_mut(&group.parent_id) {
            siblings.remove(&id);
            if siblings.is_empty() {
                self.children.remove(&group.parent_id);
            }
        }
    }
}
