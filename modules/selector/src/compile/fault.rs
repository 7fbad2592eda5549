//! What is wrong with a leaf, and where in it.

/// Which part of a leaf is at fault; the caller knows where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Field,
    Op,
    Value,
    /// An element of an array value.
    Element(usize),
}

/// A fault of a leaf.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) part: Part,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

pub(super) type Compiled<T> = Result<T, Vec<Fault>>;

pub(super) fn fault(part: Part, code: &'static str, detail: impl Into<String>) -> Fault {
    Fault {
        part,
        code,
        detail: detail.into(),
    }
}
