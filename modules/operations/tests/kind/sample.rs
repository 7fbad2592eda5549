//! The smallest kind: errands, which are delivered by one set and can be cancelled, or renamed by whoever is faster. It is
//! all a new kind has to write, but for its bodies' own fields.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use fleetwright_operations::columns::Columns;
use fleetwright_operations::create::{Delivery, Draft, accept, from_body, set};
use fleetwright_operations::http::{controlled, routes};
use fleetwright_operations::kind::{CreatedOf, problem};
use fleetwright_operations::names::Texts;
use fleetwright_operations::request::NewOperation;
use fleetwright_operations::selection::{Order, StoredSelector, select};
use fleetwright_operations::status::OperationStatus;
use fleetwright_operations::view::{HostResult, host};
use fleetwright_operations::{Asked, Header, Kind, Loaded, Names, OperationError, invoke};
use fleetwright_plugin_api::sdk::{
    Batch, CallContext, CallError, Caller, Cell, CommandView, IfMatch, JsonBody, Migration, Module,
    ModuleError, OfflinePolicy, PathId, Payload, Problem, Row, RowError, Server, SetAction,
    SetControl, Statement, read,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand;

/// Its own columns.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrandColumns {
    pub status: String,
    pub generation: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrandView {
    pub id: Uuid,
    pub status: &'static str,
    pub generation: i64,
    pub total: u64,
    pub running: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Cancel,
    /// Written against the generation; `is_slow` is always one behind.
    Rename {
        is_slow: bool,
    },
}

impl Columns for ErrandColumns {
    const NAMES: &'static [&'static str] = &["status", "generation"];

    fn read(row: Row<'_>) -> Result<Self, RowError> {
        Ok(Self {
            status: row.text("status")?.to_owned(),
            generation: row.integer("generation")?,
        })
    }

    fn cells(&self) -> Vec<Cell> {
        vec![(&self.status).into(), self.generation.into()]
    }
}

impl Kind for Errand {
    const NAMES: Names = Names {
        module: "errands",
        table: "errands_all",
        status_column: "status",
        open: &["queued", "running"],
        signal: "errands:all",
        audited: "errand",
        full: "small errand",
        short: "errand",
        a_short: "an errand",
        schema: "Errand",
        texts: Texts {
            statuses: "A status.",
            etag: "Changes",
            hosts: "Hosts.",
            host_page: "A page of hosts.",
            host_statuses: "A status of a host.",
        },
    };
    const ROW_MOVES: bool = true;

    type Options = Value;
    type Own = ErrandColumns;
    type Large = ();
    type Fields = ();
    type Control = Control;
    type Summary = ErrandView;
    type Detail = ErrandView;
    type Progress = ErrandView;
    type Host = HostResult;
    type Accepted = ErrandView;
    type Plan = ErrandView;

    fn status(loaded: &Loaded<Self>) -> OperationStatus {
        match (loaded.set.is_finished(), loaded.set.running) {
            (true, _) => OperationStatus::Succeeded,
            (false, 0) => OperationStatus::Queued,
            (false, _) => OperationStatus::Running,
        }
    }

    fn stored_as(status: OperationStatus) -> &'static [&'static str] {
        match status {
            OperationStatus::Queued => &["queued"],
            OperationStatus::Running => &["queued", "running"],
            OperationStatus::Succeeded => &["succeeded", "queued", "running"],
            OperationStatus::AwaitingApproval
            | OperationStatus::Paused
            | OperationStatus::Partial
            | OperationStatus::Failed
            | OperationStatus::Cancelled
            | OperationStatus::RollingBack
            | OperationStatus::RolledBack
            | OperationStatus::RollbackFailed => &[],
        }
    }

    fn generation(own: &ErrandColumns) -> i64 {
        own.generation
    }

    fn summary(loaded: &Loaded<Self>) -> ErrandView {
        ErrandView {
            id: loaded.header.id,
            status: Self::status(loaded).as_str(),
            generation: loaded.header.own.generation,
            total: loaded.set.total,
            running: loaded.set.running,
        }
    }

    fn detail(loaded: &Loaded<Self>, _asked: Asked<Self>) -> ErrandView {
        Self::summary(loaded)
    }

    fn progress(loaded: &Loaded<Self>) -> ErrandView {
        Self::summary(loaded)
    }

    fn host(_loaded: &Loaded<Self>, row: CommandView, _: Option<CommandView>) -> HostResult {
        host(row)
    }

    fn accepted(header: &Header<Self>, total: u64, _unknown: Vec<Value>) -> ErrandView {
        ErrandView {
            id: header.id,
            status: "queued",
            generation: header.own.generation,
            total,
            running: 0,
        }
    }

    fn read_request(body: Value) -> Result<NewOperation<()>, Problem> {
        read(body)
    }

    async fn create(
        server: &Server,
        context: &CallContext,
        new: NewOperation<()>,
        id: Option<Uuid>,
    ) -> Result<CreatedOf<Self>, OperationError> {
        let order = Order::ById;
        let selected = select(server, context, &new.selector, &new.expected, order).await?;
        let id = id.unwrap_or_else(|| server.new_id());
        let own = ErrandColumns {
            status: "queued".to_owned(),
            generation: 1,
        };
        let parts = (json!({}), own);
        let header = Header::<Self>::new(server, context, id, &new, &selected.digest, parts);
        let delivery = Delivery {
            timeout_seconds: 60,
            expires_in_seconds: 60,
            max_concurrency: 0,
            offline: OfflinePolicy::Queue,
            held: false,
        };
        let draft = Draft {
            set: set(header.set_id, &new.what, &new.execution, delivery),
            header,
            asked: Asked {
                parameters: new.what.parameters,
                execution: new.execution,
                selector: StoredSelector::of(new.selector),
                more: (),
            },
            selected,
            action: "create",
            facts: Map::new(),
        };
        accept(server, context, draft).await
    }

    async fn decide(
        _server: &Server,
        _context: &CallContext,
        loaded: &Loaded<Self>,
        asked: &Control,
    ) -> Result<Option<Batch>, OperationError> {
        if loaded.set.is_finished() {
            let (control, state) = (Self::audited(asked).0, Self::status(loaded).as_str());
            return Err(OperationError::InvalidTransition { control, state });
        }
        let batch = match asked {
            Control::Cancel if loaded.set.cancelled => return Ok(None),
            Control::Cancel => Batch::new().control_set(&SetControl {
                set_id: loaded.header.set_id,
                action: SetAction::Cancel {
                    kill: false,
                    hosts: None,
                    reason: "cancelled".to_owned(),
                },
                expect_generation: Some(loaded.set.generation),
            }),
            Control::Rename { is_slow } => {
                let seen = loaded.header.own.generation - i64::from(*is_slow);
                Batch::new().sql_expecting(renamed(loaded.header.id, seen), 1)
            }
        };
        Ok(Some(batch.signal(Self::NAMES.signal)))
    }

    fn audited(asked: &Control) -> (&'static str, Value) {
        match asked {
            Control::Cancel => ("cancel", Value::Null),
            Control::Rename { is_slow } => ("rename", json!({"slow": is_slow})),
        }
    }

    fn cancel(_kill: bool) -> Control {
        Control::Cancel
    }

    fn forget(id: Uuid) -> Vec<Statement> {
        vec![Statement::new("DELETE FROM errands_notes WHERE errand_id = $1").bind(id)]
    }
}

pub fn renamed(id: Uuid, generation: i64) -> Statement {
    let sql =
        "UPDATE errands_all SET generation = generation + 1 WHERE id = $1 AND generation = $2";
    Statement::new(sql).bind(id).bind(generation)
}

const TABLES: &str = "
    CREATE TABLE errands_all (id {id} NOT NULL PRIMARY KEY, set_id {id} NOT NULL, created_by TEXT NOT NULL,
        created_by_name TEXT NOT NULL, tenant TEXT, created_at BIGINT NOT NULL, operation_type TEXT NOT NULL,
        digest TEXT NOT NULL, reason TEXT, terms TEXT NOT NULL, parameters TEXT NOT NULL, execution TEXT NOT NULL,
        selector TEXT NOT NULL, status TEXT NOT NULL, generation BIGINT NOT NULL);
    CREATE TABLE errands_notes (errand_id {id} NOT NULL, note TEXT NOT NULL);";

pub struct Errands {
    server: Server,
}

impl Module for Errands {
    fn migrations() -> Vec<Migration> {
        let of = |id: &str| -> &'static str { TABLES.replace("{id}", id).leak() };
        vec![Migration {
            version: 1,
            name: "errands",
            sqlite: of("BLOB"),
            postgres: of("BYTEA"),
        }]
    }

    async fn start(server: Server) -> Result<(Self, Router), ModuleError> {
        let router = routes::<Errand>(server.clone(), |shared, base| {
            shared
                .route(base, post(create))
                .route(&format!("{base}/{{id}}/cancel"), post(cancel))
                .route(&format!("{base}/{{id}}/rename"), post(rename))
        });
        Ok((Self { server }, router))
    }

    async fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        invoke::invoke::<Errand>(&self.server, context, &method, payload).await
    }
}

async fn create(
    State(server): State<Server>,
    Caller(context): Caller,
    JsonBody(body): JsonBody<Value>,
) -> Result<CreatedOf<Errand>, Problem> {
    let created = from_body::<Errand>(&server, &context, body, None).await;
    created.map_err(problem::<Errand>)
}

async fn cancel(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
) -> Result<axum::response::Response, Problem> {
    controlled::<Errand>(&server, &context, id, seen, Control::Cancel).await
}

async fn rename(
    State(server): State<Server>,
    Caller(context): Caller,
    PathId(id): PathId<Uuid>,
    seen: IfMatch,
    JsonBody(body): JsonBody<Value>,
) -> Result<axum::response::Response, Problem> {
    let is_slow = body["slow"] == true;
    controlled::<Errand>(&server, &context, id, seen, Control::Rename { is_slow }).await
}
