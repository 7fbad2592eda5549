//! Reads what clients send: selectors and groups. Everything that is wrong is told, with its place. Not whether the groups
//! named in it exist: that is decided on the catalogue.

mod places;
#[cfg(test)]
mod tests;

use fleetwright_plugin_api::sdk::{At, FromInput, Problem, from_input, hyphenated, read};
use fleetwright_protocol::Violation;
use fleetwright_protocol::text::is_unseen;
use fleetwright_selector::{EXPLICIT_HOST_IDS_MAX, Selector, ValidSelector, code};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decide::Draft;

pub use places::group_places;

/// Characters of a name, as the group API publishes it.
const NAME_CHARS_MAX: usize = 120;
/// Characters of a description: a paragraph or two. Our choice.
const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// Of each host id of a group, and of all of them.
const HOSTS_INVALID: &str = "group-hosts-invalid";

/// The body of `POST /fleet/groups` and `PUT /fleet/groups/{id}`. What is left out is empty, also when a group is
/// replaced.
#[derive(ToSchema)]
pub struct GroupRequest {
    /// The group to replace. Left out, a new one is created; with PUT it must be that of the path.
    #[schema(value_type = Option<Uuid>)]
    id: Option<GroupId>,
    /// Unique in any ASCII case; 1 to 120 characters, no control characters.
    #[schema(value_type = String, min_length = 1, max_length = 120)]
    name: Name,
    #[schema(value_type = Option<String>, max_length = 4000)]
    description: Option<Description>,
    /// None: at the top level.
    #[schema(value_type = Option<Uuid>)]
    parent_id: Option<GroupId>,
    #[schema(value_type = Option<Vec<Uuid>>, max_items = 100_000)]
    explicit_host_ids: Option<HostIds>,
    /// Hosts that match are in the group. Groups named in it are stored by id.
    #[schema(value_type = Option<SelectorRequest>)]
    selector: Option<Written>,
}

from_input!(GroupRequest {
    id,
    name,
    description,
    parent_id,
    explicit_host_ids,
    selector,
});

/// A selector. At least one key; the criteria are AND-joined, and the explicit ids are added to what they match.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents a selector; it is a language of its own, which the selector crate reads"
)]
pub struct SelectorRequest {
    explicit_host_ids: Option<Vec<Uuid>>,
    /// Each `{field, op, value}`, `{"all": […]}`, `{"any": […]}` or `{"not": {…}}`.
    #[schema(value_type = Option<Vec<Object>>)]
    criteria: Option<Vec<Value>>,
    /// Any of these platforms.
    platforms: Option<Vec<String>>,
    /// At least one of these tags.
    tags: Option<Vec<String>>,
    /// Every one of these tags.
    all_tags: Option<Vec<String>>,
    /// At least one of these groups, by id or name.
    groups: Option<Vec<String>>,
    approval_status: Option<String>,
    /// Every host; stands alone.
    all_hosts: Option<bool>,
    /// The same in text form: `platform = linux and tags in (web, db)`.
    expression: Option<String>,
}

struct GroupId(Uuid);

struct Name(String);

struct Description(String);

/// Ascending, without duplicates.
struct HostIds(Vec<Uuid>);

struct HostId(Uuid);

/// A selector, and where it names which group.
struct Written {
    selector: ValidSelector,
    references: Vec<(String, String)>,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyFault {
    /// The selector, explicit ids excepted, is over its limit.
    TooLarge(String),
    Invalid(Problem),
}

/// Reads a selector.
pub fn selector(json: &Value) -> Result<ValidSelector, BodyFault> {
    Selector::parse(json).map_err(|found| {
        let found: Vec<Violation> = found.into_iter().map(told).collect();
        too_large(&found).unwrap_or_else(|| BodyFault::Invalid(Problem::invalid(found)))
    })
}

/// Reads a group: the id in the body, if any, and what is to be saved.
pub fn group(body: Value) -> Result<(Option<Uuid>, Draft), BodyFault> {
    let asked: GroupRequest = read(body).map_err(|problem| {
        let fault = too_large(problem.errors());
        fault.unwrap_or(BodyFault::Invalid(problem))
    })?;
    let (selector, references) = asked
        .selector
        .map(|written| (written.selector, written.references))
        .unzip();
    let draft = Draft {
        name: asked.name.0,
        description: asked.description.map_or_else(String::new, |text| text.0),
        parent_id: asked.parent_id.map(|id| id.0),
        explicit_host_ids: asked.explicit_host_ids.map_or_else(Vec::new, |ids| ids.0),
        selector,
        references: references.unwrap_or_default(),
    };
    Ok((asked.id.map(|id| id.0), draft))
}

/// A body with a selector that is too large is that before all else.
fn too_large(found: &[Violation]) -> Option<BodyFault> {
    let violation = found.iter().find(|one| one.code == code::TOO_LARGE)?;
    Some(BodyFault::TooLarge(violation.detail.clone()))
}

impl FromInput for GroupId {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let id = value.as_str().and_then(hyphenated);
        if id.is_none() {
            let detail = "This must be the id of a group (a hyphenated UUID).";
            at.refuse("group-id-invalid", detail);
        }
        id.map(Self)
    }
}

impl FromInput for Name {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        const CODE: &str = "group-name-invalid";
        let name = String::from_input(value, at)?;
        let characters = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&characters) {
            let detail = format_args!("The name must have 1 to {NAME_CHARS_MAX} characters.");
            at.refuse(CODE, detail);
        } else if name.trim().is_empty() {
            at.refuse(CODE, "The name must not be blank.");
        } else if name.chars().any(is_unseen) {
            at.refuse(CODE, "The name must not have control characters.");
        }
        Some(Self(name))
    }
}

impl FromInput for Description {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        const CODE: &str = "group-description-invalid";
        let text = String::from_input(value, at)?;
        if text.chars().count() > DESCRIPTION_CHARS_MAX {
            let max = DESCRIPTION_CHARS_MAX;
            let detail = format_args!("The description must have at most {max} characters.");
            at.refuse(CODE, detail);
        }
        let is_break = |character: char| matches!(character, '\n' | '\r' | '\t');
        if text.chars().any(|c| is_unseen(c) && !is_break(c)) {
            at.refuse(CODE, "The description must not have control characters.");
        }
        Some(Self(text))
    }
}

impl FromInput for HostIds {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let count = value.as_array().map_or(0, Vec::len);
        if count > EXPLICIT_HOST_IDS_MAX {
            let detail = format_args!("At most {EXPLICIT_HOST_IDS_MAX} host ids are allowed.");
            at.refuse(HOSTS_INVALID, detail);
            return None;
        }
        let ids = Vec::<HostId>::from_input(value, at)?;
        let mut ids: Vec<Uuid> = ids.into_iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids.dedup();
        Some(Self(ids))
    }
}

impl FromInput for HostId {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let id = value.as_str().and_then(hyphenated);
        if id.is_none() {
            let detail = "This must be a host id (a hyphenated UUID).";
            at.refuse(HOSTS_INVALID, detail);
        }
        id.map(Self)
    }
}

impl FromInput for Written {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        match Selector::parse(&value) {
            Ok(selector) => Some(Self {
                selector,
                references: group_places(&value, "/selector"),
            }),
            Err(found) => {
                at.refuse_all(found.into_iter().map(told).collect());
                None
            }
        }
    }
}

fn told(violation: fleetwright_selector::Violation) -> Violation {
    Violation::new(violation.pointer, violation.code, violation.detail)
}
