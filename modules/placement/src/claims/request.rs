//! Reads what clients send about claims. Fields may also be spelled in camel case.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds, from_input};
use serde_json::{Number, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::score::{SomeWeights, millis_of};
use crate::names::{CHARS_MAX, snake_case};

/// Of a claim's name, in characters.
const CLAIM_ID_CHARS_MAX: usize = 200;
/// Below the 30 seconds after which the server ends a request.
const WAIT_SECONDS_MAX: i64 = 25;

/// A claim as a client asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub factory_id: Uuid,
    pub claim_id: Option<String>,
    pub product_id: Option<String>,
    pub weights: SomeWeights,
    pub wait_seconds: u64,
}

/// The body of a claim, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are the document's")]
pub struct ClaimRequest {
    /// Who claims.
    factory_id: Uuid,
    /// A name of the claimer's choice: a claim that is repeated under it gives the same job, while its lease goes on.
    claim_id: Option<String>,
    /// Only jobs of this product.
    product_id: Option<String>,
    weights: Option<WeightsRequest>,
    /// Where there is nothing: for how long to wait for something, 0 to 25, default 0.
    wait_seconds: Option<u32>,
}

/// Weights of the terms of a score, each with at most three places and at most a million; what is left out comes from the
/// product, or else is the default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its fields are the document's")]
pub struct WeightsRequest {
    /// For each minute since the job was submitted; not negative. Default 1.
    age: Option<f64>,
    /// Times 0 for `low` to 3 for `critical`. Default 10.
    priority: Option<f64>,
    /// Times the attempts that failed. Default -2.
    retries: Option<f64>,
    /// Where the job requires capabilities. Default 5.
    capabilities: Option<f64>,
}

/// What is asked beside the body.
#[derive(Debug)]
pub struct ClaimQuery {
    /// Also say which jobs were considered, and what each was worth.
    pub explain: Option<bool>,
    /// Only say so; claim nothing.
    pub dry_run: Option<bool>,
}

from_input!(ClaimQuery { explain, dry_run });

impl FromInput for Asked {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(snake_case(value), at)?;
        let factory_id = fields.take::<Uuid>("factory_id");
        let name = bounds::line("claim-id-invalid", 1..=CLAIM_ID_CHARS_MAX);
        let claim_id = fields.optional_by("claim_id", name);
        let product = bounds::line("claim-product-invalid", 1..=CHARS_MAX);
        let product_id = fields.optional_by("product_id", product);
        let weights = fields.optional::<SomeWeights>("weights");
        let seconds = bounds::whole("claim-wait-invalid", 0..=WAIT_SECONDS_MAX);
        let wait_seconds = fields.optional_by("wait_seconds", seconds);
        fields.finish();
        Some(Self {
            factory_id: factory_id?,
            claim_id,
            product_id,
            weights: weights.unwrap_or_default(),
            wait_seconds: wait_seconds.unwrap_or_default(),
        })
    }
}

impl FromInput for SomeWeights {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let read = Self {
            age: fields.optional_by("age", not_negative),
            priority: fields.optional_by("priority", weight),
            retries: fields.optional_by("retries", weight),
            capabilities: fields.optional_by("capabilities", weight),
        };
        fields.finish();
        Some(read)
    }
}

fn weight(value: Value, at: &mut At<'_>) -> Option<i64> {
    let millis = value
        .as_number()
        .and_then(|number: &Number| millis_of(number));
    if millis.is_none() {
        let detail = "must be a number from -1000000 to 1000000 with at most three places";
        at.refuse("weight-invalid", detail);
    }
    millis
}

/// Queues are first in, first out: an old job is never worth less than a young one.
fn not_negative(value: Value, at: &mut At<'_>) -> Option<i64> {
    let millis = weight(value, at)?;
    if millis < 0 {
        at.refuse("weight-invalid", "must not be negative");
        return None;
    }
    Some(millis)
}
