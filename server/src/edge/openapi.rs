//! The OpenAPI 3.1 document: what the handlers say of themselves, completed with what is true of every route
//! (authentication, roles, problem responses), and the routes of modules.

use serde_json::{Map, Value, json};

use super::access::{self, Access, BASE};
use crate::auth::{AskedScope, Role};

/// The methods an OpenAPI path item may hold.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];
const PROBLEM_REF: &str = "#/components/schemas/Problem";

/// Completes the core's own document. Done once.
pub fn complete(core: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(core).unwrap_or_else(|_| json!({}));
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "Fleetwright",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Operations over a fleet of hosts. Errors are RFC 9457 problem details with a stable `code`.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["security"] = json!([{"bearer": []}]);
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A session's access token or an API token."}
    });
    document["components"]["schemas"]["Problem"] = problem_schema();
    for (path, item) in members(&mut document["paths"]) {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                complete_operation(operation, method, &path);
            }
        }
    }
    document
}

/// Adds modules' documents: `{paths, components}` each, with paths below the server's root. What the core or an
/// earlier one already has stays. Operations are completed like the core's.
pub fn with_modules(mut document: Value, modules: Vec<Value>) -> Value {
    for mut module in modules {
        for (path, mut item) in taken(&mut module["paths"]) {
            for method in METHODS {
                if let Some(operation) = item.get_mut(method) {
                    complete_fleet_operation(operation, method);
                }
            }
            merge_member(&mut document["paths"], path, item);
        }
        for (name, schema) in taken(&mut module["components"]["schemas"]) {
            merge_member(&mut document["components"]["schemas"], name, schema);
        }
    }
    document
}

fn complete_operation(operation: &mut Value, method: &str, path: &str) {
    let access = access::table()
        .find(|(known, below, _)| {
            known.eq_ignore_ascii_case(method) && path == format!("{BASE}{below}")
        })
        .map(|(_, _, access)| access);
    match access {
        Some(Access::Public) => operation["security"] = json!([]),
        Some(Access::Role(role)) => asks(operation, role, AskedScope::Path.areas(path)),
        Some(Access::Runs) => asks(
            operation,
            Role::Operator,
            AskedScope::Operations.areas(path),
        ),
        Some(Access::Authenticated | Access::Fleet) | None => {}
    }
    let is_public = access == Some(Access::Public);
    add_problems(operation, method, is_public, path.contains('{'), false);
}

/// Says whom a route serves: from which role on, and of tokens with scopes those with all of these.
fn asks(operation: &mut Value, role: Role, scopes: Vec<String>) {
    operation["x-required-role"] = json!(role);
    operation["x-required-scopes"] = json!(scopes);
}

fn complete_fleet_operation(operation: &mut Value, method: &str) {
    add_problems(operation, method, false, true, true);
}

/// The problems every such operation can answer, unless the handler described them itself.
fn add_problems(
    operation: &mut Value,
    method: &str,
    is_public: bool,
    has_parameters: bool,
    is_fleet: bool,
) {
    let writes = !matches!(method, "get" | "head");
    let takes_body = operation.get("requestBody").is_some();
    let cases = [
        (400, "Not parseable", true),
        (401, "No valid credentials", true),
        (402, "The feature is not licensed or not loaded", is_fleet),
        (403, "Not allowed", !is_public),
        (404, "Not there", has_parameters),
        (408, "The request was not complete in time", true),
        (409, "Conflicts with the state", writes),
        (412, "Changed since it was read", writes),
        (413, "Too large", takes_body || writes),
        (415, "Not JSON", takes_body || writes),
        (422, "Parsed, but invalid", true),
        (429, "Too many requests", true),
        (503, "A dependency is down; try again", true),
        (504, "The module did not answer in time", is_fleet),
    ];
    if !operation["responses"].is_object() {
        operation["responses"] = json!({});
    }
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    for (status, description, applies) in cases {
        if applies {
            responses.entry(status.to_string()).or_insert_with(|| {
                json!({
                    "description": description,
                    "content": {"application/problem+json": {"schema": {"$ref": PROBLEM_REF}}},
                })
            });
        }
    }
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": text("`/problems/<code>`"),
            "title": text("The same for every problem of this code."),
            "status": {"type": "integer"},
            "detail": text("What is wrong with this request."),
            "code": text("A stable slug to branch on."),
            "instance": text("The request's id, also in `X-Request-Id`."),
            "errors": {
                "type": "array",
                "description": "Everything that is wrong with the input, up to 100.",
                "maxItems": 100,
                "items": {
                    "type": "object",
                    "required": ["pointer", "code", "detail"],
                    "properties": {
                        "pointer": text("An RFC 6901 JSON pointer."),
                        "code": text("A stable slug."),
                        "detail": text("A sentence for a person."),
                    },
                },
            },
            "errors_omitted": {
                "type": "integer",
                "description": "How many more errors there are than the 100 that are listed; left out if none.",
            },
            "feature": text("402: the feature code that is needed."),
            "module": text("402: the module that provides it."),
            "reason": text("402: why it is not available."),
            "upgrade_url": text("402: where to get it."),
        },
    })
}

fn members(value: &mut Value) -> impl Iterator<Item = (String, &mut Value)> {
    value
        .as_object_mut()
        .into_iter()
        .flatten()
        .map(|(name, member)| (name.clone(), member))
}

fn taken(value: &mut Value) -> Map<String, Value> {
    match value.take() {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

/// Adds a member; if it is there and both are objects, adds the members that are missing.
fn merge_member(target: &mut Value, name: String, value: Value) {
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    match (target.get_mut(&name), value) {
        (None, value) => {
            target.insert(name, value);
        }
        (Some(Value::Object(known)), Value::Object(more)) => {
            for (name, value) in more {
                known.entry(name).or_insert(value);
            }
        }
        (Some(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_routes_are_added_and_completed_and_replace_nothing() {
        let core = json!({"paths": {"/api/v1/hosts": {"get": {"summary": "core"}}},
                          "components": {"schemas": {"Page": {"type": "object"}}}});
        let module = json!({
            "paths": {
                "/api/v1/fleet/groups": {"get": {"summary": "groups", "responses": {"200": {}}}},
                "/api/v1/hosts": {"get": {"summary": "stolen"}},
            },
            "components": {"schemas": {"Group": {"type": "object"}, "Page": {"type": "string"}}},
        });
        let merged = with_modules(core, vec![module]);
        assert_eq!(merged["paths"]["/api/v1/hosts"]["get"]["summary"], "core");
        let group = &merged["paths"]["/api/v1/fleet/groups"]["get"];
        for status in ["200", "401", "402", "404", "503"] {
            assert!(group["responses"].get(status).is_some(), "{status}");
        }
        assert_eq!(merged["components"]["schemas"]["Page"]["type"], "object");
        assert!(merged["components"]["schemas"].get("Group").is_some());
    }
}
