//! Which secrets an operation may be launched with. Pure.

use std::collections::BTreeMap;

use fleetwright_protocol::limits::SECRETS_BYTES_MAX;
use fleetwright_protocol::references::PlacedRef;
use fleetwright_protocol::{SecretRef, Violation};

/// What is there behind a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No such secret, or no such version of it.
    Missing,
    /// Sealed with another key than this server's, or damaged.
    Unreadable { sealed_with: String, key: String },
    Value {
        bytes: usize,
        /// It is text without NUL.
        can_be_variable: bool,
        reach: Reach,
    },
}

/// Whether it may go where the operation goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Allowed,
    /// So many of the hosts are in none of its groups.
    Outside {
        hosts: usize,
    },
    /// It has groups, and nobody can say now which hosts those are.
    Unknown {
        why: String,
    },
}

/// Everything that forbids the launch, each where the secret is named.
pub fn faults(placed: &[PlacedRef], found: &BTreeMap<SecretRef, Found>) -> Vec<Violation> {
    let mut faults = Vec::new();
    for PlacedRef {
        pointer,
        reference,
        is_variable,
    } in placed
    {
        let name = reference.key();
        let fault = match found.get(reference).unwrap_or(&Found::Missing) {
            Found::Missing => Some(("secret-unknown", format!("there is no secret {name}"))),
            Found::Unreadable { sealed_with, key } => Some((
                "secret-unreadable",
                format!(
                    "the secret {name} is sealed with the key {sealed_with}, and this server's key is {key}; \
                     restore its key file, or set the secret again"
                ),
            )),
            Found::Value {
                can_be_variable: false,
                ..
            } if *is_variable => Some((
                "secret-not-text",
                format!("the secret {name} is not text, so that it cannot be a variable"),
            )),
            Found::Value { reach, .. } => match reach {
                Reach::Allowed => None,
                Reach::Outside { hosts } => Some((
                    "secret-not-for-host",
                    format!(
                        "the secret {name} may not go to {hosts} of the hosts: they are in none of its groups"
                    ),
                )),
                Reach::Unknown { why } => Some((
                    "secret-not-for-host",
                    format!(
                        "the secret {name} may go to hosts of its groups only, and those are not known now: {why}"
                    ),
                )),
            },
        };
        faults.extend(fault.map(|(code, detail)| Violation::new(pointer.as_str(), code, detail)));
    }
    let bytes: usize = found.values().map(size).sum();
    if let Some(last) = placed.last().filter(|_| bytes > SECRETS_BYTES_MAX) {
        let detail =
            format!("the secrets of one operation are {bytes} bytes, at most {SECRETS_BYTES_MAX}");
        let pointer = last.pointer.as_str();
        faults.push(Violation::new(pointer, "secrets-too-large", detail));
    }
    faults
}

fn size(found: &Found) -> usize {
    match found {
        Found::Missing | Found::Unreadable { .. } => 0,
        Found::Value { bytes, .. } => *bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(pointer: &str, name: &str, is_variable: bool) -> PlacedRef {
        let reference = SecretRef {
            secret: name.to_owned(),
            version: None,
        };
        PlacedRef {
            pointer: pointer.to_owned(),
            reference,
            is_variable,
        }
    }

    fn value(bytes: usize, can_be_variable: bool, reach: Reach) -> Found {
        Found::Value {
            bytes,
            can_be_variable,
            reach,
        }
    }

    #[test]
    fn each_fault_is_told_where_the_secret_is_named() {
        let unknown = Reach::Unknown {
            why: "no module".to_owned(),
        };
        let unreadable = Found::Unreadable {
            sealed_with: "aa".to_owned(),
            key: "bb".to_owned(),
        };
        let cases = [
            (value(9, true, Reach::Allowed), true, None),
            (value(9, false, Reach::Allowed), false, None),
            (
                value(9, false, Reach::Allowed),
                true,
                Some("secret-not-text"),
            ),
            (Found::Missing, true, Some("secret-unknown")),
            (unreadable, true, Some("secret-unreadable")),
            (
                value(9, true, Reach::Outside { hosts: 2 }),
                true,
                Some("secret-not-for-host"),
            ),
            (value(9, true, unknown), false, Some("secret-not-for-host")),
            (value(SECRETS_BYTES_MAX, true, Reach::Allowed), true, None),
            (
                value(SECRETS_BYTES_MAX + 1, true, Reach::Allowed),
                true,
                Some("secrets-too-large"),
            ),
        ];
        for (found, is_variable, code) in cases {
            let one = placed("/parameters/env/X", "a", is_variable);
            let known = BTreeMap::from([(one.reference.clone(), found.clone())]);
            let faults = faults(&[one], &known);
            let codes: Vec<&str> = faults.iter().map(|fault| fault.code.as_ref()).collect();
            assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{found:?}");
            assert!(
                faults
                    .iter()
                    .all(|fault| fault.pointer == "/parameters/env/X")
            );
        }
    }

    #[test]
    fn a_secret_that_is_named_twice_counts_once() {
        let twice = [placed("/a", "a", true), placed("/b", "a", false)];
        let known = BTreeMap::from([(
            twice[0].reference.clone(),
            value(SECRETS_BYTES_MAX, true, Reach::Allowed),
        )]);
        assert_eq!(faults(&twice, &known), []);
    }
}
