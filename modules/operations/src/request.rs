//! The body that requests for operations over many hosts have in common: what is run, where, within which limits, and why.
//! Pure: each part reads its fields, tells everything that is wrong with them, and is what the API document says of them.
//! The selector is only known to be an object here: the groups module reads it.

mod parts;

use std::borrow::Cow;

use fleetwright_plugin_api::sdk::{At, Fields, FromFields, FromInput};
use fleetwright_protocol::limits::OPERATION_BYTES_MAX;
use fleetwright_protocol::{ExecutionOptions, Operation, validate};
use serde_json::{Map, Value};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{RefOr, schema::Object};
use utoipa::{PartialSchema, ToSchema};

use crate::selection::Expected;
use parts::{AskedFields, RunFields, WhatFields};

pub use parts::{expires_in_seconds, offline, timeout_seconds};

/// What is run, as the client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct What {
    pub operation: Operation,
    /// As the client sent them.
    pub parameters: Value,
}

/// A valid request for a new operation, but for its selector; with what a kind's own fields say.
///
/// It is read with a kind's own fields as they are written, and documented as the one object that all fields together are;
/// the name and the description there are those of the kind's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOperation<F> {
    pub what: What,
    /// What the hosts are told. May be as large as an operation: the environment is in it.
    pub execution: ExecutionOptions,
    pub own: F,
    pub reason: Option<String>,
    pub plan_only: bool,
    pub selector: Value,
    pub expected: Expected,
}

impl What {
    pub fn operation_type(&self) -> String {
        self.operation.operation_type().as_str().to_owned()
    }
}

impl<F> NewOperation<F> {
    /// With what a kind makes of its own fields. `make` is given whether the hosts are told a dry run.
    pub fn map_own<G>(self, make: impl FnOnce(F, bool) -> G) -> NewOperation<G> {
        NewOperation {
            own: make(self.own, self.execution.dry_run),
            what: self.what,
            execution: self.execution,
            reason: self.reason,
            plan_only: self.plan_only,
            selector: self.selector,
            expected: self.expected,
        }
    }
}

/// The selector of a body that may be wrong otherwise, so that its own faults can be reported with the rest.
pub fn selector_of(body: &Value) -> Option<&Value> {
    body.get("selector").filter(|selector| selector.is_object())
}

impl<F: FromFields> FromInput for NewOperation<F> {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let what = What::from_fields(&mut fields);
        let run = RunFields::read(&mut fields);
        let (selector, execution) =
            run.checked(what.as_ref().map(|what| &what.operation), fields.at());
        let own = F::from_fields(&mut fields);
        let asked = AskedFields::read(&mut fields);
        fields.finish();
        Some(Self {
            what: what?,
            execution,
            own: own?,
            reason: asked.reason.map(|reason| reason.0),
            plan_only: asked.plan_only.unwrap_or(false),
            selector: Value::Object(selector?),
            expected: Expected {
                digest: asked.expected_digest,
                count: asked.expected_count,
            },
        })
    }
}

/// The operation of `operation_type` and `parameters`.
impl FromFields for What {
    fn from_fields(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let WhatFields {
            operation_type,
            parameters,
        } = WhatFields::from_fields(fields)?;
        let parameters = parameters.unwrap_or_else(|| Value::Object(Map::new()));
        match validate::operation(&operation_type, &parameters) {
            Ok(operation) => {
                let bytes = serde_json::to_vec(&operation).map_or(usize::MAX, |bytes| bytes.len());
                if bytes > OPERATION_BYTES_MAX {
                    let detail = format_args!(
                        "the operation is {bytes} bytes, at most {OPERATION_BYTES_MAX} fit; use a blob"
                    );
                    let at = fields.at();
                    at.field("parameters").refuse("operation-too-large", detail);
                }
                Some(Self {
                    operation,
                    parameters,
                })
            }
            Err(found) => {
                fields.at().refuse_all(found);
                None
            }
        }
    }
}

impl FromInput for What {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let what = Self::from_fields(&mut fields);
        fields.finish();
        what
    }
}

impl<F: ToSchema> PartialSchema for NewOperation<F> {
    fn schema() -> RefOr<Schema> {
        let mut whole = object(F::schema());
        for part in [
            WhatFields::schema(),
            RunFields::schema(),
            AskedFields::schema(),
        ] {
            let part = object(part);
            whole.properties.extend(part.properties);
            whole.required.extend(part.required);
        }
        RefOr::T(Schema::Object(whole))
    }
}

impl<F: ToSchema> ToSchema for NewOperation<F> {
    fn name() -> Cow<'static, str> {
        F::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        F::schemas(schemas);
    }
}

/// The schema of a struct, which is always an object of its own.
fn object(schema: RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(_) | RefOr::Ref(_) => Object::new(),
    }
}
