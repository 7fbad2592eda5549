//! The values a command is sent with, read at the moment it is sent.

use std::collections::BTreeSet;

use fleetwright_protocol::limits::SECRETS_BYTES_MAX;
use fleetwright_protocol::{
    ExecutionOptions, SecretRef, SecretValue, SecretValues, references, validate,
};
use serde_json::Value;

use super::seal::Place;
use super::store::SealedRow;
use super::{Secrets, store};
use crate::db::DbError;

/// Why a command cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("there is no secret {0} any more")]
    Gone(String),
    #[error("the secret {name} is sealed with the key {sealed_with}, and this server's is {key}")]
    Unreadable {
        name: String,
        sealed_with: String,
        key: String,
    },
    #[error("its secrets are {0} bytes, at most {SECRETS_BYTES_MAX}")]
    TooLarge(usize),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Secrets {
    /// The values of the secrets that a stored operation (`{"operation_type", "parameters", "options"}`) names.
    pub async fn resolve(&self, operation: &str) -> Result<SecretValues, Unresolved> {
        let mut values = SecretValues::new();
        let mut bytes = 0;
        for reference in references(operation) {
            let row = store::sealed(self.db(), &reference).await?;
            let row = row.ok_or_else(|| Unresolved::Gone(reference.key()))?;
            let value = self.open(&reference, &row)?;
            bytes += value.bytes().len();
            values.insert(reference.key(), value);
        }
        if bytes > SECRETS_BYTES_MAX {
            return Err(Unresolved::TooLarge(bytes));
        }
        Ok(values)
    }

    pub(super) fn open(
        &self,
        reference: &SecretRef,
        row: &SealedRow,
    ) -> Result<SecretValue, Unresolved> {
        let place = Place {
            installation: self.installation(),
            name: &reference.secret,
            version: row.version,
        };
        let opened = self.key().open(place, &row.sealed);
        opened
            .map(SecretValue::new)
            .map_err(|_| Unresolved::Unreadable {
                name: reference.key(),
                sealed_with: row.key_id.clone(),
                key: self.key().id().to_owned(),
            })
    }
}

/// The different secrets of a stored operation. What cannot be read names none: its agent refuses it.
fn references(operation: &str) -> BTreeSet<SecretRef> {
    // Most operations name none, and a large one is not read for that: inside a text the quotation mark has a backslash.
    if !operation.contains(r#"secret":"#) {
        return BTreeSet::new();
    }
    let read = || {
        let stored: Value = serde_json::from_str(operation).ok()?;
        let kind = stored.get("operation_type")?.as_str()?;
        let parsed = validate::operation(kind, stored.get("parameters")?).ok()?;
        let options = match stored.get("options") {
            Some(options) => serde_json::from_value(options.clone()).ok()?,
            None => ExecutionOptions::default(),
        };
        let placed = references::references(&parsed, &options);
        Some(placed.into_iter().map(|placed| placed.reference).collect())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_secrets_of_a_stored_operation_are_found_and_text_is_not_taken_for_one() {
        let keys = |operation: Value| -> Vec<String> {
            let found = references(&operation.to_string());
            found.iter().map(SecretRef::key).collect()
        };
        let script =
            |parameters: Value| json!({"operation_type": "run_script", "parameters": parameters});
        let text = r#"{"secret": "a"} "stdin_secret":"b""#;
        assert!(keys(script(json!({"script": text, "env": {"A": text}}))).is_empty());
        let named = json!({"script": "x", "env": {"A": {"secret": "a"}, "B": {"secret": "a"}}, "stdin_secret": "b"});
        let mut operation = script(named);
        operation["options"] = json!({"environment": {"C": {"secret": "c", "version": 2}}});
        assert_eq!(keys(operation), ["a", "b", "c@2"]);
        let file = json!({"path": "/x", "content_secret": {"secret": "d"}});
        assert_eq!(
            keys(json!({"operation_type": "deploy_file", "parameters": file})),
            ["d"]
        );
    }
}
