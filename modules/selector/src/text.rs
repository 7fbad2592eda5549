//! The text form of criteria, for people: `platform = linux and tags in (web, db) and not fqdn contains ".test."`.
//!
//! `or` binds weakest, then `and`, then `not`; brackets group. A value is a bare word, a `"quoted"` text with the escapes `\"` and
//! `\\`, or a `'raw'` text without any. Keywords and operators are read in any case. `all` alone means every host. Not the wire
//! form: that is [`crate::Selector`], which accepts an expression as one of its keys.

mod lexer;
mod parser;
mod printer;
#[cfg(test)]
mod tests;

use crate::criterion::Criterion;

pub use parser::parse_expression;
pub use printer::{print_criteria, print_criterion};

/// What an expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    AllHosts,
    /// AND-joined, never empty.
    Criteria(Vec<Criterion>),
}

/// Why an expression cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {detail}")]
pub struct ExpressionError {
    /// In characters from the beginning of the expression, the first being 1; line breaks count as one.
    pub column: usize,
    /// One of [`crate::code`].
    pub code: &'static str,
    /// For people.
    pub detail: String,
}
