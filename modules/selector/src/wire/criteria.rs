//! Reads criterion trees from JSON. Not the meaning of a leaf: that is `compile`.

use serde_json::{Map, Value as Json};

use crate::characters::shown;
use crate::compile::{Fault, Part, compile_leaf};
use crate::criterion::Criterion;
use crate::limits::{DEPTH_MAX, LEAVES_MAX, MATCHES_MAX};
use crate::violation::{Findings, code, pointer_token};

/// Counts leaves over a whole selector.
#[derive(Debug, Default)]
pub(super) struct Tally {
    leaves: usize,
    matches: usize,
}

impl Tally {
    /// Counts a leaf; reports once when a limit is passed.
    pub(super) fn count(&mut self, pointer: &str, op_name: &str, findings: &mut Findings) {
        self.leaves += 1;
        self.matches += usize::from(op_name == "matches");
        if self.leaves == LEAVES_MAX + 1 {
            findings.add(
                pointer,
                code::LEAVES,
                format!("a selector has at most {LEAVES_MAX} leaves"),
            );
        }
        if op_name == "matches" && self.matches == MATCHES_MAX + 1 {
            findings.add(
                pointer,
                code::LEAVES,
                format!("a selector has at most {MATCHES_MAX} leaves with matches"),
            );
        }
    }

    /// Past a limit nothing more is compiled: a regular expression costs far more to compile than to write.
    fn is_exceeded(&self) -> bool {
        self.leaves > LEAVES_MAX || self.matches > MATCHES_MAX
    }
}

/// Reads the `criteria` array.
pub(super) fn read_list(list: &Json, findings: &mut Findings, tally: &mut Tally) -> Vec<Criterion> {
    let Some(list) = list.as_array() else {
        findings.add(
            "/criteria",
            code::VALUE_INVALID,
            "an array of criteria is required",
        );
        return Vec::new();
    };
    let mut reader = Reader { findings, tally };
    let parts = list.iter().enumerate();
    parts
        .filter_map(|(position, part)| reader.criterion(part, &format!("/criteria/{position}"), 1))
        .collect()
}

/// Reports the faults of a leaf whose object is at `pointer`.
pub(super) fn report_faults(faults: Vec<Fault>, pointer: &str, findings: &mut Findings) {
    for fault in faults {
        let at = match fault.part {
            Part::Field => format!("{pointer}/field"),
            Part::Op => format!("{pointer}/op"),
            Part::Value => format!("{pointer}/value"),
            Part::Element(position) => format!("{pointer}/value/{position}"),
        };
        findings.add(at, fault.code, fault.detail);
    }
}

struct Reader<'a> {
    findings: &'a mut Findings,
    tally: &'a mut Tally,
}

impl Reader<'_> {
    fn criterion(&mut self, criterion: &Json, pointer: &str, depth: usize) -> Option<Criterion> {
        if depth > DEPTH_MAX {
            self.findings.add(
                pointer,
                code::DEPTH,
                format!("criteria are nested at most {DEPTH_MAX} deep"),
            );
            return None;
        }
        let Some(object) = criterion.as_object() else {
            self.findings
                .add(pointer, code::CRITERION_INVALID, "a criterion is an object");
            return None;
        };
        self.refuse_unknown_keys(object, pointer);
        let is_leaf = ["field", "op", "value"]
            .iter()
            .any(|key| object.contains_key(*key));
        match (
            object.get("all"),
            object.get("any"),
            object.get("not"),
            is_leaf,
        ) {
            (Some(parts), None, None, false) => Some(Criterion::all_of(self.compound(
                parts,
                &format!("{pointer}/all"),
                depth,
            )?)),
            (None, Some(parts), None, false) => Some(Criterion::any_of(self.compound(
                parts,
                &format!("{pointer}/any"),
                depth,
            )?)),
            (None, None, Some(part), false) => self
                .criterion(part, &format!("{pointer}/not"), depth + 1)
                .map(Criterion::negation),
            (None, None, None, true) => self.leaf(object, pointer),
            _none_or_several => {
                let detail = "a criterion is {field, op, value}, or has exactly one of the keys all, any, not";
                self.findings.add(pointer, code::CRITERION_INVALID, detail);
                None
            }
        }
    }

    /// `None` if any part is wrong, after all have been read.
    fn compound(&mut self, parts: &Json, pointer: &str, depth: usize) -> Option<Vec<Criterion>> {
        let Some(parts) = parts.as_array() else {
            self.findings.add(
                pointer,
                code::CRITERION_INVALID,
                "an array of criteria is required",
            );
            return None;
        };
        if parts.is_empty() {
            self.findings
                .add(pointer, code::EMPTY, "an empty compound selects nothing");
            return None;
        }
        let mut read = Vec::with_capacity(parts.len());
        for (position, part) in parts.iter().enumerate() {
            read.extend(self.criterion(part, &format!("{pointer}/{position}"), depth + 1));
        }
        (read.len() == parts.len()).then_some(read)
    }

    fn leaf(&mut self, object: &Map<String, Json>, pointer: &str) -> Option<Criterion> {
        let field = self.name(object, "field", pointer);
        let op = self.name(object, "op", pointer);
        self.tally
            .count(pointer, op.unwrap_or_default(), self.findings);
        let (field, op) = (field?, op?);
        if self.tally.is_exceeded() {
            return None;
        }
        match compile_leaf(field, op, object.get("value")) {
            Ok(leaf) => Some(Criterion::Leaf(leaf)),
            Err(faults) => {
                report_faults(faults, pointer, self.findings);
                None
            }
        }
    }

    fn name<'a>(
        &mut self,
        object: &'a Map<String, Json>,
        key: &str,
        pointer: &str,
    ) -> Option<&'a str> {
        match object.get(key) {
            Some(Json::String(name)) => Some(name),
            Some(_) => {
                self.findings.add(
                    format!("{pointer}/{key}"),
                    code::CRITERION_INVALID,
                    "a string is required",
                );
                None
            }
            None => {
                self.findings.add(
                    pointer,
                    code::CRITERION_INVALID,
                    format!("\"{key}\" is missing"),
                );
                None
            }
        }
    }

    fn refuse_unknown_keys(&mut self, object: &Map<String, Json>, pointer: &str) {
        const KEYS: [&str; 6] = ["field", "op", "value", "all", "any", "not"];
        for key in object.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let detail = format!(
                "a criterion has no key \"{}\"; keys: {}",
                shown(key),
                KEYS.join(" ")
            );
            self.findings.add(
                format!("{pointer}/{}", pointer_token(key)),
                code::UNKNOWN_FIELD,
                detail,
            );
        }
    }
}
