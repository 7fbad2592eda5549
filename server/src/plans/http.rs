//! `POST /plans/bulk`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleetwright_protocol::{HostId, Violation};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::decide;
use crate::app::AppState;
use crate::http::{JsonBody, Problem, from_input};

/// Hosts in one request: the size of the largest supported fleet.
const HOSTS_MAX: usize = 100_000;
/// Bytes of all plans together, so that a large file for many hosts is not multiplied without bound.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(plan_bulk))
}

#[derive(Debug, ToSchema)]
struct PlanBulk {
    /// One of the eight operation types.
    operation_type: String,
    /// 1 to 100,000, each once.
    #[schema(value_type = Vec<uuid::Uuid>)]
    host_ids: Vec<HostId>,
    #[schema(value_type = Object)]
    parameters: Option<Value>,
}

from_input!(PlanBulk {
    operation_type,
    host_ids,
    parameters
});

#[derive(Debug, Serialize, ToSchema)]
struct Plans {
    /// In the order of `host_ids`.
    plans: Vec<HostPlan>,
}

#[derive(Debug, Serialize, ToSchema)]
struct HostPlan {
    #[schema(value_type = uuid::Uuid)]
    host_id: HostId,
    plan: Plan,
}

/// The parameters of an `apply_deployment_plan`.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Plan {
    #[schema(value_type = Vec<Object>)]
    steps: Arc<Value>,
}

/// Expands one operation into a plan per host. Nothing is stored.
#[utoipa::path(post, path = "/plans/bulk", tag = "plans", request_body = PlanBulk,
    responses((status = OK, body = Plans)))]
async fn plan_bulk(
    State(app): State<AppState>,
    JsonBody(body): JsonBody<PlanBulk>,
) -> Result<Json<Plans>, Problem> {
    let mut found = Vec::new();
    let parameters = body.parameters.unwrap_or_else(|| serde_json::json!({}));
    let steps = decide::steps(&body.operation_type, &parameters).unwrap_or_else(|violations| {
        found.extend(violations);
        Value::Null
    });
    let is_known = |id: HostId| app.hosts.registry().contains(id);
    found.extend(host_violations(&body.host_ids, is_known));
    if !found.is_empty() {
        return Err(Problem::invalid(found));
    }
    if steps.to_string().len() * body.host_ids.len() > ANSWER_BYTES_MAX {
        let detail = "the plans for so many hosts would be too large; ask for fewer hosts";
        return Err(Problem::invalid_field(
            "/host_ids",
            "plan-too-large",
            detail,
        ));
    }
    let steps = Arc::new(steps);
    let plan = |host_id| HostPlan {
        host_id,
        plan: Plan {
            steps: Arc::clone(&steps),
        },
    };
    Ok(Json(Plans {
        plans: body.host_ids.into_iter().map(plan).collect(),
    }))
}

fn host_violations(ids: &[HostId], is_known: impl Fn(HostId) -> bool) -> Vec<Violation> {
    if ids.is_empty() || ids.len() > HOSTS_MAX {
        let detail = format!("must hold between 1 and {HOSTS_MAX} ids");
        return vec![Violation::new("/host_ids", "host-ids-invalid", detail)];
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let place = format!("/host_ids/{index}");
        if !seen.insert(*id) {
            found.push(Violation::new(
                place,
                "host-ids-invalid",
                format!("{id} is given twice"),
            ));
        } else if !is_known(*id) {
            found.push(Violation::new(
                place,
                "host-unknown",
                format!("there is no host {id}"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn unknown_and_repeated_hosts_are_all_listed() {
        let id = |number| HostId(Uuid::from_u128(number));
        let known = |host: HostId| host == id(1) || host == id(2);
        assert!(host_violations(&[id(2), id(1)], known).is_empty());
        let found = host_violations(&[id(1), id(3), id(1), id(4)], known);
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|one| (one.pointer.as_str(), one.code.as_str()))
            .collect();
        let expected = [
            ("/host_ids/1", "host-unknown"),
            ("/host_ids/2", "host-ids-invalid"),
            ("/host_ids/3", "host-unknown"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(host_violations(&[], known).len(), 1);
        assert_eq!(host_violations(&vec![id(1); HOSTS_MAX + 1], known).len(), 1);
    }
}
