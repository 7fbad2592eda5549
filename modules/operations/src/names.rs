//! The words of a kind of operation: of its module, its table, its errors and its API document.

/// The words of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Its module, as other modules call it; its routes are below `/fleet/<this>`, its audit actions begin with it.
    pub module: &'static str,
    /// Its table and, in that, the column with the status as text.
    pub table: &'static str,
    pub status_column: &'static str,
    /// The stored statuses of what is not over. The partial index of the table has the same words in the same order.
    pub open: &'static [&'static str],
    /// Published whenever a row is written by someone.
    pub signal: &'static str,
    /// The kind of target in the audit log.
    pub audited: &'static str,
    /// One of them in full, as after "no such".
    pub full: &'static str,
    /// One of them where it is clear what is spoken of, and the same with its article.
    pub short: &'static str,
    pub a_short: &'static str,
    /// What the names of its schemas begin with: `<this>Page`, `<this>HostPage`.
    pub schema: &'static str,
    pub texts: Texts,
}

/// What its API document says in its own words.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// The filter of the list.
    pub statuses: &'static str,
    /// When the entity tag of one changes.
    pub etag: &'static str,
    /// What the list of hosts is, what a page of it is, and its filter.
    pub hosts: &'static str,
    pub host_page: &'static str,
    pub host_statuses: &'static str,
}
