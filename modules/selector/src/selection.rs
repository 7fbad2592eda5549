//! What a selector selects. Not frozen: it is the answer for one state of the index, and its digest tells whether another is the same.

use std::fmt::Write as _;

use roaring::RoaringBitmap;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::index::{Index, Lookups};
use crate::selector::ValidSelector;

/// The selected hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// Ascending by raw bytes, without duplicates.
    pub host_ids: Vec<Uuid>,
    pub count: u64,
    /// Explicit ids that are no host; ascending.
    pub unknown_host_ids: Vec<Uuid>,
    /// `sha256:` and the hexadecimal digest of the sorted raw ids.
    pub digest: String,
}

impl Index {
    /// Selects hosts: the explicit ones that exist, and those that satisfy all criteria.
    #[must_use]
    pub fn select(&self, selector: &ValidSelector, lookups: &Lookups<'_>) -> Selection {
        let host_ids = self.ids_of(&self.slots_selected(selector, lookups));
        let digest = digest_of_sorted(&host_ids);
        let unknown_host_ids = self.unknown_ids(selector);
        Selection {
            count: host_ids.len() as u64,
            host_ids,
            unknown_host_ids,
            digest,
        }
    }

    /// The selected hosts as slots; what a group's membership is made of.
    #[must_use]
    pub fn slots_selected(&self, selector: &ValidSelector, lookups: &Lookups<'_>) -> RoaringBitmap {
        if selector.is_all_hosts() {
            return self.live().clone();
        }
        let explicit = self.slots_of(selector.explicit_host_ids());
        if selector.criteria().is_empty() {
            return explicit;
        }
        self.matching_all(selector.criteria(), lookups) | explicit
    }

    /// The explicit ids that are no host; ascending.
    #[must_use]
    pub fn unknown_ids(&self, selector: &ValidSelector) -> Vec<Uuid> {
        selector
            .explicit_host_ids()
            .iter()
            .filter(|id| !self.contains(id))
            .copied()
            .collect()
    }
}

/// `sha256:` and the hexadecimal SHA-256 of the raw 16-byte ids, which must be in ascending order.
#[must_use]
pub fn digest_of_sorted(host_ids: &[Uuid]) -> String {
    let mut hasher = Sha256::new();
    for id in host_ids {
        hasher.update(id.as_bytes());
    }
    let mut digest = String::from("sha256:");
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_raw_ids() {
        let none = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of_sorted(&[]), none);
        let zeros = "sha256:374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb";
        assert_eq!(digest_of_sorted(&[Uuid::nil()]), zeros);
    }
}
