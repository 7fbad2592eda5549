//! What can go wrong with the database, as its users need to tell it apart.

use fleetwright_plugin_api::rows::RowError;

/// What can go wrong with the database, as its users need to tell it apart.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Cannot be reached, locked for too long, full, or shutting down: 503, try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A uniqueness rule refused the write.
    #[error("the value is already taken: {0}")]
    Unique(String),
    /// Another constraint refused the write.
    #[error("a constraint refused the write: {0}")]
    Constraint(String),
    #[error("a stored row does not have the expected shape: {0}")]
    Row(#[from] RowError),
    /// A module's statement reaches for what is not its own; a sentence for its author.
    #[error("{0}")]
    Refused(String),
    /// A defect: bad SQL, a panic in a write.
    #[error("the database refused a statement: {0}")]
    Statement(String),
    /// The database itself is unfit: too old, corrupt, or migrated by a newer release.
    #[error("{0}")]
    Unfit(String),
}
