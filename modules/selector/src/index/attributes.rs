//! Columns whose names are the hosts' own: one for each attribute key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::dictionary::{Dictionary, ValueId};

/// By attribute key; no key without a host that has it.
#[derive(Debug, Default)]
pub(super) struct AttributeColumns(HashMap<Arc<str>, Dictionary>);

impl AttributeColumns {
    pub(super) fn get(&self, key: &str) -> Option<&Dictionary> {
        self.0.get(key)
    }

    /// The hosts that have the attribute.
    pub(super) fn known(&self, key: &str) -> RoaringBitmap {
        self.get(key)
            .map(|column| column.known().clone())
            .unwrap_or_default()
    }

    /// Adds a host's attributes; returns what is needed to take them out again.
    pub(super) fn insert(
        &mut self,
        slot: u32,
        attributes: &BTreeMap<String, String>,
    ) -> Box<[(Arc<str>, ValueId)]> {
        let insert_one = |(key, value): (&String, &String)| {
            // One copy of each key for all hosts.
            let shared = self.0.get_key_value(key.as_str());
            let shared = shared.map(|(shared, _)| Arc::clone(shared));
            let key = shared.unwrap_or_else(|| Arc::from(key.as_str()));
            let column = self.0.entry(Arc::clone(&key)).or_default();
            let value_id = column.insert(slot, value);
            (key, value_id)
        };
        attributes.iter().map(insert_one).collect()
    }

    pub(super) fn remove(&mut self, slot: u32, attributes: &[(Arc<str>, ValueId)]) {
        for (key, value_id) in attributes {
            if let Some(column) = self.0.get_mut(key) {
                column.remove(slot, *value_id);
                if column.known().is_empty() {
                    self.0.remove(key);
                }
            }
        }
    }
}
