//! Which file names what of which other file: read from the sources alone, for the checks of circles and of the tower.
//!
//! **The rule.** Files are nodes. There is an edge from a file to another when the code of the first names something
//! that the second *defines*: in a `use`, or in a path (`crate::a::b`, `super::b`, `b::c` where `b` is a module in scope).
//! Declaring a module (`mod b;`) and passing a name on (`pub use b::C;`) are no edges: a parent may list its children
//! without needing them. A name that was passed on points at the file that defines it, however many hands it went
//! through. So a child that uses an item of its parent's file is an edge, and a parent whose own code uses what a child
//! defines is one too; both together are a circle.
//!
//! What it does not see: methods (they are called on values, and whoever has the value has named its type or got it
//! from one who has), and paths inside strings, as in `#[serde(with = "…")]`. Tests are not code here.

mod circles;
mod edge;
mod read;
mod resolve;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

pub use circles::{Circle, circles};
pub use edge::Edge;

/// What was read of all packages.
#[derive(Debug, Default)]
pub struct Imports {
    /// One for each pair of files and name.
    pub edges: Vec<Edge>,
    /// Files that belong to a package's `src` and to no module: nothing is known of them.
    pub unreached: Vec<String>,
}

/// Reads every package whose sources are among the given ones.
pub fn imports(sources: &[Source]) -> Imports {
    let by_path: BTreeMap<&str, &Source> = sources
        .iter()
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut found: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    for root in by_path.keys().filter(|path| is_root(path)) {
        let tree = resolve::Tree::read(root, &by_path);
        reached.extend(tree.files());
        for edge in tree.edges() {
            let line = found
                .entry((edge.from, edge.to, edge.name))
                .or_insert(edge.line);
            *line = edge.line.min(*line);
        }
    }
    let edges = found.into_iter().map(|((from, to, name), line)| Edge {
        from,
        to,
        line,
        name,
    });
    let unreached = by_path
        .keys()
        .filter(|path| path.contains("src/") && !reached.contains(**path))
        .map(|path| (*path).to_owned());
    Imports {
        edges: edges.collect(),
        unreached: unreached.collect(),
    }
}

/// The first file of a library or a program.
fn is_root(path: &str) -> bool {
    let inside = path.split_once("src/").map(|(_, inside)| inside);
    inside.is_some_and(|inside| {
        inside == "lib.rs"
            || inside == "main.rs"
            || inside
                .strip_prefix("bin/")
                .is_some_and(|name| !name.contains('/'))
    })
}

#[cfg(test)]
mod tests;
