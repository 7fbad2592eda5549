//! A batch: everything one decision writes, committed together or not at all.

use abi_stable::std_types::{RString, RVec};
use axum::response::{IntoResponse, Response};
use fleetwright_protocol::HostId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::{AuditEntry, RespondRecord, ServerError, SetControl, SetCreate, Statement};
use crate::abi::{Op, op_kind};
use crate::cells;
use crate::wire::{Cell, ROWS_PER_WRITE_MAX};

/// Steps in order. Nothing happens until it is given to [`Database::commit`](super::Database::commit).
#[derive(Debug, Default)]
pub struct Batch {
    ops: Vec<Op>,
    /// The first step that cannot be expressed; told at the commit.
    defect: Option<String>,
}

impl Batch {
    /// Without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// One statement, however many rows it affects.
    #[must_use]
    pub fn sql(self, statement: Statement) -> Self {
        self.statement(statement, -1)
    }

    /// The whole batch is refused (`ServerError::Guard`) unless exactly `rows` rows are affected.
    #[must_use]
    pub fn sql_expecting(self, statement: Statement, rows: u64) -> Self {
        self.statement(statement, i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// Writes many rows: `{rows}` in the SQL (`INSERT INTO t (a, b) VALUES {rows}`) becomes the list of them. `cells` is
    /// row-major, `columns` values a row, at most 5,000 rows.
    #[must_use]
    pub fn rows(mut self, sql: &str, columns: usize, values: &[Cell]) -> Self {
        let rows = values.len().checked_div(columns).unwrap_or_default();
        if columns == 0 || rows * columns != values.len() {
            self.defect.get_or_insert_with(|| {
                format!("{} cells do not fill rows of {columns}", values.len())
            });
        }
        if rows > ROWS_PER_WRITE_MAX {
            self.defect.get_or_insert_with(|| {
                format!("{rows} rows in one step, at most {ROWS_PER_WRITE_MAX}")
            });
        }
        if values.is_empty() {
            return self;
        }
        let columns = i64::try_from(columns).unwrap_or_default();
        self.push(Op {
            number: columns,
            cells: cells::pack(values).into(),
            ..op(op_kind::SQL_ROWS, sql)
        })
    }

    /// Creates a command set over these hosts, frozen in this order.
    #[must_use]
    pub fn create_set(self, create: &SetCreate, hosts: &[HostId]) -> Self {
        let blob: Vec<u8> = hosts.iter().flat_map(|host| *host.as_bytes()).collect();
        self.json(
            Op {
                blob: blob.into(),
                ..op(op_kind::SET_CREATE, "")
            },
            create,
        )
    }

    /// Changes how a set is run. One that has moved on, is finished or cancelled refuses the whole batch
    /// (`ServerError::Guard`).
    #[must_use]
    pub fn control_set(self, control: &SetControl) -> Self {
        self.json(op(op_kind::SET_CONTROL, ""), control)
    }

    /// One audit row, in this transaction. Every mutation by a principal has one.
    #[must_use]
    pub fn audit(self, entry: &AuditEntry) -> Self {
        self.json(op(op_kind::AUDIT, ""), entry)
    }

    /// Wakes whoever waits for `key`, once this is on disk.
    #[must_use]
    pub fn signal(self, key: &str) -> Self {
        self.push(op(op_kind::SIGNAL, key))
    }

    /// Stores the answer under the request's `Idempotency-Key` (if it has one), so that a repeat is answered the same.
    #[must_use]
    pub fn respond(self, reply: &Reply) -> Self {
        self.json(op(op_kind::RESPOND, ""), &reply.0)
    }

    pub(crate) fn into_ops(self) -> Result<RVec<Op>, ServerError> {
        match self.defect {
            Some(defect) => Err(ServerError::Invalid(defect)),
            None => Ok(self.ops.into()),
        }
    }

    fn statement(self, statement: Statement, rows: i64) -> Self {
        let (sql, parameters) = statement.into_parts();
        self.push(Op {
            number: rows,
            cells: cells::pack(&parameters).into(),
            ..op(op_kind::SQL, &sql)
        })
    }

    fn json<T: Serialize>(mut self, step: Op, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.push(Op {
                json: json.into(),
                ..step
            }),
            Err(error) => {
                self.defect.get_or_insert_with(|| error.to_string());
                self
            }
        }
    }

    fn push(mut self, step: Op) -> Self {
        self.ops.push(step);
        self
    }
}

fn op(kind: u32, text: &str) -> Op {
    Op {
        kind,
        text: RString::from(text),
        number: 0,
        json: RVec::new(),
        cells: RVec::new(),
        blob: RVec::new(),
        ext: RVec::new(),
    }
}

/// An answer that can be both sent and stored for a repeated request.
#[derive(Clone, Debug)]
pub struct Reply(pub RespondRecord);

impl Reply {
    /// A JSON body with its content type. Fails only if `body` cannot be written as JSON, such as a map with keys that
    /// are no texts.
    pub fn json<T: Serialize>(status: u16, body: &T) -> Result<Self, ServerError> {
        let body = serde_json::to_string(body)
            .map_err(|error| ServerError::Internal(error.to_string()))?;
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(Self(RespondRecord {
            status,
            headers,
            body,
        }))
    }

    /// Lower-case name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::OK);
        let headers: HeaderMap = self
            .0
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    name.parse::<HeaderName>().ok()?,
                    HeaderValue::from_str(value).ok()?,
                ))
            })
            .collect();
        (status, headers, self.0.body).into_response()
    }
}
