//! Whether a group may be created or replaced as asked. Everything that is wrong with it is told, not only the first.

use fleetwright_plugin_api::sdk::IfMatch;
use fleetwright_protocol::Violation;
use fleetwright_selector::ValidSelector;
use uuid::Uuid;

use super::GROUPS_MAX;
use crate::catalog::{Catalog, Group, referenced_ids};
use crate::graph::Edges;

/// A group as a client asks for it; well formed, but not yet held against the other groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub name: String,
    pub description: String,
    pub parent_id: Option<Uuid>,
    /// Ascending, without duplicates.
    pub explicit_host_ids: Vec<Uuid>,
    /// May name groups by name.
    pub selector: Option<ValidSelector>,
    /// Where the selector names which group, as JSON pointers into the body.
    pub references: Vec<(String, String)>,
}

/// Under which id a draft is saved.
#[derive(Clone, Debug, PartialEq)]
pub enum SaveAs {
    /// As a new group.
    New(Uuid),
    /// In place of the group of that id.
    Existing(Uuid, IfMatch),
}

/// Why a group cannot be saved.
#[derive(Clone, Debug, PartialEq)]
pub enum NotSaved {
    NotFound,
    Stale,
    /// Another group has the name.
    NameTaken(Uuid),
    /// There are as many groups as there may be.
    TooMany,
    Invalid(Vec<Violation>),
    Cycle(Cycle),
}

/// A circle that a change would close.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// The field of the body that closes it: `/parent_id` or `/selector`.
    pub pointer: &'static str,
    /// The groups on the way, with their names, the first again at the end.
    pub path: Vec<(Uuid, String)>,
}

/// The group as it is to be stored, as the next generation of this catalogue.
pub fn decide_save(
    catalog: &Catalog,
    save_as: &SaveAs,
    draft: &Draft,
    now_us: i64,
) -> Result<Group, NotSaved> {
    let (id, existing) = match save_as {
        SaveAs::New(_) if catalog.len() >= GROUPS_MAX => return Err(NotSaved::TooMany),
        SaveAs::New(id) => (*id, None),
        SaveAs::Existing(id, seen) => {
            let group = catalog.get(*id).ok_or(NotSaved::NotFound)?;
            if !seen.matches(group.revision) {
                return Err(NotSaved::Stale);
            }
            (*id, Some(group))
        }
    };
    let selector = resolve(catalog, id, draft)?;
    if let Some(other) = catalog.named(&draft.name).filter(|other| other.id != id) {
        return Err(NotSaved::NameTaken(other.id));
    }
    let mut graph = catalog.graph();
    let edges = Edges {
        parent: draft.parent_id,
        references: selector.as_ref().map_or_else(Vec::new, referenced_ids),
    };
    graph.put(id, edges);
    if let Some(path) = graph.cycle_through(id) {
        return Err(NotSaved::Cycle(cycle(catalog, id, draft, path)));
    }
    Ok(Group {
        id,
        name: draft.name.clone(),
        description: draft.description.clone(),
        parent_id: draft.parent_id,
        explicit_host_ids: draft.explicit_host_ids.clone(),
        selector,
        created_at_us: existing.map_or(now_us, |group| group.created_at_us),
        updated_at_us: now_us,
        revision: existing.map_or(1, |group| group.revision + 1),
        generation: catalog.generation() + 1,
    })
}

/// The selector with groups by id; or which groups do not exist. The group itself exists as soon as it is saved, so that
/// naming oneself is told as the cycle it is.
fn resolve(catalog: &Catalog, id: Uuid, draft: &Draft) -> Result<Option<ValidSelector>, NotSaved> {
    let mut violations = Vec::new();
    let parent = draft.parent_id.filter(|parent| *parent != id);
    if parent.is_some_and(|parent| catalog.get(parent).is_none()) {
        let detail = "There is no group of that id.";
        violations.push(Violation::new("/parent_id", "group-parent-unknown", detail));
    }
    let id_of = |reference: &str| {
        let is_itself = Uuid::try_parse(reference) == Ok(id);
        is_itself
            .then_some(id)
            .or_else(|| catalog.resolve(reference))
            .or_else(|| reference.eq_ignore_ascii_case(&draft.name).then_some(id))
    };
    let selector = draft.selector.as_ref();
    match selector.map(|selector| selector.with_group_ids(id_of)) {
        Some(Err(unknown)) => violations.extend(unknown_groups(&draft.references, &unknown.names)),
        Some(Ok(selector)) if violations.is_empty() => return Ok(Some(selector)),
        Some(Ok(_)) | None => {}
    }
    if violations.is_empty() {
        Ok(None)
    } else {
        Err(NotSaved::Invalid(violations))
    }
}

/// One violation for each place where one of these groups is named.
pub(crate) fn unknown_groups(places: &[(String, String)], names: &[String]) -> Vec<Violation> {
    let known_places = |name: &String| {
        let pointers = places
            .iter()
            .filter(|(_, reference)| reference == name)
            .map(|(pointer, _)| pointer.clone());
        pointers.collect::<Vec<_>>()
    };
    let violation = |pointer: String, name: &String| {
        Violation::new(
            pointer,
            "group-unknown",
            format!("There is no group {name:?}."),
        )
    };
    names
        .iter()
        .flat_map(|name| {
            let pointers = known_places(name);
            pointers
                .into_iter()
                .map(move |pointer| violation(pointer, name))
        })
        .collect()
}

/// The last step of the path leads back to the group: down from its parent, or from a group whose selector names it. Then
/// the path began with its own selector, since its children were below it before.
fn cycle(catalog: &Catalog, id: Uuid, draft: &Draft, path: Vec<Uuid>) -> Cycle {
    let name_of = |at: Uuid| {
        if at == id {
            return draft.name.clone();
        }
        catalog
            .get(at)
            .map_or_else(String::new, |group| group.name.clone())
    };
    let before_last = path.len().checked_sub(2).and_then(|place| path.get(place));
    let pointer = if before_last == draft.parent_id.as_ref() {
        "/parent_id"
    } else {
        "/selector"
    };
    let path = path.into_iter().map(|at| (at, name_of(at))).collect();
    Cycle { pointer, path }
}
