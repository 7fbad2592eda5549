//! What a call to the server or to another module can fail with, as an author needs to tell it apart, and why a module
//! cannot start.

use abi_stable::std_types::{RString, RVec};
use serde_json::{Value, json};

use super::Problem;
use super::problem_detail::{from_detail, to_detail};
use crate::abi::{AbiError, error_code};
use crate::rows::RowError;

/// A host service refused or failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ServerError {
    /// A dependency is down; the same call may work later.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
    /// A guard of the batch did not hold; nothing was written.
    #[error("the guard of operation {op_index} did not hold ({affected} rows)")]
    Guard {
        /// The step of the batch, from 0.
        op_index: usize,
        /// How many rows it would have changed instead; 0 for a set that has moved on.
        affected: u64,
    },
    /// A uniqueness or check constraint refused the batch; nothing was written.
    #[error("a constraint refused operation {op_index}: {constraint}")]
    Constraint {
        /// The step of the batch, from 0.
        op_index: usize,
        /// The name of the constraint or index, as the database tells it.
        constraint: String,
    },
    /// The answer passes 10,000 rows or 4 MiB: read it in pages.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Outside the module's own tables or rights.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// There is no such set, module or method.
    #[error("not found: {0}")]
    NotFound(String),
    /// The call itself was wrong: a defect of the module.
    #[error("invalid call: {0}")]
    Invalid(String),
    /// Nothing is taken any more; the next start goes on.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Refused in a way the client should be told (a set that is not valid, a key in use).
    #[error("refused: {0}")]
    Refused(Box<Problem>),
    /// A defect of the server or of this SDK, or a panic that was contained.
    #[error("{0}")]
    Internal(String),
}

/// Another module's method, or a route, refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The module or feature is not there or not licensed: a 402 for the client.
    #[error("feature {feature} is not available: {reason}")]
    Unavailable {
        /// Empty if it is the module itself that is missing.
        feature: String,
        /// The module that was asked.
        module: String,
        /// `not_licensed`, `license_expired`, `module_not_installed`, …: the `reason` of the 402.
        reason: String,
    },
    /// What the other side would answer a client; may be passed on as it is.
    #[error("{0}")]
    Problem(Problem),
    /// The way there failed.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Why a module cannot start. Shown as it is in the module list, so it must not hold secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModuleError(pub String);

impl CallError {
    /// What [`Module::invoke`](super::Module::invoke) answers to a method it does not have.
    pub fn unknown_method(method: &str) -> Self {
        Self::Server(ServerError::NotFound(format!("no method `{method}`")))
    }
}

impl ModuleError {
    /// The reason in one line.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl From<Problem> for CallError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<RowError> for ServerError {
    fn from(error: RowError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<ServerError> for ModuleError {
    fn from(error: ServerError) -> Self {
        Self::new(error)
    }
}

impl From<AbiError> for ServerError {
    fn from(error: AbiError) -> Self {
        let message = error.message.to_string();
        let detail = error.detail_json();
        let number = |name: &str| detail.get(name).and_then(Value::as_u64).unwrap_or_default();
        let op_index = usize::try_from(number("op_index")).unwrap_or_default();
        match error.code {
            error_code::UNAVAILABLE => Self::Unavailable(message),
            error_code::GUARD => Self::Guard {
                op_index,
                affected: number("affected"),
            },
            error_code::CONSTRAINT => Self::Constraint {
                op_index,
                constraint: detail
                    .get("constraint")
                    .and_then(Value::as_str)
                    .unwrap_or(&message)
                    .to_owned(),
            },
            error_code::TOO_LARGE => Self::TooLarge(message),
            error_code::FORBIDDEN => Self::Forbidden(message),
            error_code::NOT_FOUND | error_code::UNKNOWN_METHOD => Self::NotFound(message),
            error_code::INVALID => Self::Invalid(message),
            error_code::SHUTTING_DOWN => Self::ShuttingDown,
            error_code::PROBLEM => Self::Refused(Box::new(from_detail(detail))),
            _ => Self::Internal(message),
        }
    }
}

impl From<ServerError> for AbiError {
    fn from(error: ServerError) -> Self {
        let message = error.to_string();
        match error {
            ServerError::Unavailable(text) => Self::new(error_code::UNAVAILABLE, text),
            ServerError::Guard { op_index, affected } => Self::new(error_code::GUARD, message)
                .with_detail(&json!({"op_index": op_index, "affected": affected})),
            ServerError::Constraint {
                op_index,
                constraint,
            } => Self::new(error_code::CONSTRAINT, message)
                .with_detail(&json!({"op_index": op_index, "constraint": constraint})),
            ServerError::TooLarge(text) => Self::new(error_code::TOO_LARGE, text),
            ServerError::Forbidden(text) => Self::new(error_code::FORBIDDEN, text),
            ServerError::NotFound(text) => Self::new(error_code::NOT_FOUND, text),
            ServerError::Invalid(text) => Self::new(error_code::INVALID, text),
            ServerError::ShuttingDown => Self::new(error_code::SHUTTING_DOWN, message),
            ServerError::Refused(problem) => {
                Self::new(error_code::PROBLEM, message).with_detail(&to_detail(&problem))
            }
            ServerError::Internal(text) => Self::new(error_code::INTERNAL, text),
        }
    }
}

impl From<AbiError> for CallError {
    fn from(error: AbiError) -> Self {
        let detail = error.detail_json();
        let text = |name: &str| {
            detail
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match error.code {
            error_code::FEATURE => Self::Unavailable {
                feature: text("feature"),
                module: text("module"),
                reason: text("reason"),
            },
            error_code::PROBLEM => Self::Problem(from_detail(detail)),
            _ => Self::Server(error.into()),
        }
    }
}

impl From<CallError> for AbiError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unavailable {
                feature,
                module,
                reason,
            } => Self::new(error_code::FEATURE, reason.clone())
                .with_detail(&json!({"feature": feature, "module": module, "reason": reason})),
            CallError::Problem(problem) => Self {
                code: error_code::PROBLEM,
                message: RString::from(problem.to_string()),
                detail: RVec::from(to_detail(&problem).to_string().into_bytes()),
                ext: RVec::new(),
            },
            CallError::Server(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_errors_survive_the_boundary() {
        let errors = [
            ServerError::Unavailable("db".to_owned()),
            ServerError::Guard {
                op_index: 3,
                affected: 0,
            },
            ServerError::Constraint {
                op_index: 1,
                constraint: "bulk_x.name".to_owned(),
            },
            ServerError::TooLarge("rows".to_owned()),
            ServerError::Forbidden("table".to_owned()),
            ServerError::NotFound("x".to_owned()),
            ServerError::Invalid("sql".to_owned()),
            ServerError::ShuttingDown,
            ServerError::Refused(Box::new(Problem::conflict("in-progress", "x"))),
            ServerError::Internal("x".to_owned()),
        ];
        for error in errors {
            assert_eq!(ServerError::from(AbiError::from(error.clone())), error);
        }
    }

    #[test]
    fn problems_survive_the_boundary() {
        let problem = Problem::conflict("group-in-use", "two schedules name it")
            .with_errors(vec![crate::sdk::Violation::new("/a", "b", "c")])
            .with_retry_after(3)
            .with_extension("groups", 2);
        let CallError::Problem(back) =
            CallError::from(AbiError::from(CallError::Problem(problem.clone())))
        else {
            panic!("not a problem");
        };
        assert_eq!(back, problem);
    }
}
