//! One thing for each field of a kind, without a map. Not the columns themselves.

use roaring::RoaringBitmap;

use crate::field::{BoolField, Fact, ListField, NumberField};

/// Declares an array with a place for every variant of a fieldless enum.
macro_rules! per_variant {
    ($name:ident, $key:ty) => {
        #[derive(Debug, Default)]
        pub(super) struct $name<T>([T; <$key>::ALL.len()]);

        impl<T> $name<T> {
            pub(super) fn get(&self, key: $key) -> &T {
                // In range: the discriminants count from 0, and `ALL` has each variant once.
                &self.0[key as usize]
            }

            pub(super) fn get_mut(&mut self, key: $key) -> &mut T {
                // In range, as above.
                &mut self.0[key as usize]
            }
        }
    };
}

per_variant!(PerFact, Fact);
per_variant!(PerList, ListField);
per_variant!(PerNumber, NumberField);
per_variant!(PerBool, BoolField);

/// The hosts that have a truth value, and those of them for which it is true.
#[derive(Debug, Default)]
pub(super) struct BoolColumn {
    pub(super) known: RoaringBitmap,
    pub(super) yes: RoaringBitmap,
}

impl BoolColumn {
    pub(super) fn insert(&mut self, slot: u32, value: bool) {
        self.known.insert(slot);
        if value {
            self.yes.insert(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.known.remove(slot);
        self.yes.remove(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_own_place() {
        let mut names = PerFact::<&str>::default();
        for fact in Fact::ALL {
            *names.get_mut(fact) = fact.name();
        }
        assert!(
            Fact::ALL
                .into_iter()
                .all(|fact| *names.get(fact) == fact.name())
        );
        let mut names = PerNumber::<&str>::default();
        for field in NumberField::ALL {
            *names.get_mut(field) = field.name();
        }
        assert!(
            NumberField::ALL
                .into_iter()
                .all(|field| *names.get(field) == field.name())
        );
    }
}
