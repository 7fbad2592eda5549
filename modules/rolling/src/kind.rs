//! Rolling deployments as a kind of operation: their words, their own columns, and where each part of them is decided.

use fleetwright_operations::kind::CreatedOf;
use fleetwright_operations::names::Texts;
use fleetwright_operations::request::NewOperation;
use fleetwright_operations::status::OperationStatus;
use fleetwright_operations::{Asked, Kind, Names, OperationError};
use fleetwright_plugin_api::sdk::{Batch, Problem, Server, Statement};
use fleetwright_plugin_api::wire::{CallContext, CommandView};
use fleetwright_protocol::SetId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions::{advance, create};
use crate::decide::control::{Control, control};
use crate::request::{self, RollingFields, RollingOptions};
use crate::row::{DeploymentHeader, LoadedDeployment, RollbackColumn, RollingColumns, RollingKind};
use crate::store::history;
use crate::view::{
    self, RollingAccepted, RollingDeployment, RollingHost, RollingPlan, RollingProgress,
    RollingSummary,
};

impl Kind for RollingKind {
    const NAMES: Names = Names {
        module: "rolling",
        table: "rolling_deployments",
        status_column: "state",
        open: &[
            "queued",
            "running",
            "awaiting_approval",
            "paused",
            "halting",
            "cancelling",
            "rolling_back",
        ],
        signal: "rolling:deployments",
        audited: "rolling_deployment",
        full: "rolling deployment",
        short: "deployment",
        a_short: "a deployment",
        schema: "Rolling",
        texts: Texts {
            statuses: "A status of a deployment.",
            etag: "Changes with every move and counter",
            hosts: "The result of each host, in the order of the batches, with what a rollback did on it.",
            host_page: "A page of a deployment's hosts, in the order of its batches.",
            host_statuses: "`queued`, `running`, `succeeded`, `failed` or `skipped`. Those of batches to come are \
                            `queued`.",
        },
    };
    const ROW_MOVES: bool = true;
    const HAS_ROLLBACK: bool = true;
    /// The controller writes while batches are released, several times a second.
    const CONTROL_ATTEMPTS_MAX: usize = 20;
    /// Each may have 100,000 batches.
    const DROPPED_AT_ONCE: usize = 1;

    type Options = RollingOptions;
    type Own = RollingColumns;
    type Large = RollbackColumn;
    type Fields = RollingFields;
    type Control = Control;

    type Summary = RollingSummary;
    type Detail = RollingDeployment;
    type Progress = RollingProgress;
    type Host = RollingHost;
    type Accepted = RollingAccepted;
    type Plan = RollingPlan;

    fn status(loaded: &LoadedDeployment) -> OperationStatus {
        loaded.header.own.machine.state.status()
    }

    fn stored_as(status: OperationStatus) -> &'static [&'static str] {
        match status {
            OperationStatus::Queued => &["queued"],
            OperationStatus::Running => &["running", "halting", "cancelling"],
            OperationStatus::AwaitingApproval => &["awaiting_approval"],
            OperationStatus::Paused => &["paused"],
            OperationStatus::Succeeded => &["succeeded"],
            OperationStatus::Partial => &["partial"],
            OperationStatus::Failed => &["failed"],
            OperationStatus::Cancelled => &["cancelled"],
            OperationStatus::RollingBack => &["rolling_back"],
            OperationStatus::RolledBack => &["rolled_back"],
            OperationStatus::RollbackFailed => &["rollback_failed"],
        }
    }

    fn generation(own: &RollingColumns) -> i64 {
        own.generation
    }

    fn rollback_set_id(own: &RollingColumns) -> Option<SetId> {
        own.rollback_set_id
    }

    fn rollback_from(loaded: &LoadedDeployment, ordinal: u64) -> u64 {
        let RollingColumns {
            policy, machine, ..
        } = &loaded.header.own;
        let rollback = machine.rollback.as_ref();
        rollback.map_or(0, |rollback| rollback.earliest_ordinal(policy, ordinal))
    }

    fn summary(loaded: &LoadedDeployment) -> RollingSummary {
        view::summary(loaded)
    }

    fn detail(loaded: &LoadedDeployment, asked: Asked<Self>) -> RollingDeployment {
        view::detail(loaded, asked)
    }

    fn progress(loaded: &LoadedDeployment) -> RollingProgress {
        view::progress_of(loaded)
    }

    fn host(
        loaded: &LoadedDeployment,
        row: CommandView,
        rolled_back: Option<CommandView>,
    ) -> RollingHost {
        view::rolling_host(&loaded.header.own.policy, row, rolled_back)
    }

    fn accepted(header: &DeploymentHeader, total: u64, unknown: Vec<Value>) -> RollingAccepted {
        view::accepted(header, total, unknown)
    }

    fn read_request(body: Value) -> Result<NewOperation<RollingFields>, Problem> {
        request::new_rolling(body)
    }

    async fn create(
        server: &Server,
        context: &CallContext,
        new: NewOperation<RollingFields>,
        id: Option<Uuid>,
    ) -> Result<CreatedOf<Self>, OperationError> {
        create::create(server, context, new, id).await
    }

    async fn decide(
        server: &Server,
        context: &CallContext,
        loaded: &LoadedDeployment,
        asked: &Control,
    ) -> Result<Option<Batch>, OperationError> {
        let now_us = server.now_us();
        let rollback = advance::rollback_seen(server, loaded).await?;
        let snapshot = advance::snapshot(loaded, rollback);
        let Some(step) = control(&snapshot, *asked, server.lease_us())? else {
            return Ok(None);
        };
        let batch = advance::batch_of(server, context, loaded, &step, None, now_us).await?;
        Ok(Some(batch))
    }

    fn audited(asked: &Control) -> (&'static str, Value) {
        let facts = match asked {
            Control::Pause | Control::Resume => Value::Null,
            Control::Cancel { kill } => json!({"running": if *kill { "kill" } else { "finish" }}),
            Control::Approve { batch } => json!({ "batch": batch }),
        };
        (asked.name(), facts)
    }

    fn cancel(kill: bool) -> Control {
        Control::Cancel { kill }
    }

    fn forget(id: Uuid) -> Vec<Statement> {
        history::delete(id).to_vec()
    }
}
