//! Who depends on whom among groups, and whether that goes in a circle. Not what a group may be saved as: that is `decide`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;

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
