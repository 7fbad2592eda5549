//! What attackers tried, each kind at the true edge: callers without credentials, hosts and servers that lie, tokens that
//! reach too far, secrets, and the audit log.

mod audit;
mod claims;
mod clones;
mod exposure;
mod licences;
mod limits;
mod policy;
mod scopes;
mod secrets;
mod statements;
