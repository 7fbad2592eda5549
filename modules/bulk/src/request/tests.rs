//! What bodies are read as, and every way to get one wrong.

use fleetwright_protocol::ExecutionOptions;
use fleetwright_protocol::limits::OPERATION_BYTES_MAX;
use proptest::prelude::*;
use serde_json::json;
use utoipa::PartialSchema;

use super::*;

fn valid() -> Value {
    json!({
        "operation_type": "install_package",
        "selector": {"tags": ["web"]},
        "parameters": {"packages": ["nginx"]},
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = valid();
    body[name] = value;
    body
}

/// `(pointer, code)` of each violation.
fn faults(body: &Value) -> Vec<(String, String)> {
    new_bulk(body.clone())
        .expect_err("must be refused")
        .into_errors()
        .into_iter()
        .map(|violation| (violation.pointer, violation.code))
        .collect()
}

fn cancel(body: Value) -> Result<Cancel, Problem> {
    read(body).map(CancelRequest::asked)
}

fn retry(body: Value) -> Result<Retry, Problem> {
    read(body).map(RetryRequest::asked)
}

#[test]
fn a_short_body_gets_the_documented_defaults() {
    let new = new_bulk(valid()).unwrap();
    let expected = BulkOptions {
        timeout_seconds: 3600,
        expires_in_seconds: 86_400,
        max_concurrency: 0,
        offline: OfflinePolicy::Queue,
        dry_run: false,
    };
    assert_eq!(new.own, expected);
    assert_eq!(new.execution, ExecutionOptions::default());
    assert!(!new.plan_only);
    assert_eq!(new.selector, json!({"tags": ["web"]}));
}

#[test]
fn every_field_is_read() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut body = valid();
    for (name, value) in [
        ("operation_type", json!("run_script")),
        ("parameters", json!({"script": "true"})),
        ("timeout_seconds", json!(60)),
        ("expires_in_seconds", json!(120)),
        ("max_concurrency", json!(5)),
        ("offline", json!("skip")),
        ("reason", json!("CVE-1")),
        ("plan_only", json!(true)),
        ("dry_run", json!(true)),
        ("working_directory", json!("/srv")),
        ("environment", json!({"A": "b"})),
        ("run_as", json!("www")),
        ("health_check", json!({"script": "true", "retries": 2})),
        ("expected_digest", json!(digest)),
        ("expected_count", json!(3)),
    ] {
        body[name] = value;
    }
    let new = new_bulk(body.clone()).unwrap();
    assert_eq!(new.own.timeout_seconds, 60);
    assert_eq!(new.own.expires_in_seconds, 120);
    assert_eq!(new.own.max_concurrency, 5);
    assert_eq!(new.own.offline, OfflinePolicy::Skip);
    assert!(new.execution.dry_run);
    assert_eq!(new.execution.run_as.as_deref(), Some("www"));
    assert_eq!(new.execution.environment["A"], "b");
    assert_eq!(new.execution.health_check.unwrap().retries, 2);
    assert_eq!(new.expected.digest, Some(digest));
    assert_eq!(new.expected.count, Some(3));
    assert!(new.plan_only);
    // The documented body has exactly the fields that are read.
    let schema = serde_json::to_value(BulkRequest::schema()).unwrap();
    let documented: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut sent: Vec<&String> = body.as_object().unwrap().keys().collect();
    sent.sort();
    let mut documented = documented;
    documented.sort();
    assert_eq!(documented, sent);
}

#[test]
fn null_is_as_good_as_left_out() {
    let schema = serde_json::to_value(BulkRequest::schema()).unwrap();
    for name in schema["properties"].as_object().unwrap().keys() {
        let mut without = valid();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(
            new_bulk(with(name, Value::Null)),
            new_bulk(without),
            "{name}"
        );
    }
}

#[test]
fn each_wrong_field_is_named() {
    let cases = [
        (
            "operation_type",
            json!("format_disk"),
            "operation-type-unknown",
        ),
        ("operation_type", json!(7), "invalid-field"),
        ("parameters", json!([]), "operation-parameter-invalid"),
        ("selector", json!("all"), "invalid-field"),
        ("selector", Value::Null, "missing-field"),
        ("health_check", json!(7), "operation-parameter-invalid"),
        (
            "health_check",
            json!({"script": "x", "soak_seconds": 86_400}),
            "operation-health-check-invalid",
        ),
        ("timeout_seconds", json!(0), "operation-timeout-invalid"),
        ("timeout_seconds", json!(-1), "operation-timeout-invalid"),
        (
            "timeout_seconds",
            json!(1_000_000_000_000_u64),
            "operation-timeout-invalid",
        ),
        ("timeout_seconds", json!(1.5), "operation-timeout-invalid"),
        ("timeout_seconds", json!("60"), "invalid-field"),
        (
            "timeout_seconds",
            json!(u64::MAX),
            "operation-timeout-invalid",
        ),
        ("expires_in_seconds", json!(0), "operation-expiry-invalid"),
        (
            "expires_in_seconds",
            json!(2_592_001),
            "operation-expiry-invalid",
        ),
        (
            "max_concurrency",
            json!(-1),
            "operation-concurrency-invalid",
        ),
        (
            "max_concurrency",
            json!(100_001),
            "operation-concurrency-invalid",
        ),
        ("offline", json!("maybe"), "operation-offline-invalid"),
        ("offline", json!(true), "operation-offline-invalid"),
        ("reason", json!("a\u{0}b"), "operation-reason-invalid"),
        ("reason", json!("x".repeat(501)), "operation-reason-invalid"),
        ("plan_only", json!("yes"), "invalid-field"),
        ("dry_run", json!(1), "invalid-field"),
        ("working_directory", json!("srv"), "operation-path-invalid"),
        ("run_as", json!("-root"), "operation-account-invalid"),
        ("environment", json!(["A"]), "invalid-field"),
        (
            "expected_digest",
            json!("sha256:AB"),
            "selection-expectation-invalid",
        ),
        ("expected_count", json!(-1), "selection-expectation-invalid"),
        ("created_by", json!("me"), "unknown-field"),
        ("tenant_id", json!("t"), "unknown-field"),
    ];
    for (name, value, code) in cases {
        let found = faults(&with(name, value.clone()));
        assert_eq!(
            found,
            [(format!("/{name}"), code.to_owned())],
            "{name}={value}"
        );
    }
}

#[test]
fn places_inside_the_parameters_are_named() {
    let found = faults(&with(
        "parameters",
        json!({"packages": ["ok", "--root=/"], "x": 1}),
    ));
    assert_eq!(
        found,
        [(
            "/parameters/x".to_owned(),
            "operation-parameter-unknown".to_owned()
        )]
    );
    let found = faults(&with("parameters", json!({"packages": ["ok", "--root=/"]})));
    assert_eq!(found[0].0, "/parameters/packages/1");
}

#[test]
fn all_violations_are_reported_and_typos_come_first() {
    let body = json!({"operation_type": "nope", "timeout_seconds": 0, "selectr": {}, "offline": 1});
    let pointers: Vec<String> = faults(&body)
        .into_iter()
        .map(|(pointer, _)| pointer)
        .collect();
    let expected = [
        "/selectr",
        "/operation_type",
        "/selector",
        "/timeout_seconds",
        "/offline",
    ];
    assert_eq!(pointers, expected);
}

#[test]
fn an_operation_that_fits_no_frame_is_refused() {
    let script = "x".repeat(OPERATION_BYTES_MAX + 1);
    let body = json!({
        "operation_type": "run_script", "parameters": {"script": script}, "selector": {"all_hosts": true},
    });
    assert_eq!(faults(&body)[0].1, "operation-too-large");
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    for body in [json!(null), json!([]), json!("x"), json!(1)] {
        assert!(new_bulk(body.clone()).is_err());
        assert!(cancel(body.clone()).is_err());
        assert!(retry(body).is_err());
    }
}

#[test]
fn a_cancel_lets_running_hosts_finish_unless_told_to_kill() {
    assert!(!cancel(json!({})).unwrap().kill);
    assert!(!cancel(json!({"running": "finish"})).unwrap().kill);
    assert!(cancel(json!({"running": "kill"})).unwrap().kill);
    assert!(cancel(json!({"running": "now"})).is_err());
    assert!(cancel(json!({"selector": []})).is_err());
    assert!(cancel(json!({"hosts": []})).is_err());
}

#[test]
fn a_retry_takes_failed_hosts_unless_told_otherwise() {
    let statuses = |body: Value| retry(body).map(|retry| retry.statuses);
    assert_eq!(statuses(json!({})), Ok(vec![CommandStatus::Failed]));
    assert_eq!(
        statuses(json!({"statuses": ["skipped", "failed", "skipped"]})),
        Ok(vec![CommandStatus::Skipped, CommandStatus::Failed])
    );
    for wrong in [json!([]), json!("failed"), json!(["running"]), json!([1])] {
        assert!(statuses(json!({"statuses": wrong})).is_err());
    }
}

#[test]
fn stored_options_read_back() {
    let new = new_bulk(with("dry_run", json!(true))).unwrap();
    assert!(new.own.dry_run);
    let text = serde_json::to_string(&new.own).unwrap();
    assert_eq!(serde_json::from_str::<BulkOptions>(&text).unwrap(), new.own);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_in_any_field_is_read_or_refused_with_a_place(
        name in prop::sample::select(vec![
            "operation_type", "parameters", "selector", "timeout_seconds", "expires_in_seconds", "max_concurrency",
            "offline", "reason", "plan_only", "dry_run", "working_directory", "environment", "run_as",
            "health_check",
            "expected_digest", "expected_count", "other",
        ]),
        value in any_json(),
    ) {
        if let Err(problem) = new_bulk(with(name, value)) {
            let found = problem.errors();
            prop_assert!(!found.is_empty());
            prop_assert!(found.iter().all(|violation| violation.pointer.starts_with('/')));
        }
    }
}
