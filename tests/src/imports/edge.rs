//! What a file needs of another.

/// One file names something that another one defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub to: String,
    /// Where in `from`, 1-based: the first place that names it.
    pub line: usize,
    /// The last part of the path.
    pub name: String,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (&self.from, &self.to);
        write!(out, "{from}:{} names `{}` of {to}", self.line, self.name)
    }
}
