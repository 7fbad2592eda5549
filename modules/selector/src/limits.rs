//! The limits of a selector, each with its origin. Not the limits of a request: those belong to the HTTP edge.

/// A criterion tree is at most this deep; a lone leaf has depth 1. Published limit of the selector API; it also bounds the
/// recursion of every function that walks a tree.
pub const DEPTH_MAX: usize = 16;

/// Leaves in one selector, shortcuts included. Published limit of the selector API.
pub const LEAVES_MAX: usize = 1_000;

/// Explicit host ids in one selector. Published limit of the selector API, the size of the largest supported fleet.
pub const EXPLICIT_HOST_IDS_MAX: usize = 100_000;

/// Bytes of a selector as compact JSON, its explicit ids excepted. Published limit of the selector API.
pub const SELECTOR_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one regular expression. Published limit of the selector API.
pub const PATTERN_BYTES_MAX: usize = 512;

/// `matches` leaves in one selector. Each costs up to ~30 ms over 100,000 distinct names, so this keeps the worst selector within
/// the 30 s deadline of a request.
pub const MATCHES_MAX: usize = 100;

/// Memory of one compiled regular expression: a tenth of the library's default of 10 MiB. ASCII expressions of ordinary use need a
/// few KiB; refusing the largest takes some 15 ms.
pub(crate) const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Nesting of brackets and `not` in the text form. Brackets add no depth to the tree, so they need a bound of their own for the
/// recursive parser; four times the depth leaves room for redundant ones.
pub(crate) const TEXT_NESTING_MAX: usize = 4 * DEPTH_MAX;

/// Violations reported at once. A body with 100,000 bad ids would otherwise be answered with a far larger one.
pub(crate) const VIOLATIONS_MAX: usize = 100;

/// Bytes of an attribute key a selector can name. Our choice: keys are short names, and this bounds what is kept per leaf.
pub(crate) const ATTRIBUTE_KEY_BYTES_MAX: usize = 256;
