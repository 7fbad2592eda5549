//! Who is calling and what they may do: users, sessions, API tokens, roles and scopes.

pub mod caller;
pub mod role;
pub mod scope;
pub mod secret_file;

pub use caller::{Caller, Principal};
pub use role::Role;
pub use scope::{Scope, Scopes};
