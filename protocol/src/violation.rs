//! One thing wrong with an input: where, which rule, and a sentence for a person.

use serde::{Deserialize, Serialize};

/// A validation failure. `pointer` is an RFC 6901 JSON pointer into the validated document
/// (empty for the document itself); `code` is a stable slug that clients branch on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

impl Violation {
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// The same violation, seen from a document that holds this one at `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}
