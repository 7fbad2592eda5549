//! An index over all hosts that answers a criterion with bitmaps instead of visiting every host. Not an inventory: it keeps what
//! criteria ask for, and learns of changes only through [`Index::upsert`] and [`Index::remove`].
//!
//! Each host has a slot, a small number that is given to another host once it is removed. Bitmaps are over slots, so they hold for
//! one state of the index only.

mod attributes;
mod dictionary;
mod evaluate;
mod explain;
mod numbers;
mod per_field;
mod posting;

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::field::{BoolField, Fact, ListField, NumberField};
use crate::host::HostFields;

use attributes::AttributeColumns;
use dictionary::{Dictionary, ValueId};
use numbers::NumberColumn;
use per_field::{BoolColumn, PerBool, PerFact, PerList, PerNumber};

pub use evaluate::{Lookups, Truths};
pub use explain::CriterionExplanation;

/// The index. About 1 KB a host with ten attributes; see [`Index::select`] and its neighbours for what it answers.
#[derive(Debug, Default)]
pub struct Index {
    /// Ascending by id, which is the order of every answer.
    slots_by_id: BTreeMap<Uuid, u32>,
    records: Vec<Option<Record>>,
    free_slots: Vec<u32>,
    live: RoaringBitmap,
    facts: PerFact<Dictionary>,
    lists: PerList<Dictionary>,
    numbers: PerNumber<NumberColumn>,
    bools: PerBool<BoolColumn>,
    attributes: AttributeColumns,
    agent_attributes: AttributeColumns,
}

/// What is needed to take a host out of the columns again.
#[derive(Debug)]
struct Record {
    id: Uuid,
    facts: PerFact<Option<ValueId>>,
    lists: PerList<Box<[ValueId]>>,
    numbers: PerNumber<Option<i64>>,
    attributes: Box<[(Arc<str>, ValueId)]>,
    agent_attributes: Box<[(Arc<str>, ValueId)]>,
}

impl Index {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hosts in the index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots_by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots_by_id.is_empty()
    }

    #[must_use]
    pub fn contains(&self, host_id: &Uuid) -> bool {
        self.slots_by_id.contains_key(host_id)
    }

    /// Adds a host or replaces what is known of it. `last_seen_at_us` is not kept.
    pub fn upsert(&mut self, host: &HostFields) {
        let slot = match self.slots_by_id.get(&host.id) {
            Some(&slot) => {
                self.clear_slot(slot);
                slot
            }
            None => self.take_slot(host.id),
        };
        let record = self.fill_slot(slot, host);
        match self.records.get_mut(slot as usize) {
            Some(place) => *place = Some(record),
            None => self.records.push(Some(record)),
        }
    }

    /// Forgets a host; `false` if it was not there.
    pub fn remove(&mut self, host_id: &Uuid) -> bool {
        let Some(slot) = self.slots_by_id.remove(host_id) else {
            return false;
        };
        self.clear_slot(slot);
        self.live.remove(slot);
        self.free_slots.push(slot);
        true
    }

    /// The slots of all hosts.
    #[must_use]
    pub fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// The slots of those ids that are in the index; for a group's explicit members.
    #[must_use]
    pub fn slots_of(&self, host_ids: &[Uuid]) -> RoaringBitmap {
        posting::bitmap_of(
            host_ids
                .iter()
                .filter_map(|id| self.slots_by_id.get(id).copied())
                .collect(),
        )
    }

    /// The ids in those slots, ascending by raw bytes.
    #[must_use]
    pub fn ids_of(&self, slots: &RoaringBitmap) -> Vec<Uuid> {
        // Looking up and sorting costs about eight times as much a host as walking all ids in order.
        if slots.len() * 8 > self.live.len() {
            let in_order = self
                .slots_by_id
                .iter()
                .filter(|&(_, &slot)| slots.contains(slot));
            return in_order.map(|(id, _)| *id).collect();
        }
        let mut ids: Vec<Uuid> = slots.iter().filter_map(|slot| self.id_of(slot)).collect();
        ids.sort_unstable();
        ids
    }

    fn id_of(&self, slot: u32) -> Option<Uuid> {
        self.records
            .get(slot as usize)?
            .as_ref()
            .map(|record| record.id)
    }

    /// A freed slot, or the next one. Slots are dense, so a `u32` numbers more hosts than memory can hold.
    fn take_slot(&mut self, host_id: Uuid) -> u32 {
        let next = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let slot = self.free_slots.pop().unwrap_or(next);
        self.slots_by_id.insert(host_id, slot);
        self.live.insert(slot);
        slot
    }

    fn fill_slot(&mut self, slot: u32, host: &HostFields) -> Record {
        let mut facts = PerFact::default();
        for fact in Fact::ALL {
            *facts.get_mut(fact) = host
                .fact(fact)
                .map(|value| self.facts.get_mut(fact).insert(slot, value));
        }
        let mut lists = PerList::default();
        for field in ListField::ALL {
            let column = self.lists.get_mut(field);
            *lists.get_mut(field) = host
                .list(field)
                .iter()
                .map(|value| column.insert(slot, value))
                .collect();
        }
        let mut numbers = PerNumber::default();
        for field in NumberField::ALL {
            let number = match field {
                NumberField::LastSeenAt => None,
                NumberField::CpuCount | NumberField::MemoryTotalMb | NumberField::CreatedAt => {
                    host.number(field)
                }
            };
            *numbers.get_mut(field) = number;
            if let Some(number) = number {
                self.numbers.get_mut(field).insert(slot, number);
            }
        }
        for field in BoolField::ALL {
            if let Some(value) = host.boolean(field) {
                self.bools.get_mut(field).insert(slot, value);
            }
        }
        Record {
            id: host.id,
            facts,
            lists,
            numbers,
            attributes: self.attributes.insert(slot, &host.attributes),
            agent_attributes: self.agent_attributes.insert(slot, &host.agent_attributes),
        }
    }

    /// Takes the host in a slot out of every column; the slot stays its own.
    fn clear_slot(&mut self, slot: u32) {
        let Some(record) = self.records.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        for fact in Fact::ALL {
            if let Some(value_id) = *record.facts.get(fact) {
                self.facts.get_mut(fact).remove(slot, value_id);
            }
        }
        for field in ListField::ALL {
            for value_id in record.lists.get(field) {
                self.lists.get_mut(field).remove(slot, *value_id);
            }
        }
        for field in NumberField::ALL {
            if let Some(number) = *record.numbers.get(field) {
                self.numbers.get_mut(field).remove(slot, number);
            }
        }
        for field in BoolField::ALL {
            self.bools.get_mut(field).remove(slot);
        }
        self.attributes.remove(slot, &record.attributes);
        self.agent_attributes.remove(slot, &record.agent_attributes);
    }
}
