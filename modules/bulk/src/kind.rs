//! Bulk operations as a kind of operation: their words, their own columns, and where each part of them is decided.

use fleetwright_operations::kind::CreatedOf;
use fleetwright_operations::names::Texts;
use fleetwright_operations::request::NewOperation;
use fleetwright_operations::status::OperationStatus;
use fleetwright_operations::view::{HostResult, host};
use fleetwright_operations::{Asked, Kind, Names, OperationError};
use fleetwright_plugin_api::sdk::{Batch, Problem, Server};
use fleetwright_plugin_api::wire::{CallContext, CommandView};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::create::Origin;
use crate::actions::{control, create};
use crate::decide::{self, Control};
use crate::request::{self, BulkOptions};
use crate::row::{BulkColumns, BulkHeader, BulkKind, LoadedBulk};
use crate::view::{self, BulkAccepted, BulkOperation, BulkPlan, BulkProgress, BulkSummary};

impl Kind for BulkKind {
    const NAMES: Names = Names {
        module: "bulk",
        table: "bulk_operations",
        status_column: "status",
        open: &["queued", "running"],
        signal: "bulk:operations",
        audited: "bulk_operation",
        full: "bulk operation",
        short: "operation",
        a_short: "an operation",
        schema: "Bulk",
        texts: Texts {
            statuses: "`queued`, `running`, `succeeded`, `partial`, `failed` or `cancelled`.",
            etag: "Changes with every counter",
            hosts: "The result of each host, in the frozen order.",
            host_page: "A page of an operation's hosts, in their frozen order.",
            host_statuses: "`queued`, `running`, `succeeded`, `failed` or `skipped`.",
        },
    };

    type Options = BulkOptions;
    type Own = BulkColumns;
    type Large = ();
    type Fields = BulkOptions;
    type Control = Control;

    type Summary = BulkSummary;
    type Detail = BulkOperation;
    type Progress = BulkProgress;
    type Host = HostResult;
    type Accepted = BulkAccepted;
    type Plan = BulkPlan;

    fn status(loaded: &LoadedBulk) -> OperationStatus {
        decide::status(&loaded.set).into()
    }

    /// The followed status may be an earlier one.
    fn stored_as(status: OperationStatus) -> &'static [&'static str] {
        match status {
            OperationStatus::Queued => &["queued"],
            OperationStatus::Running => &["queued", "running"],
            OperationStatus::Succeeded => &["succeeded", "queued", "running"],
            OperationStatus::Partial => &["partial", "queued", "running"],
            OperationStatus::Failed => &["failed", "queued", "running"],
            OperationStatus::Cancelled => &["cancelled", "queued", "running"],
            OperationStatus::AwaitingApproval
            | OperationStatus::Paused
            | OperationStatus::RollingBack
            | OperationStatus::RolledBack
            | OperationStatus::RollbackFailed => &[],
        }
    }

    fn summary(loaded: &LoadedBulk) -> BulkSummary {
        view::summary(loaded)
    }

    fn detail(loaded: &LoadedBulk, asked: Asked<Self>) -> BulkOperation {
        view::detail(loaded, asked)
    }

    fn progress(loaded: &LoadedBulk) -> BulkProgress {
        view::progress(loaded)
    }

    fn host(_loaded: &LoadedBulk, row: CommandView, _: Option<CommandView>) -> HostResult {
        host(row)
    }

    fn accepted(header: &BulkHeader, total: u64, unknown_host_ids: Vec<Value>) -> BulkAccepted {
        view::accepted(header, total, unknown_host_ids)
    }

    fn read_request(body: Value) -> Result<NewOperation<BulkOptions>, Problem> {
        request::new_bulk(body)
    }

    async fn create(
        server: &Server,
        context: &CallContext,
        new: NewOperation<BulkOptions>,
        id: Option<Uuid>,
    ) -> Result<CreatedOf<Self>, OperationError> {
        create::create(server, context, new, Origin { id, parent: None }).await
    }

    async fn decide(
        _server: &Server,
        _context: &CallContext,
        loaded: &LoadedBulk,
        asked: &Control,
    ) -> Result<Option<Batch>, OperationError> {
        control::decide(loaded, asked)
    }

    fn audited(asked: &Control) -> (&'static str, Value) {
        (asked.name(), control::facts(asked))
    }

    fn cancel(kill: bool) -> Control {
        Control::Cancel { kill, hosts: None }
    }

    fn needs_rows(asked: &Control) -> bool {
        asked.is_of_hosts()
    }
}
