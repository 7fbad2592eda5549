//! What a viewer is shown of an operation: that there is a script, an input, a content, variables, and of each how large it
//! is and its digest; not the text, which may hold a secret. One function for the server and for every module, over the
//! JSON that is about to be answered, so that a view cannot forget a part of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::OperationType;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The roles that read what they may run.
const READERS: [&str; 2] = ["operator", "admin"];
/// Steps, rollbacks and options lie in each other; the API takes no deeper document.
const DEPTH_MAX: usize = crate::json::DEPTH_MAX;
const SECRET: &str = "secret";

/// An answer as its reader may see it: whole for whoever may run operations, with every text of an operation replaced for
/// anybody else. A role that is not known is none.
///
/// Wherever an object has `parameters`, they are taken for those of the `operation_type` beside them; `environment` and
/// `health_check` are those of an operation.
pub fn for_reader(role: &str, mut answer: Value) -> Value {
    if !READERS.contains(&role) {
        conceal(&mut answer, DEPTH_MAX);
    }
    answer
}

fn conceal(value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        *value = size(value);
        return;
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| conceal(item, depth)),
        Value::Object(members) => members_of(members, depth),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn members_of(members: &mut Map<String, Value>, depth: usize) {
    let named = members.get("operation_type").and_then(Value::as_str);
    let kind = named.and_then(OperationType::from_name);
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("parameters", Value::Object(given)) => parameters(kind, given, depth),
            ("environment", Value::Object(variables)) => values(variables),
            ("health_check", Value::Object(check)) => {
                if let Some(script) = check.get_mut("script") {
                    *script = digest(script);
                }
            }
            // Of another form than any view gives them, so nothing of it is shown.
            ("parameters" | "environment" | "health_check", other) if !other.is_null() => {
                *other = size(other);
            }
            (_, other) => conceal(other, depth),
        }
    }
}

/// What is not known to be harmless is not shown: a parameter that is added later is concealed until it is named here.
fn parameters(kind: Option<OperationType>, given: &mut Map<String, Value>, depth: usize) {
    for (name, value) in given.iter_mut() {
        match (kind, name.as_str()) {
            (Some(OperationType::ApplyDeploymentPlan), "steps") => conceal(value, depth),
            (Some(OperationType::RunScript), "script" | "stdin") => *value = digest(value),
            (Some(OperationType::RunScript), "env") => match value {
                Value::Object(variables) => values(variables),
                other => *other = size(other),
            },
            (Some(OperationType::RunScript), "args") => match value {
                Value::Array(arguments) => arguments.iter_mut().for_each(|one| *one = size(one)),
                other => *other = size(other),
            },
            (Some(OperationType::DeployFile), "content") => *value = digest(value),
            (Some(OperationType::DeployFile), "content_base64") => *value = decoded_digest(value),
            (Some(kind), name) if is_harmless(kind, name) => {}
            _ => *value = size(value),
        }
    }
}

fn is_harmless(kind: OperationType, name: &str) -> bool {
    let shown: &[&str] = match kind {
        OperationType::RunScript => &["interpreter", "stdin_secret"],
        OperationType::DeployFile => &[
            "path",
            "blob_sha256",
            "content_secret",
            "mode",
            "owner",
            "group",
            "backup",
            "create_parents",
        ],
        OperationType::ServiceControl => &["service", "action", "ensure"],
        OperationType::InstallPackage | OperationType::RemovePackage => {
            &["packages", "refresh", "purge"]
        }
        OperationType::Reboot | OperationType::Shutdown => &["delay_seconds", "message"],
        OperationType::ApplyDeploymentPlan => &[],
    };
    shown.contains(&name)
}

/// Variables keep their names, and the names of the secrets they are. Without a digest: a value is often a password, which
/// could be tried against one.
fn values(variables: &mut Map<String, Value>) {
    for value in variables.values_mut() {
        let is_reference = value
            .as_object()
            .is_some_and(|object| object.len() == 1 && object.contains_key(SECRET));
        if !is_reference {
            *value = size(value);
        }
    }
}

/// `{"sha256", "bytes"}` of a text.
fn digest(value: &Value) -> Value {
    match value.as_str() {
        Some(text) => digest_of(text.as_bytes()),
        None if value.is_null() => Value::Null,
        None => size(value),
    }
}

/// The same of what a text stands for, so that it can be held against the file.
fn decoded_digest(value: &Value) -> Value {
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.map_or_else(|| size(value), |bytes| digest_of(&bytes))
}

fn digest_of(bytes: &[u8]) -> Value {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"sha256": hex, "bytes": bytes.len()})
}

/// `{"bytes"}`: that there is something.
fn size(value: &Value) -> Value {
    let bytes = match value {
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string().len()
        }
    };
    json!({ "bytes": bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "S3CRET";

    /// Every operation with the mark in each of its texts.
    fn marked() -> Vec<Value> {
        let base64 = STANDARD.encode(MARK);
        vec![
            json!({"operation_type": "run_script", "parameters": {"script": format!("echo {MARK}"), "interpreter": "/bin/sh",
                "args": ["-p", MARK], "env": {"PASSWORD": MARK}, "stdin": MARK}}),
            json!({"operation_type": "deploy_file", "parameters": {"path": "/etc/key", "content": MARK, "mode": "0600"}}),
            json!({"operation_type": "deploy_file", "parameters": {"path": "/etc/key", "content_base64": base64}}),
            // What this version does not know.
            json!({"operation_type": "run_script", "parameters": {"script": "x", "also": MARK}}),
            json!({"operation_type": "dance", "parameters": {"song": MARK}}),
            json!({"parameters": {"script": MARK}}),
            json!({"operation_type": "run_script", "parameters": MARK}),
            json!({"operation_type": "run_script", "parameters": {"script": [MARK], "env": MARK, "args": {"a": MARK}, "stdin": {"a": MARK}}}),
        ]
    }

    fn holds_a_mark(shown: &Value) -> bool {
        let text = shown.to_string();
        text.contains(MARK) || text.contains(&STANDARD.encode(MARK))
    }

    /// The places where operations lie in answers.
    fn answers(operation: &Value) -> Vec<Value> {
        let mut step = operation.clone();
        step["name"] = json!("step");
        let plan =
            json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": [step]}});
        let check = json!({"script": MARK, "retries": 3});
        vec![
            operation.clone(),
            plan.clone(),
            json!({"id": 1, "operation": plan}),
            json!({"operation": operation, "rollback_operation": operation, "environment": {"A": MARK}, "health_check": check}),
            json!({"options": {"environment": {"A": MARK}, "health_check": check, "rollback": operation}}),
            json!({"plans": [{"host_id": 1, "plan": {"steps": [operation]}}]}),
            json!({"environment": [MARK], "health_check": MARK}),
        ]
    }

    #[test]
    fn no_text_of_an_operation_is_shown_to_whoever_may_not_run_one() {
        for operation in marked() {
            for answer in answers(&operation) {
                for role in ["viewer", "", "Operator", "auditor"] {
                    let shown = for_reader(role, answer.clone());
                    assert!(!holds_a_mark(&shown), "{role}: {shown}");
                }
                for role in READERS {
                    assert_eq!(for_reader(role, answer.clone()), answer);
                }
            }
        }
    }

    #[test]
    fn a_viewer_sees_that_it_is_there_how_large_and_its_digest() {
        let shown = |operation: Value| for_reader("viewer", operation)["parameters"].clone();
        let script = shown(marked()[0].clone());
        let sha256 = "d580fbb165249f5e8afeec747a348f20e3f6ea7723ab2dda51c8ef691ad5bc54";
        assert_eq!(script["stdin"], json!({"sha256": sha256, "bytes": 6}));
        assert_eq!(script["script"]["bytes"], 11);
        assert_eq!(script["env"], json!({"PASSWORD": {"bytes": 6}}));
        assert_eq!(script["args"], json!([{"bytes": 2}, {"bytes": 6}]));
        assert_eq!(script["interpreter"], "/bin/sh");
        let file = shown(marked()[1].clone());
        assert_eq!(file["path"], "/etc/key");
        assert_eq!(file["mode"], "0600");
        assert_eq!(
            file["content"],
            shown(marked()[2].clone())["content_base64"]
        );
    }

    #[test]
    fn what_hides_nothing_is_shown() {
        for operation in [
            json!({"operation_type": "service_control", "parameters": {"service": "nginx", "action": "restart"}}),
            json!({"operation_type": "install_package", "parameters": {"packages": ["nginx=1.2"], "refresh": true}}),
            json!({"operation_type": "reboot", "parameters": {"delay_seconds": 60, "message": "soon"}}),
            json!({"operation_type": "run_script", "parameters": {"env": {"A": {"secret": "db/password"}}, "stdin_secret": "x"}}),
            json!({"operation_type": "deploy_file", "parameters": {"path": "/x", "blob_sha256": "ab", "content_secret": "x"}}),
            json!({"selector": {"criteria": [{"field": "tags", "op": "contains", "value": "web"}]}, "reason": "why", "health_check": null}),
        ] {
            assert_eq!(for_reader("viewer", operation.clone()), operation);
        }
    }
}
