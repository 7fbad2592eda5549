//! The wire form of a selector and its reading: every violation is found, not only the first. Not its evaluation.

mod criteria;
mod shortcuts;
mod size;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::characters::shown;
use crate::compile::parse_host_id;
use crate::criterion::Criterion;
use crate::limits::{EXPLICIT_HOST_IDS_MAX, SELECTOR_BYTES_MAX};
use crate::selector::ValidSelector;
use crate::text::{Expression, parse_expression};
use crate::violation::{Findings, Violation, code, pointer_token};

use criteria::Tally;

/// A selector as a client writes it. For building and documenting one; a server reads with [`Selector::parse`], which reports
/// better than deserialising would.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit_host_ids: Option<Vec<String>>,
    /// `{field, op, value}`, `{"all": […]}`, `{"any": […]}` or `{"not": {…}}`; AND-joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criteria: Option<Vec<Json>>,
    /// Any of these platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// At least one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Every one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_tags: Option<Vec<String>>,
    /// At least one of these groups, by id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_status: Option<String>,
    /// Every host; stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_hosts: Option<bool>,
    /// The text form, AND-joined with what else is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

impl Selector {
    /// Reads a selector from a request.
    ///
    /// # Errors
    /// All violations, at most 100; or only that it is too large.
    pub fn parse(selector: &Json) -> Result<ValidSelector, Vec<Violation>> {
        if size::compact_bytes_without_ids(selector) > SELECTOR_BYTES_MAX {
            let detail = format!(
                "a selector is at most {SELECTOR_BYTES_MAX} bytes of JSON, its explicit_host_ids excepted"
            );
            return Err(vec![Violation {
                pointer: String::new(),
                code: code::TOO_LARGE,
                detail,
            }]);
        }
        Self::parse_stored(selector)
    }

    /// Reads a selector that was accepted before and stored in its canonical form. That form is longer than what the client wrote
    /// (shortcuts are spelt out, group names are ids), so the size limit is not applied again.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_stored(selector: &Json) -> Result<ValidSelector, Vec<Violation>> {
        let mut findings = Findings::default();
        let read = match selector.as_object() {
            Some(object) => read_selector(object, &mut findings),
            None => {
                findings.add("", code::VALUE_INVALID, "a selector is an object");
                None
            }
        };
        let violations = findings.into_violations();
        match read {
            Some(selector) if violations.is_empty() => Ok(selector),
            Some(_) | None => Err(violations),
        }
    }

    /// Validates a selector built in code.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn validate(&self) -> Result<ValidSelector, Vec<Violation>> {
        match serde_json::to_value(self) {
            Ok(selector) => Self::parse(&selector),
            Err(error) => Err(vec![Violation {
                pointer: String::new(),
                code: code::VALUE_INVALID,
                detail: error.to_string(),
            }]),
        }
    }
}

const KEYS: [&str; 9] = [
    "explicit_host_ids",
    "criteria",
    "platforms",
    "tags",
    "all_tags",
    "groups",
    "approval_status",
    "all_hosts",
    "expression",
];

fn read_selector(object: &Map<String, Json>, findings: &mut Findings) -> Option<ValidSelector> {
    for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let detail = format!(
            "a selector has no key \"{}\"; keys: {}",
            shown(key),
            KEYS.join(" ")
        );
        findings.add(
            format!("/{}", pointer_token(key)),
            code::UNKNOWN_FIELD,
            detail,
        );
    }
    let all_hosts = read_all_hosts(object, findings);
    if all_hosts {
        for key in KEYS
            .into_iter()
            .filter(|&key| key != "all_hosts" && object.contains_key(key))
        {
            findings.add(format!("/{key}"), code::CONFLICT, "all_hosts stands alone");
        }
        return Some(ValidSelector::all_hosts());
    }
    let explicit_host_ids = object
        .get("explicit_host_ids")
        .map_or_else(Vec::new, |ids| read_ids(ids, findings));
    let mut tally = Tally::default();
    let mut criteria = Vec::new();
    if let Some(list) = object.get("criteria") {
        criteria.extend(criteria::read_list(list, findings, &mut tally));
    }
    criteria.extend(shortcuts::read_all(object, findings, &mut tally));
    if let Some(expression) = object.get("expression") {
        match read_expression(expression, findings, &mut tally) {
            Some(Expression::AllHosts) if object.len() == 1 => {
                return Some(ValidSelector::all_hosts());
            }
            Some(Expression::AllHosts) => {
                findings.add("/expression", code::CONFLICT, "\"all\" stands alone")
            }
            Some(Expression::Criteria(parsed)) => criteria.extend(parsed),
            None => {}
        }
    }
    finish(object, explicit_host_ids, criteria, findings)
}

/// Says so if nothing was selected by saying nothing; not if what was said is wrong, which is reported already.
fn finish(
    object: &Map<String, Json>,
    explicit_host_ids: Vec<uuid::Uuid>,
    criteria: Vec<Criterion>,
    findings: &mut Findings,
) -> Option<ValidSelector> {
    let says_nothing = object.iter().all(|(key, value)| match key.as_str() {
        "all_hosts" => value.is_boolean(),
        "criteria" | "explicit_host_ids" => value.as_array().is_some_and(Vec::is_empty),
        _other_keys_say_something => false,
    });
    if says_nothing {
        findings.add(
            "",
            code::EMPTY,
            "the selector selects nothing; to select every host say {\"all_hosts\": true}",
        );
    }
    (!explicit_host_ids.is_empty() || !criteria.is_empty())
        .then(|| ValidSelector::new(explicit_host_ids, criteria))
}

fn read_all_hosts(object: &Map<String, Json>, findings: &mut Findings) -> bool {
    match object.get("all_hosts") {
        None => false,
        Some(Json::Bool(all_hosts)) => *all_hosts,
        Some(_) => {
            findings.add(
                "/all_hosts",
                code::VALUE_INVALID,
                "true or false is required",
            );
            false
        }
    }
}

fn read_ids(ids: &Json, findings: &mut Findings) -> Vec<uuid::Uuid> {
    let Some(ids) = ids.as_array() else {
        findings.add(
            "/explicit_host_ids",
            code::VALUE_INVALID,
            "an array of host ids is required",
        );
        return Vec::new();
    };
    if ids.len() > EXPLICIT_HOST_IDS_MAX {
        let detail = format!(
            "{} explicit ids, at most {EXPLICIT_HOST_IDS_MAX} are allowed",
            ids.len()
        );
        findings.add("/explicit_host_ids", code::IDS_TOO_MANY, detail);
        return Vec::new();
    }
    let mut read = Vec::with_capacity(ids.len());
    for (position, id) in ids.iter().enumerate() {
        match id.as_str().and_then(parse_host_id) {
            Some(id) => read.push(id),
            None => findings.add(
                format!("/explicit_host_ids/{position}"),
                code::VALUE_INVALID,
                "must be a host id (a hyphenated UUID)",
            ),
        }
        if findings.is_full() {
            break;
        }
    }
    read
}

fn read_expression(
    expression: &Json,
    findings: &mut Findings,
    tally: &mut Tally,
) -> Option<Expression> {
    let Some(text) = expression.as_str() else {
        findings.add("/expression", code::VALUE_INVALID, "a string is required");
        return None;
    };
    match parse_expression(text) {
        Ok(expression) => {
            if let Expression::Criteria(criteria) = &expression {
                for criterion in criteria {
                    criterion.for_each_leaf(&mut |leaf| {
                        tally.count("/expression", leaf.op().name(), findings)
                    });
                }
            }
            Some(expression)
        }
        Err(error) => {
            findings.add("/expression", error.code, error.to_string());
            None
        }
    }
}
