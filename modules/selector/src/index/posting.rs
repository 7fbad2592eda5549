//! The slots that have one value. Most values of names belong to a single host, which must not cost a bitmap each.

use roaring::RoaringBitmap;

#[derive(Debug)]
pub(super) enum Posting {
    One(u32),
    /// Two slots or more when it is made; it may shrink to none.
    Many(RoaringBitmap),
}

impl Posting {
    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => *self = Self::Many(RoaringBitmap::from_iter([*only, slot])),
            Self::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) => *only == slot,
            Self::Many(slots) => {
                slots.remove(slot);
                slots.is_empty()
            }
        }
    }
}

/// Gathers postings into one bitmap.
#[derive(Debug, Default)]
pub(super) struct Union {
    bitmap: RoaringBitmap,
    singles: Vec<u32>,
}

impl Union {
    pub(super) fn add(&mut self, posting: &Posting) {
        match posting {
            Posting::One(slot) => self.singles.push(*slot),
            Posting::Many(slots) => self.bitmap |= slots,
        }
    }

    pub(super) fn into_bitmap(self) -> RoaringBitmap {
        self.bitmap | bitmap_of(self.singles)
    }
}

/// A bitmap of slots in any order. Sorting first fills it container by container, several times faster than one by one.
pub(super) fn bitmap_of(mut slots: Vec<u32>) -> RoaringBitmap {
    slots.sort_unstable();
    slots.into_iter().collect()
}
