//! A column of texts: every distinct value once, with the slots that have it. Not a column per host: a host keeps the ids of its
//! values in its record.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::value::FoldedText;

use super::posting::{Posting, Union};

/// Names a distinct value within its dictionary, until no host has it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueId(u32);

#[derive(Debug, Default)]
pub(super) struct Dictionary {
    entries: Vec<Option<Entry>>,
    free: Vec<ValueId>,
    /// By the value as the host reported it.
    by_original: HashMap<Arc<str>, ValueId>,
    /// By the folded value, only those that are not folded themselves: hardly any, so that this map stays empty.
    by_folded: HashMap<Arc<str>, Vec<ValueId>>,
    known: RoaringBitmap,
}

#[derive(Debug)]
pub(super) struct Entry {
    original: Arc<str>,
    /// Shares its memory with the original where both are the same.
    folded: Arc<str>,
    posting: Posting,
}

impl Entry {
    pub(super) fn original(&self) -> &str {
        &self.original
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }
}

impl Dictionary {
    /// The slots that have a value here; for a list, at least one element.
    pub(super) fn known(&self) -> &RoaringBitmap {
        &self.known
    }

    /// Gives a slot a value. A list gives it several; giving one twice changes nothing.
    pub(super) fn insert(&mut self, slot: u32, value: &str) -> ValueId {
        self.known.insert(slot);
        if let Some(&value_id) = self.by_original.get(value) {
            if let Some(entry) = self.entry_mut(value_id) {
                entry.posting.insert(slot);
            }
            return value_id;
        }
        let original: Arc<str> = Arc::from(value);
        let is_folded = !value.bytes().any(|byte| byte.is_ascii_uppercase());
        let folded = if is_folded {
            Arc::clone(&original)
        } else {
            Arc::from(value.to_ascii_lowercase())
        };
        let entry = Entry {
            original: Arc::clone(&original),
            folded: Arc::clone(&folded),
            posting: Posting::One(slot),
        };
        let value_id = self.place(entry);
        self.by_original.insert(original, value_id);
        if !is_folded {
            self.by_folded.entry(folded).or_default().push(value_id);
        }
        value_id
    }

    /// Takes a value from a slot. The slot counts as unknown from then on: all its values are removed together.
    pub(super) fn remove(&mut self, slot: u32, value_id: ValueId) {
        self.known.remove(slot);
        let Some(place) = self.entries.get_mut(value_id.0 as usize) else {
            return;
        };
        if !place
            .as_mut()
            .is_some_and(|entry| entry.posting.remove(slot))
        {
            return;
        }
        let Some(entry) = place.take() else { return };
        self.by_original.remove(&entry.original);
        if let Some(variants) = self.by_folded.get_mut(&entry.folded) {
            variants.retain(|variant| *variant != value_id);
            if variants.is_empty() {
                self.by_folded.remove(&entry.folded);
            }
        }
        self.free.push(value_id);
    }

    /// The slots with any of these values.
    pub(super) fn with_any_of(&self, values: &[FoldedText]) -> RoaringBitmap {
        let mut union = Union::default();
        for value in values {
            let same = self.by_original.get(value.folded());
            let variants = self.by_folded.get(value.folded()).into_iter().flatten();
            for value_id in same.into_iter().chain(variants) {
                if let Some(entry) = self.entry(*value_id) {
                    union.add(&entry.posting);
                }
            }
        }
        union.into_bitmap()
    }

    /// The slots whose value passes, at least all those within `domain`: for a small one, values of single hosts outside are not
    /// tested.
    pub(super) fn scan(
        &self,
        domain: &RoaringBitmap,
        passes: impl Fn(&Entry) -> bool,
    ) -> RoaringBitmap {
        let mut union = Union::default();
        // Looking a slot up costs about as much as most tests, so a domain that leaves little out is not consulted; the caller narrows
        // the answer down anyway.
        let asks_about_most = domain.len() >= self.known.len();
        for entry in self.entries.iter().flatten() {
            let is_in_domain = asks_about_most
                || match entry.posting {
                    Posting::One(slot) => domain.contains(slot),
                    Posting::Many(_) => true,
                };
            if is_in_domain && passes(entry) {
                union.add(&entry.posting);
            }
        }
        union.into_bitmap()
    }

    fn entry(&self, value_id: ValueId) -> Option<&Entry> {
        self.entries.get(value_id.0 as usize)?.as_ref()
    }

    fn entry_mut(&mut self, value_id: ValueId) -> Option<&mut Entry> {
        self.entries.get_mut(value_id.0 as usize)?.as_mut()
    }

    fn place(&mut self, entry: Entry) -> ValueId {
        if let Some(value_id) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(value_id.0 as usize) {
                *place = Some(entry);
            }
            return value_id;
        }
        // Saturation is out of reach: four thousand million distinct values do not fit in memory.
        let value_id = ValueId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(Some(entry));
        value_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_in_case_are_found_together_and_forgotten_apart() {
        let mut column = Dictionary::default();
        let lower = column.insert(1, "web");
        let upper = column.insert(2, "WEB");
        let wanted = [FoldedText::new("Web")];
        assert_eq!(
            column.with_any_of(&wanted),
            RoaringBitmap::from_iter([1, 2])
        );
        column.remove(1, lower);
        assert_eq!(column.with_any_of(&wanted), RoaringBitmap::from_iter([2]));
        column.remove(2, upper);
        assert!(column.with_any_of(&wanted).is_empty() && column.known().is_empty());
        assert!(column.by_original.is_empty() && column.by_folded.is_empty());
    }

    #[test]
    fn a_forgotten_values_place_is_used_again() {
        let mut column = Dictionary::default();
        for round in 0..100 {
            let value_id = column.insert(7, &format!("host-{round}"));
            column.remove(7, value_id);
        }
        assert_eq!(column.entries.len(), 1);
    }
}
