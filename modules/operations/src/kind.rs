//! What a kind of operation says of itself, and an operation of any kind as it is read: its row and its counters. Not what
//! is done with it, and not its words (`names`).

use std::fmt::Debug;
use std::future::Future;

use fleetwright_plugin_api::sdk::{Batch, Problem, Server, Statement};
use fleetwright_plugin_api::wire::{CallContext, CommandView, SetView};
use fleetwright_protocol::{ExecutionOptions, SetId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::columns::Columns;
use crate::created::Created;
use crate::error::OperationError;
use crate::names::Names;
use crate::request::NewOperation;
use crate::selection::StoredSelector;
use crate::status::OperationStatus;

/// What is shown in answers.
pub trait View: Debug + Serialize + ToSchema + Send + 'static {}

impl<T: Debug + Serialize + ToSchema + Send + 'static> View for T {}

/// A kind of operation over many hosts. All that is alike for every kind is done by this package with it.
pub trait Kind: Copy + Debug + PartialEq + Send + Sync + 'static {
    const NAMES: Names;
    /// Whether what is shown of one changes with its row too, not with its counters alone.
    const ROW_MOVES: bool = false;
    /// Whether a second set, its rollback, may belong to one.
    const HAS_ROLLBACK: bool = false;
    /// Controls decided again after a lost race, before the caller is told to try later.
    const CONTROL_ATTEMPTS_MAX: usize = 5;
    /// Rows dropped in one transaction: fewer for a kind that remembers much of each.
    const DROPPED_AT_ONCE: usize = 1_000;

    /// How it is run, as lists show it: a few small values, whatever a client sends. Stored as JSON in the column `terms`.
    type Options: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync;
    /// The kind's own columns that are read with every row. They are small.
    type Own: Columns + Clone + Debug + PartialEq + Send + Sync;
    /// The kind's own columns that a client may have made large. They are read for one operation only.
    type Large: Columns + Clone + Debug + PartialEq + Send + Sync;
    /// What a body of its own fields says.
    type Fields: Send;
    type Control: Clone + Send + Sync;

    type Summary: View;
    type Detail: View;
    type Progress: View;
    type Host: View;
    type Accepted: View;
    type Plan: View;

    /// The status people see.
    fn status(loaded: &Loaded<Self>) -> OperationStatus;

    /// The words the status column may have for one that is shown with this status, older ones included; none if this kind
    /// never has that status.
    fn stored_as(status: OperationStatus) -> &'static [&'static str];

    /// Rises with every write of the row, for a kind whose row moves.
    fn generation(_own: &Self::Own) -> i64 {
        0
    }

    fn rollback_set_id(_own: &Self::Own) -> Option<SetId> {
        None
    }

    /// No host at this place of the first set, or before it, has a place below this one in the rollback's.
    fn rollback_from(_loaded: &Loaded<Self>, _ordinal: u64) -> u64 {
        0
    }

    fn summary(loaded: &Loaded<Self>) -> Self::Summary;
    fn detail(loaded: &Loaded<Self>, asked: Asked<Self>) -> Self::Detail;
    fn progress(loaded: &Loaded<Self>) -> Self::Progress;
    /// One host, with what the rollback did on it.
    fn host(
        loaded: &Loaded<Self>,
        row: CommandView,
        rolled_back: Option<CommandView>,
    ) -> Self::Host;
    fn accepted(header: &Header<Self>, total: u64, unknown_host_ids: Vec<Value>) -> Self::Accepted;

    /// Reads the body of a new one: everything that is wrong with it but for its selector.
    fn read_request(body: Value) -> Result<NewOperation<Self::Fields>, Problem>;

    /// Creates one, or plans it if that is what was asked; under an id, if a caller chose one so as not to create it twice.
    fn create(
        server: &Server,
        context: &CallContext,
        new: NewOperation<Self::Fields>,
        id: Option<Uuid>,
    ) -> impl Future<Output = Result<CreatedOf<Self>, OperationError>> + Send;

    /// What a control writes, without its audit row; none if it is already so.
    fn decide(
        server: &Server,
        context: &CallContext,
        loaded: &Loaded<Self>,
        asked: &Self::Control,
    ) -> impl Future<Output = Result<Option<Batch>, OperationError>> + Send;

    /// A control as the audit log has it: its name and its facts.
    fn audited(asked: &Self::Control) -> (&'static str, Value);

    /// A cancel of the whole.
    fn cancel(kill: bool) -> Self::Control;

    /// Whether the control needs the rows of hosts, which the core writes after it has created a set.
    fn needs_rows(_asked: &Self::Control) -> bool {
        false
    }

    /// What is remembered of one beside its row, to be dropped with it.
    fn forget(_id: Uuid) -> Vec<Statement> {
        Vec::new()
    }
}

/// What became of a request for one.
pub type CreatedOf<K> = Created<<K as Kind>::Accepted, <K as Kind>::Plan>;

/// The problem of an error, in the words of a kind.
pub fn problem<K: Kind>(error: OperationError) -> Problem {
    error.problem(&K::NAMES)
}

/// A row without what a client may have made large.
#[derive(Clone, Debug, PartialEq)]
pub struct Header<K: Kind> {
    pub id: Uuid,
    pub set_id: SetId,
    pub created_by: String,
    pub created_by_name: String,
    pub tenant: Option<String>,
    pub created_at_us: i64,
    pub operation_type: String,
    /// SHA-256 of the frozen host ids.
    pub digest: String,
    pub reason: Option<String>,
    pub options: K::Options,
    pub own: K::Own,
}

/// What was asked: of which hosts, to do what, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked<K: Kind> {
    pub parameters: Value,
    pub execution: ExecutionOptions,
    pub selector: StoredSelector,
    pub more: K::Large,
}

/// An operation's row with the counters of its sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<K: Kind> {
    pub header: Header<K>,
    pub set: SetView,
    pub rollback: Option<SetView>,
}

impl<K: Kind> Header<K> {
    /// The row of a new one. Its set has its id.
    pub fn new(
        server: &Server,
        context: &CallContext,
        id: Uuid,
        new: &NewOperation<K::Fields>,
        digest: &str,
        (options, own): (K::Options, K::Own),
    ) -> Self {
        Self {
            id,
            set_id: SetId(id),
            created_by: context.principal.clone(),
            created_by_name: context.principal_name.clone(),
            tenant: context.tenant.clone(),
            created_at_us: server.now_us(),
            operation_type: new.what.operation_type(),
            digest: digest.to_owned(),
            reason: new.reason.clone(),
            options,
            own,
        }
    }

    /// Its set, and that of its rollback.
    pub fn set_ids(&self) -> impl Iterator<Item = SetId> + use<K> {
        [Some(self.set_id), K::rollback_set_id(&self.own)]
            .into_iter()
            .flatten()
    }
}

impl<K: Kind> Loaded<K> {
    /// Rises with every write and every counter.
    pub fn revision(&self) -> i64 {
        let rollback = self.rollback.as_ref().map_or(0, |set| set.revision);
        K::generation(&self.header.own) + self.set.revision + rollback
    }
}
