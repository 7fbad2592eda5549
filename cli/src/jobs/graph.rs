//! Draws what a job waits for, as indented text. What is waited for more than once is drawn once, and named after that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::output;

/// The server's graphs have no circle; this is for one that says otherwise.
const DEPTH_MAX: usize = 200;

/// One line a job: its stage, kind, key and id.
pub fn drawn(graph: &Value) -> String {
    let list = |name: &str| {
        graph
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let nodes: BTreeMap<String, &Value> = list("nodes")
        .map(|node| (output::field(node, "id"), node))
        .collect();
    let mut edges: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for edge in list("edges") {
        edges
            .entry(output::field(edge, "from"))
            .or_default()
            .push(edge);
    }
    let mut drawing = Drawing {
        nodes,
        edges,
        drawn: BTreeSet::new(),
        text: String::new(),
    };
    drawing.job(&output::field(graph, "root"), "", &[]);
    if graph.get("truncated").and_then(Value::as_bool) == Some(true) {
        drawing.text.push_str("(there is more)\n");
    }
    drawing.text
}

struct Drawing<'a> {
    nodes: BTreeMap<String, &'a Value>,
    edges: BTreeMap<String, Vec<&'a Value>>,
    drawn: BTreeSet<String>,
    text: String,
}

impl Drawing<'_> {
    /// `above`: for each level whether more follows there.
    fn job(&mut self, id: &str, note: &str, above: &[bool]) {
        for (level, follows) in above.iter().enumerate() {
            let is_own = level + 1 == above.len();
            self.text.push_str(match (is_own, follows) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        let node = self.nodes.get(id).copied().unwrap_or(&Value::Null);
        let words = ["stage", "kind", "idempotency_key"].map(|name| output::field(node, name));
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .chain([id, note])
            .filter(|word| !word.is_empty())
            .collect();
        self.text.push_str(&words.join("  "));
        let edges = self.edges.get(id).cloned().unwrap_or_default();
        if !self.drawn.insert(id.to_owned()) || above.len() >= DEPTH_MAX {
            self.text.push_str(if edges.is_empty() {
                "\n"
            } else {
                "  (above)\n"
            });
            return;
        }
        self.text.push('\n');
        let count = edges.len();
        for (place, edge) in edges.into_iter().enumerate() {
            let flag = |name: &str| edge.get(name).and_then(Value::as_bool) == Some(true);
            let note = if flag("waived") { "(waived)" } else { "" };
            let mut below = above.to_vec();
            below.push(place + 1 < count);
            self.job(&output::field(edge, "to"), note, &below);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_waited_for_twice_is_drawn_once() {
        let node = |id: &str, stage: &str| json!({"id": id, "stage": stage, "kind": "task", "idempotency_key": format!("k{id}")});
        let edge =
            |from: &str, to: &str, waived: bool| json!({"from": from, "to": to, "waived": waived});
        let graph = json!({
            "root": "1",
            "nodes": [node("1", "blocked"), node("2", "queued"), node("3", "failed"), node("4", "shipped")],
            "edges": [edge("1", "2", false), edge("1", "3", true), edge("2", "4", false), edge("3", "2", false)],
            "truncated": true,
        });
        let expected = "\
blocked  task  k1  1
├─ queued  task  k2  2
│  └─ shipped  task  k4  4
└─ failed  task  k3  3  (waived)
   └─ queued  task  k2  2  (above)
(there is more)
";
        assert_eq!(drawn(&graph), expected);
    }

    #[test]
    fn a_circle_ends() {
        let edge = |from: &str, to: &str| json!({"from": from, "to": to});
        let graph = json!({"root": "1", "nodes": [], "edges": [edge("1", "2"), edge("2", "1")]});
        assert_eq!(drawn(&graph), "1\n└─ 2\n   └─ 1  (above)\n");
    }
}
