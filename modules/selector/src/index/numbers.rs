//! A column of numbers, in order, so that a comparison is a range. Not for values that change with every heartbeat.

use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::RoaringBitmap;

use crate::criterion::NumberTest;
use crate::op::Comparison;

use super::posting::{Posting, Union};

#[derive(Debug, Default)]
pub(super) struct NumberColumn {
    by_number: BTreeMap<i64, Posting>,
    known: RoaringBitmap,
}

impl NumberColumn {
    pub(super) fn known(&self) -> &RoaringBitmap {
        &self.known
    }

    pub(super) fn insert(&mut self, slot: u32, number: i64) {
        self.known.insert(slot);
        self.by_number
            .entry(number)
            .and_modify(|posting| posting.insert(slot))
            .or_insert(Posting::One(slot));
    }

    pub(super) fn remove(&mut self, slot: u32, number: i64) {
        self.known.remove(slot);
        if self
            .by_number
            .get_mut(&number)
            .is_some_and(|posting| posting.remove(slot))
        {
            self.by_number.remove(&number);
        }
    }

    /// The slots whose number passes.
    pub(super) fn passing(&self, test: &NumberTest) -> RoaringBitmap {
        match test {
            NumberTest::In(numbers) => self.with_any_of(numbers),
            NumberTest::NotIn(numbers) => &self.known - self.with_any_of(numbers),
            NumberTest::Compare(comparison, bound) => match comparison {
                Comparison::Equal => self.with_any_of(&[*bound]),
                Comparison::NotEqual => &self.known - self.with_any_of(&[*bound]),
                Comparison::Greater => self.within(Bound::Excluded(*bound), Bound::Unbounded),
                Comparison::GreaterOrEqual => {
                    self.within(Bound::Included(*bound), Bound::Unbounded)
                }
                Comparison::Less => self.within(Bound::Unbounded, Bound::Excluded(*bound)),
                Comparison::LessOrEqual => self.within(Bound::Unbounded, Bound::Included(*bound)),
            },
        }
    }

    fn with_any_of(&self, numbers: &[i64]) -> RoaringBitmap {
        let mut union = Union::default();
        for posting in numbers
            .iter()
            .filter_map(|number| self.by_number.get(number))
        {
            union.add(posting);
        }
        union.into_bitmap()
    }

    fn within(&self, lower: Bound<i64>, upper: Bound<i64>) -> RoaringBitmap {
        let mut union = Union::default();
        for (_, posting) in self.by_number.range((lower, upper)) {
            union.add(posting);
        }
        union.into_bitmap()
    }
}
