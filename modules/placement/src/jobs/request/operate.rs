//! Reads what an operator says, and which jobs somebody wants to see.

use fleetwright_plugin_api::sdk::{At, Fields, FromInput, bounds, from_input};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::jobs::stage::Stage;
use crate::names::snake_case;

/// Why an operator does something.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
pub struct Why {
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

impl FromInput for Why {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(snake_case(value), at)?;
        let reason = fields.optional_by("reason", bounds::line("job-reason-invalid", 0..=500));
        fields.finish();
        Some(Self { reason })
    }
}

/// What is done without.
#[derive(Clone, Debug, PartialEq, ToSchema)]
pub struct Waiver {
    /// Also taken as `dependency_id`.
    pub dependency: Uuid,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

impl FromInput for Waiver {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let value = match snake_case(value) {
            Value::Object(mut members) if !members.contains_key("dependency") => {
                if let Some(id) = members.remove("dependency_id") {
                    members.insert("dependency".to_owned(), id);
                }
                Value::Object(members)
            }
            other => other,
        };
        let mut fields = Fields::of(value, at)?;
        let dependency = fields.take("dependency");
        let reason = fields.optional_by("reason", bounds::line("job-reason-invalid", 0..=500));
        fields.finish();
        Some(Self {
            dependency: dependency?,
            reason,
        })
    }
}

/// The filters of the list; all must hold.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    #[param(value_type = Option<String>)]
    pub stage: Option<Stage>,
    pub product_id: Option<String>,
}

from_input!(ListParams { stage, product_id });

/// The filter of the counts.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CountParams {
    pub product_id: Option<String>,
}

from_input!(CountParams { product_id });
