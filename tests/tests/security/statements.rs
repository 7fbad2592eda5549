//! Statements of modules against the databases' own gates.
