//! Reads what clients send: selectors and groups. Everything that is wrong is told, with its place. Not whether the groups
//! named in it exist: that is decided on the catalogue.

mod places;
#[cfg(test)]
mod tests;

use fleetwright_plugin_api::sdk::{hyphenated, unknown_field};
use fleetwright_protocol::Violation;
use fleetwright_selector::{EXPLICIT_HOST_IDS_MAX, Selector, ValidSelector, code};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decide::Draft;

pub use places::group_places;

/// Characters of a name, as the group API publishes it.
const NAME_CHARS_MAX: usize = 120;
/// Characters of a description: a paragraph or two. Our choice.
const DESCRIPTION_CHARS_MAX: usize = 4_000;

/// Of a value that is not of its field's type: the code of every route of the server.
const MISTYPED: &str = "invalid-field";

const KEYS: [&str; 6] = [
    "id",
    "name",
    "description",
    "parent_id",
    "explicit_host_ids",
    "selector",
];

/// The body of `POST /fleet/groups` and `PUT /fleet/groups/{id}`. What is left out is empty, also when a group is
/// replaced.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; it is read by hand to find every fault"
)]
pub struct GroupRequest {
    /// The group to replace. Left out, a new one is created; with PUT it must be that of the path.
    id: Option<Uuid>,
    /// Unique in any ASCII case; 1 to 120 characters, no control characters.
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    #[schema(max_length = 4000)]
    description: Option<String>,
    /// None: at the top level.
    parent_id: Option<Uuid>,
    #[schema(max_items = 100_000)]
    explicit_host_ids: Option<Vec<Uuid>>,
    /// Hosts that match are in the group. Groups named in it are stored by id.
    selector: Option<SelectorRequest>,
}

/// A selector. At least one key; the criteria are AND-joined, and the explicit ids are added to what they match.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "documents the body; the selector crate reads it to find every fault"
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

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyFault {
    /// The selector, explicit ids excepted, is over its limit.
    TooLarge(String),
    Invalid(Vec<Violation>),
}

/// Reads a selector.
pub fn selector(json: &Value) -> Result<ValidSelector, BodyFault> {
    Selector::parse(json).map_err(|violations| {
        let too_large = violations
            .iter()
            .find(|violation| violation.code == code::TOO_LARGE);
        match too_large {
            Some(violation) => BodyFault::TooLarge(violation.detail.clone()),
            None => BodyFault::Invalid(violations.into_iter().map(told).collect()),
        }
    })
}

/// Reads a group: the id in the body, if any, and what is to be saved.
pub fn group(body: &Value) -> Result<(Option<Uuid>, Draft), BodyFault> {
    let Some(object) = body.as_object() else {
        let violation = Violation::new("", MISTYPED, "must be an object");
        return Err(BodyFault::Invalid(vec![violation]));
    };
    let mut faults = Faults::default();
    for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        faults.violations.push(unknown_field("", key));
    }
    let id = faults.optional_id(object, "id");
    let draft = Draft {
        name: faults.name(object),
        description: faults.description(object),
        parent_id: faults.optional_id(object, "parent_id"),
        explicit_host_ids: faults.host_ids(object),
        selector: faults.selector(object)?,
        references: given(object, "selector")
            .map(|selector| group_places(selector, "/selector"))
            .unwrap_or_default(),
    };
    if faults.violations.is_empty() {
        Ok((id, draft))
    } else {
        Err(BodyFault::Invalid(faults.violations))
    }
}

#[derive(Default)]
struct Faults {
    violations: Vec<Violation>,
}

impl Faults {
    fn add(&mut self, pointer: &str, code: &str, detail: &str) {
        self.violations.push(Violation::new(pointer, code, detail));
    }

    fn name(&mut self, object: &Map<String, Value>) -> String {
        const CODE: &str = "group-name-invalid";
        let name = match given(object, "name") {
            None => {
                self.add("/name", "missing-field", "the field `name` is required");
                return String::new();
            }
            Some(Value::String(name)) => name,
            Some(_) => {
                self.add("/name", MISTYPED, "must be a text");
                return String::new();
            }
        };
        let characters = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&characters) {
            let detail = format!("The name must have 1 to {NAME_CHARS_MAX} characters.");
            self.add("/name", CODE, &detail);
        } else if name.trim().is_empty() {
            self.add("/name", CODE, "The name must not be blank.");
        } else if name.chars().any(is_control) {
            self.add("/name", CODE, "The name must not have control characters.");
        }
        name.clone()
    }

    fn description(&mut self, object: &Map<String, Value>) -> String {
        const CODE: &str = "group-description-invalid";
        let text = match given(object, "description") {
            None => return String::new(),
            Some(Value::String(text)) => text,
            Some(_) => {
                self.add("/description", MISTYPED, "must be a text");
                return String::new();
            }
        };
        if text.chars().count() > DESCRIPTION_CHARS_MAX {
            let detail =
                format!("The description must have at most {DESCRIPTION_CHARS_MAX} characters.");
            self.add("/description", CODE, &detail);
        }
        let is_break = |character: char| matches!(character, '\n' | '\r' | '\t');
        if text.chars().any(|c| is_control(c) && !is_break(c)) {
            let detail = "The description must not have control characters.";
            self.add("/description", CODE, detail);
        }
        text.clone()
    }

    fn optional_id(&mut self, object: &Map<String, Value>, key: &str) -> Option<Uuid> {
        let value = given(object, key)?;
        let id = value.as_str().and_then(hyphenated);
        if id.is_none() {
            self.add(
                &format!("/{key}"),
                "group-id-invalid",
                "This must be the id of a group (a hyphenated UUID).",
            );
        }
        id
    }

    fn host_ids(&mut self, object: &Map<String, Value>) -> Vec<Uuid> {
        const CODE: &str = "group-hosts-invalid";
        const POINTER: &str = "/explicit_host_ids";
        let list = match given(object, "explicit_host_ids") {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.add(POINTER, MISTYPED, "must be a list");
                return Vec::new();
            }
        };
        if list.len() > EXPLICIT_HOST_IDS_MAX {
            let detail = format!("At most {EXPLICIT_HOST_IDS_MAX} host ids are allowed.");
            self.add(POINTER, CODE, &detail);
            return Vec::new();
        }
        let mut ids = Vec::with_capacity(list.len());
        for (position, value) in list.iter().enumerate() {
            match value.as_str().and_then(hyphenated) {
                Some(id) => ids.push(id),
                None => {
                    let detail = "This must be a host id (a hyphenated UUID).";
                    self.add(&format!("{POINTER}/{position}"), CODE, detail);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn selector(
        &mut self,
        object: &Map<String, Value>,
    ) -> Result<Option<ValidSelector>, BodyFault> {
        let Some(json) = given(object, "selector") else {
            return Ok(None);
        };
        match selector(json) {
            Ok(selector) => Ok(Some(selector)),
            Err(BodyFault::Invalid(violations)) => {
                let placed = violations
                    .into_iter()
                    .map(|violation| violation.under("/selector"));
                self.violations.extend(placed);
                Ok(None)
            }
            Err(fault @ BodyFault::TooLarge(_)) => Err(fault),
        }
    }
}

/// A field that is there and not null.
fn given<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn told(violation: fleetwright_selector::Violation) -> Violation {
    Violation::new(violation.pointer, violation.code, violation.detail)
}

/// Control characters, and those that reorder what a person sees.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
