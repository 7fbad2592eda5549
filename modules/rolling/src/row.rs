//! The row of a deployment: the columns that only this kind has. What else is its own is in `kind`.

use fleetwright_operations::columns::{Columns, text};
use fleetwright_operations::{Header, Loaded};
use fleetwright_plugin_api::sdk::{Cell, Row, RowError};
use fleetwright_protocol::SetId;
use serde_json::Value;

use crate::decide::Deployment;
use crate::decide::policy::Policy;

/// Rolling deployments as a kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingKind;

pub type DeploymentHeader = Header<RollingKind>;
pub type LoadedDeployment = Loaded<RollingKind>;

/// The columns that only deployments have. At most 5 KiB, of which policy and options (100 waves each) are most.
#[derive(Clone, Debug, PartialEq)]
pub struct RollingColumns {
    /// The set of its rollback, once there is one.
    pub rollback_set_id: Option<SetId>,
    pub finished_at_us: Option<i64>,
    pub policy: Policy,
    pub machine: Deployment,
    pub generation: i64,
}

/// What a deployment has that may be large: `{"operation_type", "parameters"}` of its rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackColumn(pub Option<Value>);

impl Columns for RollingColumns {
    const NAMES: &'static [&'static str] = &[
        "rollback_set_id",
        "finished_at",
        "policy",
        "state",
        "machine",
        "generation",
    ];

    /// `state` is for filters only: it is in `machine` too.
    fn read(row: Row<'_>) -> Result<Self, RowError> {
        Ok(Self {
            rollback_set_id: row.optional_id("rollback_set_id")?,
            finished_at_us: row.optional_integer("finished_at")?,
            policy: row.json("policy")?,
            machine: row.json("machine")?,
            generation: row.integer("generation")?,
        })
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            self.rollback_set_id.into(),
            self.finished_at_us.into(),
            text(&self.policy).into(),
            self.machine.state.name().into(),
            text(&self.machine).into(),
            self.generation.into(),
        ]
    }
}

impl Columns for RollbackColumn {
    const NAMES: &'static [&'static str] = &["rollback"];

    fn read(row: Row<'_>) -> Result<Self, RowError> {
        let is_there = row.optional_text("rollback")?.is_some();
        Ok(Self(is_there.then(|| row.json("rollback")).transpose()?))
    }

    fn cells(&self) -> Vec<Cell> {
        vec![self.0.as_ref().map(Value::to_string).into()]
    }
}
