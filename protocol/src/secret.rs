//! Secrets in operations: how an operation refers to one, and the values that travel beside it in a command's frame. The
//! operation itself, wherever it is stored or shown, holds the reference only.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::outcome::base64_bytes;

/// Longer than any path of words a person would give a secret.
pub const NAME_BYTES_MAX: usize = 128;

/// Values by [`SecretRef::key`].
pub type SecretValues = BTreeMap<String, SecretValue>;

/// One secret, by name: its newest version, or a certain one. `"NAME"` is read as `{"secret": "NAME"}` where only a
/// secret can stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct SecretRef {
    pub secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The value of a variable: a text, or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a text or {\"secret\": NAME}")]
pub enum EnvironmentValue {
    Text(String),
    Secret(Named),
}

/// A reference in its long form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be the name of a secret")]
enum Written {
    Name(String),
    Named(Named),
}

/// A value. It is not shown, however it is printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(#[serde(with = "base64_bytes")] Vec<u8>);

impl SecretRef {
    /// What its value is found by beside an operation: `NAME`, or `NAME@VERSION`.
    pub fn key(&self) -> String {
        match self.version {
            None => self.secret.clone(),
            Some(version) => format!("{}@{version}", self.secret),
        }
    }
}

impl From<Written> for SecretRef {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(secret) => Self {
                secret,
                version: None,
            },
            Written::Named(named) => named.into(),
        }
    }
}

impl From<Named> for SecretRef {
    fn from(Named { secret, version }: Named) -> Self {
        Self { secret, version }
    }
}

impl EnvironmentValue {
    pub fn reference(&self) -> Option<SecretRef> {
        match self {
            Self::Text(_) => None,
            Self::Secret(named) => Some(named.clone().into()),
        }
    }
}

impl From<&str> for EnvironmentValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for EnvironmentValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl PartialEq<&str> for EnvironmentValue {
    fn eq(&self, text: &&str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }
}

impl SecretValue {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Whether the text can name a secret: parts of lower-case letters, digits, `.`, `_` and `-`, joined by `/`. No part is
/// empty or begins with `.` or `-`, so that none can be taken for a path or an option.
pub fn is_name(text: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            })
    };
    text.len() <= NAME_BYTES_MAX && text.split('/').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_closed_grammar() {
        for good in ["a", "db/password", "a.b_c-d/0", "x".repeat(128).as_str()] {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(129);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a b", "a@1", "..", "a/../b", "-a", "a/-b", ".a",
            "é", "a\n", "a\0", &long,
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_value_is_not_shown_however_it_is_printed() {
        let value = SecretValue::new(b"hunter2-hunter2".to_vec());
        let values: SecretValues = [("a".to_owned(), value)].into();
        assert!(!format!("{values:?} {values:#?}").contains("hunter"));
        let read: SecretValues =
            serde_json::from_str(&serde_json::to_string(&values).unwrap()).unwrap();
        assert_eq!(read, values);
    }
}
