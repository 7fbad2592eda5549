//! The values that cross: requests, responses, statements, errors. Bytes and strings only; JSON inside is `wire`.

#![expect(non_local_definitions, reason = "how sabi_trait expands")]

use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RResult, RString, RVec};
use async_ffi::FfiFuture;

/// Who a call acts for. The frozen form of `wire::CallContext`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Ctx {
    pub request_id: RString,
    pub principal: RString,
    pub principal_name: RString,
    pub role: RString,
    pub tenant: ROption<RString>,
    pub address: RString,
    pub idempotency: u64,
    pub ext: RVec<u8>,
}

/// One header. Names are lower case.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiHeaderPair {
    pub name: RString,
    pub value: RVec<u8>,
}

/// A request with its whole body. Credentials (`authorization`, `cookie`) are never in it: identity is `ctx`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiRequest {
    pub ctx: Ctx,
    pub method: RString,
    /// Path and query, with the `/api/v1` base.
    pub uri: RString,
    pub headers: RVec<AbiHeaderPair>,
    pub body: RVec<u8>,
    pub ext: RVec<u8>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct AbiResponse {
    pub status: u16,
    pub headers: RVec<AbiHeaderPair>,
    pub body: AbiBody,
    pub ext: RVec<u8>,
}

/// A body: the bytes, or (when there is one) a stream instead of them.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiBody {
    pub bytes: RVec<u8>,
    pub stream: ROption<BodyStreamBox>,
}

pub type BodyStreamBox = BodyStream_TO<RBox<()>>;

/// A streamed body (server-sent events). `next` is called again only when the last one has answered.
#[sabi_trait]
pub trait BodyStream: Send + Sync + 'static {
    /// The next chunk; none at the end.
    #[sabi(last_prefix_field)]
    fn next(&self) -> FfiFuture<RResult<ROption<RVec<u8>>, AbiError>>;
}

/// JSON and raw bytes: what one module's method gives another, and what a service answers.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default)]
pub struct AbiPayload {
    pub json: RVec<u8>,
    pub blob: RVec<u8>,
    pub ext: RVec<u8>,
}

/// One SQL statement. `cells` are its parameters, packed as in `cells`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiStatement {
    pub sql: RString,
    pub cells: RVec<u8>,
    pub ext: RVec<u8>,
}

/// The rows of one statement, row-major, packed as in `cells`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiTable {
    pub columns: RVec<RString>,
    pub rows: u64,
    pub cells: RVec<u8>,
    pub ext: RVec<u8>,
}

/// One step of a batch; `op_kind` says which, and which fields it uses.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Op {
    pub kind: u32,
    pub text: RString,
    pub number: i64,
    pub json: RVec<u8>,
    pub cells: RVec<u8>,
    pub blob: RVec<u8>,
    pub ext: RVec<u8>,
}

/// The kinds of `Op`.
pub mod op_kind {
    /// `text` SQL, `cells` parameters, `number` rows that must be affected (−1: any).
    pub const SQL: u32 = 1;
    /// `text` SQL in which `{rows}` becomes the row list, `number` columns, `cells` row-major values.
    pub const SQL_ROWS: u32 = 2;
    /// `json` `wire::SetCreate`, `blob` raw host ids in their frozen order.
    pub const SET_CREATE: u32 = 3;
    /// `json` `wire::SetControl`.
    pub const SET_CONTROL: u32 = 4;
    /// `json` `wire::AuditEntry`.
    pub const AUDIT: u32 = 5;
    /// `text` signal key, published once the batch is durable.
    pub const SIGNAL: u32 = 6;
    /// `json` `wire::RespondRecord`, stored under the context's idempotency handle.
    pub const RESPOND: u32 = 7;
}

/// Why a call failed. `code` is one of `error_code`, and unknown ones are treated as `INTERNAL`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiError {
    pub code: u32,
    pub message: RString,
    /// JSON, as the code says; may be empty.
    pub detail: RVec<u8>,
    pub ext: RVec<u8>,
}

impl AbiError {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: RString::from(message.into()),
            detail: RVec::new(),
            ext: RVec::new(),
        }
    }

    #[must_use]
    pub fn with_detail(mut self, detail: &serde_json::Value) -> Self {
        self.detail = RVec::from(detail.to_string().into_bytes());
        self
    }

    /// The detail, or null where there is none.
    pub fn detail_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.detail).unwrap_or(serde_json::Value::Null)
    }
}

/// The codes of `AbiError`.
pub mod error_code {
    pub const INTERNAL: u32 = 1;
    /// The other side panicked; it was contained.
    pub const PANICKED: u32 = 2;
    /// The request itself is wrong (SQL, shape, limits). A defect of the caller.
    pub const INVALID: u32 = 3;
    /// A dependency (the database) is down; try again.
    pub const UNAVAILABLE: u32 = 4;
    /// A guard did not hold, nothing was written. Detail: `{"op_index": n, "affected": rows}`.
    pub const GUARD: u32 = 5;
    /// A database constraint refused the batch. Detail: `{"op_index": n, "constraint": name?}`.
    pub const CONSTRAINT: u32 = 6;
    /// A read passed its row or byte limit.
    pub const TOO_LARGE: u32 = 7;
    /// Outside the module's own tables or rights.
    pub const FORBIDDEN: u32 = 8;
    pub const NOT_FOUND: u32 = 9;
    /// A problem for the client. Detail: `{"status", "code", "title", "detail", "errors"}`.
    pub const PROBLEM: u32 = 10;
    /// A feature or module is not available. Detail: `{"feature", "module", "reason"}`.
    pub const FEATURE: u32 = 11;
    pub const UNKNOWN_METHOD: u32 = 12;
    pub const SHUTTING_DOWN: u32 = 13;
}

/// A migration of the module's own tables.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiMigration {
    pub version: u32,
    pub name: RString,
    pub sqlite: RString,
    pub postgres: RString,
    pub ext: RVec<u8>,
}

/// One record into the server's tracing. Levels: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct LogRecord {
    pub level: u32,
    pub target: RString,
    pub message: RString,
    /// A JSON object of the other fields; empty for none.
    pub fields: RVec<u8>,
    pub ext: RVec<u8>,
}
