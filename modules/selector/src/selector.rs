//! A compiled selector, known to be valid. Not its evaluation: that is `index`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::criterion::{Criterion, Leaf};

/// What a selector says once shortcuts and expression are compiled. Its JSON form ([`Self::to_json`]) is canonical and can be
/// stored; [`crate::Selector::parse_stored`] reads it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidSelector {
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    AllHosts,
    /// Not both empty; ids ascending without duplicates.
    Hosts {
        explicit_host_ids: Vec<Uuid>,
        criteria: Vec<Criterion>,
    },
}

/// Group names that belong to no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown groups: {}", names.join(", "))]
pub struct UnknownGroups {
    /// As written in the selector, each once.
    pub names: Vec<String>,
}

impl ValidSelector {
    /// Every host there is.
    #[must_use]
    pub fn all_hosts() -> Self {
        Self {
            scope: Scope::AllHosts,
        }
    }

    /// Exactly these hosts, as far as they exist.
    #[must_use]
    pub fn of_hosts(host_ids: Vec<Uuid>) -> Self {
        Self::new(host_ids, Vec::new())
    }

    pub(crate) fn new(mut explicit_host_ids: Vec<Uuid>, mut criteria: Vec<Criterion>) -> Self {
        explicit_host_ids.sort_unstable();
        explicit_host_ids.dedup();
        // A lone `all` says what the criteria list says anyway; one spelling for both.
        while criteria.len() == 1 {
            match criteria.pop() {
                Some(Criterion::All(parts)) => criteria = parts,
                Some(other @ (Criterion::Leaf(_) | Criterion::Any(_) | Criterion::Not(_))) => {
                    criteria.push(other);
                    break;
                }
                None => break,
            }
        }
        Self {
            scope: Scope::Hosts {
                explicit_host_ids,
                criteria,
            },
        }
    }

    #[must_use]
    pub fn is_all_hosts(&self) -> bool {
        self.scope == Scope::AllHosts
    }

    /// Ascending, without duplicates.
    #[must_use]
    pub fn explicit_host_ids(&self) -> &[Uuid] {
        match &self.scope {
            Scope::AllHosts => &[],
            Scope::Hosts {
                explicit_host_ids, ..
            } => explicit_host_ids,
        }
    }

    /// AND-joined. Empty means that the explicit ids are all there is, or all hosts.
    #[must_use]
    pub fn criteria(&self) -> &[Criterion] {
        match &self.scope {
            Scope::AllHosts => &[],
            Scope::Hosts { criteria, .. } => criteria,
        }
    }

    /// The groups the selector names, by id or name as written, each once, in writing order.
    #[must_use]
    pub fn group_references(&self) -> Vec<&str> {
        let mut references = Vec::new();
        for criterion in self.criteria() {
            criterion.for_each_leaf(&mut |leaf| {
                if let Leaf::Group(test) = leaf {
                    references.extend(test.references().iter().map(String::as_str));
                }
            });
        }
        let mut seen = std::collections::HashSet::new();
        references.retain(|reference| seen.insert(*reference));
        references
    }

    /// The same selector with every group named by its id, as it is stored. `id_of` is asked once for each reference, be it an id
    /// or a name.
    ///
    /// # Errors
    /// All references for which `id_of` has no answer.
    pub fn with_group_ids(
        &self,
        id_of: impl Fn(&str) -> Option<Uuid>,
    ) -> Result<Self, UnknownGroups> {
        let mut ids = BTreeMap::new();
        let mut names = Vec::new();
        for reference in self.group_references() {
            match id_of(reference) {
                Some(id) => {
                    ids.insert(reference.to_owned(), id.hyphenated().to_string());
                }
                None => names.push(reference.to_owned()),
            }
        }
        if !names.is_empty() {
            return Err(UnknownGroups { names });
        }
        let mut resolved = self.clone();
        if let Scope::Hosts { criteria, .. } = &mut resolved.scope {
            for criterion in criteria {
                criterion.for_each_leaf_mut(&mut |leaf| name_by_id(leaf, &ids));
            }
        }
        Ok(resolved)
    }

    /// The canonical JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut selector = Map::new();
        match &self.scope {
            Scope::AllHosts => {
                selector.insert("all_hosts".to_owned(), Json::from(true));
            }
            Scope::Hosts {
                explicit_host_ids,
                criteria,
            } => {
                if !explicit_host_ids.is_empty() || criteria.is_empty() {
                    let ids = explicit_host_ids
                        .iter()
                        .map(|id| id.hyphenated().to_string())
                        .collect();
                    selector.insert("explicit_host_ids".to_owned(), ids);
                }
                if !criteria.is_empty() {
                    selector.insert(
                        "criteria".to_owned(),
                        criteria.iter().map(Criterion::to_json).collect(),
                    );
                }
            }
        }
        Json::Object(selector)
    }
}

impl Serialize for ValidSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

fn name_by_id(leaf: &mut Leaf, ids: &BTreeMap<String, String>) {
    if let Leaf::Group(test) = leaf {
        test.rename(|reference| {
            let id = ids.get(reference).map(String::as_str);
            id.unwrap_or(reference).to_owned()
        });
    }
}
