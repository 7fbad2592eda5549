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
    /// As in the answer's `x-request-id`.
    pub request_id: RString,
    /// `user:<id>`, `token:<id>` or `module:<name>`.
    pub principal: RString,
    /// For people.
    pub principal_name: RString,
    /// `viewer`, `operator` or `admin`; empty for a module's own loops.
    pub role: RString,
    /// The tenant a token is bound to.
    pub tenant: ROption<RString>,
    /// The client's IP address; empty for loops.
    pub address: RString,
    /// The server's handle on the request's `Idempotency-Key`; 0 if it has none.
    pub idempotency: u64,
    /// JSON `{"scopes": [words]}` of a token that has scopes; else empty.
    pub ext: RVec<u8>,
}

/// One header. Names are lower case.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiHeaderPair {
    /// In lower case.
    pub name: RString,
    /// As sent, which need not be UTF-8.
    pub value: RVec<u8>,
}

/// A request with its whole body. Credentials (`authorization`, `cookie`) are never in it: identity is `ctx`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiRequest {
    /// Who asks.
    pub ctx: Ctx,
    /// In upper case.
    pub method: RString,
    /// Path and query, with the `/api/v1` base.
    pub uri: RString,
    /// In their order; a name may be there twice.
    pub headers: RVec<AbiHeaderPair>,
    /// The whole body, within the route's declared limit.
    pub body: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// What a module answers; the server adds its own headers.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiResponse {
    /// Of HTTP.
    pub status: u16,
    /// In their order.
    pub headers: RVec<AbiHeaderPair>,
    /// Whole, or as a stream.
    pub body: AbiBody,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// A body: the bytes, or (when there is one) a stream instead of them.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiBody {
    /// The whole body; empty if there is a stream.
    pub bytes: RVec<u8>,
    /// Asked for chunk by chunk, and dropped when the client is gone.
    pub stream: ROption<BodyStreamBox>,
}

/// A body stream, owned.
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
    /// UTF-8; empty is null.
    pub json: RVec<u8>,
    /// Raw bytes, where JSON would be large.
    pub blob: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// One SQL statement. `cells` are its parameters, packed as in `cells`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiStatement {
    /// With `$1` parameters, on both databases.
    pub sql: RString,
    /// The parameters in order.
    pub cells: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// The rows of one statement, row-major, packed as in `cells`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiTable {
    /// The names in the order of the `SELECT`.
    pub columns: RVec<RString>,
    /// How many; the cells must fill them.
    pub rows: u64,
    /// The values, row by row.
    pub cells: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// One step of a batch; `op_kind` says which, and which fields it uses.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Op {
    /// One of [`op_kind`].
    pub kind: u32,
    /// SQL, or a key.
    pub text: RString,
    /// A number of rows or columns.
    pub number: i64,
    /// A shape of `wire`, in UTF-8.
    pub json: RVec<u8>,
    /// Packed values.
    pub cells: RVec<u8>,
    /// Raw ids.
    pub blob: RVec<u8>,
    /// Spare; empty.
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
    /// One of [`error_code`].
    pub code: u32,
    /// For logs; not for clients.
    pub message: RString,
    /// JSON, as the code says; may be empty.
    pub detail: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

impl AbiError {
    /// An error without detail.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: RString::from(message.into()),
            detail: RVec::new(),
            ext: RVec::new(),
        }
    }

    /// Adds what the code's documentation names.
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
    /// Anything without a code of its own: a defect.
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
    /// There is no such thing, by the caller's own rules.
    pub const NOT_FOUND: u32 = 9;
    /// A problem for the client. Detail: `{"status", "code", "title", "detail", "errors"}`.
    pub const PROBLEM: u32 = 10;
    /// A feature or module is not available. Detail: `{"feature", "module", "reason"}`.
    pub const FEATURE: u32 = 11;
    /// The other module has no method of that name.
    pub const UNKNOWN_METHOD: u32 = 12;
    /// The process ends; nothing is taken any more.
    pub const SHUTTING_DOWN: u32 = 13;
}

/// A migration of the module's own tables.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiMigration {
    /// From 1, without gaps.
    pub version: u32,
    /// A few words, kept with the version.
    pub name: RString,
    /// The SQL for SQLite.
    pub sqlite: RString,
    /// The SQL for PostgreSQL.
    pub postgres: RString,
    /// Spare; empty.
    pub ext: RVec<u8>,
}

/// One record into the server's tracing. Levels: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct LogRecord {
    /// 1 to 5, as above.
    pub level: u32,
    /// The module path of where it was written.
    pub target: RString,
    /// The text, without the fields.
    pub message: RString,
    /// A JSON object of the other fields; empty for none.
    pub fields: RVec<u8>,
    /// Spare; empty.
    pub ext: RVec<u8>,
}
