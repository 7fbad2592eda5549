//! What an agent and the server say to each other: ids, operation types with their validation, wire
//! frames, facts and outcomes. Pure data: no I/O, no clock, no randomness.

pub mod close;
pub mod enrollment;
pub mod facts;
pub mod frame;
pub mod health_check;
pub mod ids;
pub mod limits;
pub mod operation;
pub mod outcome;
pub mod references;
pub mod secret;
pub mod session;
pub mod text;
pub mod time_limit;
pub mod validate;
pub mod violation;
pub mod vms;
pub mod word;

pub use facts::{Facts, Heartbeat};
pub use frame::{AgentFrame, PROTOCOL_VERSION, ServerFrame};
pub use health_check::HealthCheck;
pub use ids::{CommandId, HostId, JournalId, SetId};
pub use operation::{ExecutionOptions, Operation, OperationType};
pub use outcome::{NotStartedReason, Outcome, OutcomeStatus, OutputSummary};
pub use secret::{EnvironmentValue, SecretRef, SecretValue, SecretValues};
pub use session::{Session, SessionMark};
pub use violation::Violation;
pub use vms::VmReport;
pub use word::{Open, Word};
