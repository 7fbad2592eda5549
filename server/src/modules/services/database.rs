//! `fleet.db/1`: reads on one snapshot; a batch in one writer transaction, detached from whoever waits for it.

use fleetwright_plugin_api::abi::{
    AbiError, AbiStatement, AbiTable, Ctx, DbApi, FfiFuture, Op, RResult, RVec, op_kind,
};
use fleetwright_plugin_api::guard;
use fleetwright_plugin_api::sdk::{Problem, ServerError};
use fleetwright_plugin_api::wire::{AuditEntry, CallContext, RespondRecord, SetControl, SetCreate};
use fleetwright_protocol::HostId;

use super::facts::is_own_key;
use super::ids::raw_ids;
use super::sql::{self, SqlStep, StepError};
use super::{Services, database_error, parse};
use crate::audit::{self, AuditContext};
use crate::commands::create::SetError;
use crate::commands::{control, create};
use crate::db::{DbError, Tx};
#[cfg(debug_assertions)]
use crate::failpoints::{self, Point};
use crate::http::idempotency::{IdempotencyClaim, KEY_TAKEN};

/// Steps of one batch: a decision over a page of rows, not over a fleet.
const OPS_MAX: usize = 1_000;
/// What principals of modules' own loops begin with.
const OWN_LOOPS: &str = "module:";

impl DbApi for Services {
    fn dialect(&self) -> u32 {
        guard::body(
            || sql::dialect_number(self.modules.parts().db.dialect()),
            |_| 1,
        )
    }

    fn read(&self, statements: RVec<AbiStatement>) -> FfiFuture<RResult<RVec<AbiTable>, AbiError>> {
        let me = self.clone();
        self.answer_in_place(async move {
            let statements = sql::reads(statements, &me.module)?;
            let db = &me.modules.parts().db;
            let results = db.read_all_as_guest(statements).await;
            sql::tables(results.map_err(database_error)?).map(RVec::from)
        })
    }

    fn commit(&self, ctx: Ctx, ops: RVec<Op>) -> FfiFuture<RResult<(), AbiError>> {
        let me = self.clone();
        let context = CallContext::from(&ctx);
        // Held from here on: the request may be given up before the batch has its turn.
        let claim = self.modules.parts().idempotency.claim(context.idempotency);
        self.answer(async move { me.commit_batch(context, claim, ops.into()).await })
    }
}

impl Services {
    async fn commit_batch(
        &self,
        context: CallContext,
        claim: Option<IdempotencyClaim>,
        ops: Vec<Op>,
    ) -> Result<(), ServerError> {
        if ops.len() > OPS_MAX {
            return Err(ServerError::Invalid(format!(
                "{} operations in one batch, at most {OPS_MAX}",
                ops.len()
            )));
        }
        let steps: Vec<Step> = ops
            .into_iter()
            .map(|op| self.step(op))
            .collect::<Result<_, _>>()?;
        if context.idempotency != 0 && claim.is_none() {
            let given_up = "the request this belongs to has been given up";
            return Err(ServerError::Unavailable(given_up.to_owned()));
        }
        self.admit_secrets(&context, &steps).await?;
        let me = self.clone();
        let db = &self.modules.parts().db;
        let written = db.write(move |tx| {
            #[cfg(debug_assertions)]
            me.end_after_commit(tx);
            for (op_index, step) in steps.into_iter().enumerate() {
                me.run(tx, step, &context, claim.as_ref())
                    .map_err(|error| Failure { op_index, error })?;
            }
            #[cfg(debug_assertions)]
            failpoints::reached(&me.module, Point::BeforeCommit);
            Ok::<_, Failure>(())
        });
        written.await.map_err(ServerError::from)
    }

    /// A module's own loops go on with what somebody was allowed to launch before.
    async fn admit_secrets(
        &self,
        context: &CallContext,
        steps: &[Step],
    ) -> Result<(), ServerError> {
        if context.principal.starts_with(OWN_LOOPS) {
            return Ok(());
        }
        let commands = &self.modules.parts().commands;
        for step in steps {
            if let Step::Create(request, hosts) = step {
                create::admit_secrets(commands, &context.principal, request, hosts)
                    .await
                    .map_err(set_error)?;
            }
        }
        Ok(())
    }

    /// The first of the batch's hooks: before any signal.
    #[cfg(debug_assertions)]
    fn end_after_commit(&self, tx: &mut Tx<'_>) {
        let module = self.module.clone();
        tx.after_commit(move || failpoints::reached(&module, Point::AfterCommit));
    }

    /// Everything that can be refused before the writer is reached.
    fn step(&self, op: Op) -> Result<Step, ServerError> {
        Ok(match op.kind {
            op_kind::SQL | op_kind::SQL_ROWS => Step::Sql(SqlStep::of(&op, &self.module)?),
            op_kind::SET_CREATE => Step::Create(
                Box::new(parse(&op.json)?),
                raw_ids(&op.blob, HostId::from_slice)?,
            ),
            op_kind::SET_CONTROL => Step::Control(parse(&op.json)?),
            op_kind::AUDIT => Step::Audit(parse(&op.json)?),
            op_kind::SIGNAL if is_own_key(&self.module, op.text.as_str()) => {
                Step::Signal(op.text.into())
            }
            op_kind::SIGNAL => {
                return Err(ServerError::Forbidden(format!(
                    "the signal {} is not its own",
                    op.text
                )));
            }
            op_kind::RESPOND => Step::Respond(parse(&op.json)?),
            other => {
                return Err(ServerError::Invalid(format!(
                    "unknown operation kind {other}"
                )));
            }
        })
    }

    fn run(
        &self,
        tx: &mut Tx<'_>,
        step: Step,
        context: &CallContext,
        claim: Option<&IdempotencyClaim>,
    ) -> Result<(), StepFailure> {
        let parts = self.modules.parts();
        match step {
            Step::Sql(step) => step.run(tx).map_err(StepFailure::from),
            Step::Create(request, hosts) => {
                let (owner, by) = (self.module.as_str(), context.principal.as_str());
                create::create_in(tx, &parts.commands, &request, hosts, owner, by)?;
                Ok(())
            }
            Step::Control(request) => {
                control::control_in(tx, &parts.commands, &request)?;
                Ok(())
            }
            Step::Audit(entry) => Ok(audit::append(
                tx,
                parts.clock.now_us(),
                &AuditContext::from(context),
                &entry,
            )?),
            Step::Signal(key) => {
                let me = self.clone();
                tx.after_commit(move || me.publish_own(&key));
                Ok(())
            }
            Step::Respond(record) => match claim {
                Some(claim) => Ok(claim.store(
                    tx,
                    parts.clock.lease_us(),
                    record.status,
                    &record.headers,
                    &record.body,
                )?),
                // The request has no key.
                None => Ok(()),
            },
        }
    }
}

enum Step {
    Sql(SqlStep),
    Create(Box<SetCreate>, Vec<HostId>),
    Control(SetControl),
    Audit(AuditEntry),
    Signal(String),
    Respond(RespondRecord),
}

enum StepFailure {
    Db(DbError),
    Guard { affected: u64 },
    Set(SetError),
}

/// A step that refused the whole batch.
struct Failure {
    op_index: usize,
    error: StepFailure,
}

impl From<StepError> for StepFailure {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Db(error) => Self::Db(error),
            StepError::Guard { affected } => Self::Guard { affected },
        }
    }
}

impl From<DbError> for StepFailure {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<SetError> for StepFailure {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Db(error) => Self::Db(error),
            other => Self::Set(other),
        }
    }
}

/// The commit itself failed: no step is to blame.
impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self {
            op_index: 0,
            error: StepFailure::Db(error),
        }
    }
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        let op_index = failure.op_index;
        match failure.error {
            StepFailure::Guard { affected } => Self::Guard { op_index, affected },
            StepFailure::Set(
                SetError::StaleGeneration { .. } | SetError::Finished | SetError::Cancelled,
            ) => Self::Guard {
                op_index,
                affected: 0,
            },
            StepFailure::Set(error) => set_error(error),
            StepFailure::Db(error) if is_key_taken(&error) => Self::Refused(Box::new(error.into())),
            StepFailure::Db(DbError::Unique(constraint) | DbError::Constraint(constraint)) => {
                Self::Constraint {
                    op_index,
                    constraint,
                }
            }
            StepFailure::Db(error) => database_error(error),
        }
    }
}

fn is_key_taken(error: &DbError) -> bool {
    matches!(error, DbError::Unique(what) if what == KEY_TAKEN)
}

pub(super) fn set_error(error: SetError) -> ServerError {
    match error {
        SetError::Invalid(errors) => ServerError::Refused(Box::new(Problem::invalid(errors))),
        SetError::Forbidden(why) => ServerError::Refused(Box::new(Problem::forbidden(why))),
        SetError::NotFound => ServerError::NotFound(error.to_string()),
        SetError::Preparing => ServerError::Unavailable(error.to_string()),
        SetError::StaleGeneration { .. } | SetError::Finished | SetError::Cancelled => {
            ServerError::Guard {
                op_index: 0,
                affected: 0,
            }
        }
        SetError::Db(error) => database_error(error),
    }
}
