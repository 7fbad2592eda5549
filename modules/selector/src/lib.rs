//! Selectors: what they look like on the wire and as text, what they mean for one host, and how they are answered quickly for a
//! whole fleet.
//!
//! This crate is pure. It does no I/O, has no clock, no randomness and no async, and knows no other crate of the project: what
//! changes outside the inventory (the time a host was last seen, who belongs to a group) is handed in by the caller.
//!
//! - [`Selector`] is the wire form, [`ValidSelector`] what it compiles to, [`Violation`] why it did not.
//! - [`text`] reads and prints the same thing for people.
//! - [`evaluate()`] is the meaning of a criterion for one host; [`Index`] gives the same answer for all of them.

mod canonical;
mod characters;
mod compile;
mod criterion;
mod evaluate;
mod field;
mod host;
mod index;
mod limits;
mod op;
mod selection;
mod selector;
pub mod text;
mod timestamp;
mod value;
mod violation;
mod wire;

pub use criterion::{BoolTest, Criterion, GroupTest, Leaf, NumberTest, TextTest};
pub use evaluate::{HostLookups, Truth, evaluate};
pub use field::{BoolField, Fact, Field, HostField, ListField, NumberField, TextField};
pub use host::HostFields;
pub use index::{CriterionExplanation, Index, Lookups, Truths};
pub use limits::{
    DEPTH_MAX, EXPLICIT_HOST_IDS_MAX, LEAVES_MAX, MATCHES_MAX, PATTERN_BYTES_MAX,
    SELECTOR_BYTES_MAX,
};
pub use op::{Comparison, Op};
pub use selection::{Selection, digest_of_sorted};
pub use selector::{UnknownGroups, ValidSelector};
pub use timestamp::{format_rfc3339_us, parse_rfc3339_us};
pub use value::{FoldedText, Pattern, Version};
pub use violation::{Violation, code};
pub use wire::Selector;
