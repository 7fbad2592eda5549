//! What bodies are read as, and every way to get one wrong.

use proptest::prelude::*;
use serde_json::json;
use utoipa::PartialSchema;

use super::*;
use crate::decide::policy::is_passed;

fn valid() -> Value {
    json!({
        "operation_type": "run_script",
        "selector": {"tags": ["web"]},
        "parameters": {"script": "true"},
        "batch_size": 10,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = valid();
    body[name] = value;
    body
}

/// `(pointer, code)` of each violation.
fn faults(body: &Value) -> Vec<(String, String)> {
    new_rolling(body.clone())
        .expect_err("must be refused")
        .into_errors()
        .into_iter()
        .map(|violation| (violation.pointer, violation.code))
        .collect()
}

fn cancel(body: Value) -> Result<bool, Problem> {
    read::<RollingCancelRequest>(body).map(|asked| asked.kill())
}

fn approve(body: Value) -> Result<u64, Problem> {
    read::<ApproveRequest>(body).map(|asked| asked.batch)
}

#[test]
fn a_short_body_gets_the_documented_defaults() {
    let new = new_rolling(valid()).unwrap();
    let expected = RollingOptions {
        timeout_seconds: 3600,
        expires_in_seconds: 30 * 24 * 3600,
        offline: OfflinePolicy::Queue,
        dry_run: false,
        sizing: Sizing::BatchSize(10),
        batch_delay_seconds: 0,
        failure_threshold_pct: 0,
        batch_failure_threshold_pct: None,
        count_unreachable: true,
        on_threshold: OnThreshold::Halt,
        require_approval: None,
        host_wait_seconds: 600,
    };
    assert_eq!(new.own.options, expected);
    assert!(!new.plan_only && new.own.rollback.is_none());
}

#[test]
fn every_field_is_read() {
    let mut body = valid();
    body.as_object_mut().unwrap().remove("batch_size");
    for (name, value) in [
        ("batches", json!([1, "10%", "50%", "100%"])),
        ("batch_delay_seconds", json!(60)),
        ("failure_threshold_pct", json!(20)),
        ("batch_failure_threshold_pct", json!(50)),
        ("count_unreachable", json!(false)),
        ("on_threshold", json!("pause")),
        ("require_approval", json!("each")),
        ("host_wait_seconds", json!(30)),
        (
            "rollback",
            json!({"operation_type": "reboot", "parameters": {}}),
        ),
        ("timeout_seconds", json!(7)),
        ("offline", json!("skip")),
        ("reason", json!("CVE-1")),
        ("plan_only", json!(true)),
        ("dry_run", json!(true)),
        ("health_check", json!({"script": "true"})),
        ("expected_count", json!(3)),
    ] {
        body[name] = value;
    }
    let new = new_rolling(body).unwrap();
    let waves = vec![
        Wave::Hosts(1),
        Wave::Percent(10),
        Wave::Percent(50),
        Wave::Percent(100),
    ];
    assert_eq!(new.own.options.sizing, Sizing::Waves(waves));
    assert_eq!(
        (
            new.own.options.batch_delay_seconds,
            new.own.options.failure_threshold_pct
        ),
        (60, 20)
    );
    assert_eq!(new.own.options.batch_failure_threshold_pct, Some(50));
    assert_eq!(
        (
            new.own.options.on_threshold,
            new.own.options.require_approval
        ),
        (OnThreshold::Pause, Some(RequireApproval::Each))
    );
    assert!(!new.own.options.count_unreachable && new.plan_only && new.own.options.dry_run);
    assert_eq!(
        new.own
            .rollback
            .unwrap()
            .operation
            .operation_type()
            .as_str(),
        "reboot"
    );
    assert!(new.execution.health_check.is_some());
    assert_eq!(new.expected.count, Some(3));
    let policy = new.own.options.policy(100, true);
    assert_eq!(
        (policy.batch_delay_us, policy.host_wait_us),
        (60_000_000, 30_000_000)
    );
    assert_eq!(
        (1..=4)
            .map(|batch| policy.partition.end(batch))
            .collect::<Vec<_>>(),
        [1, 10, 50, 100]
    );
}

#[test]
fn null_is_as_good_as_left_out() {
    let schema = serde_json::to_value(RollingRequest::schema()).unwrap();
    for name in schema["properties"].as_object().unwrap().keys() {
        let mut without = valid();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(
            new_rolling(with(name, Value::Null)),
            new_rolling(without),
            "{name}"
        );
    }
}

#[test]
fn each_wrong_field_is_named() {
    let too_many: Vec<u64> = (1..=101).collect();
    let cases = [
        (
            "batch_size",
            json!(0),
            "/batch_size",
            "rolling-batch-size-invalid",
        ),
        (
            "batch_size",
            json!(-1),
            "/batch_size",
            "rolling-batch-size-invalid",
        ),
        (
            "batch_size",
            json!(9_223_372_036_854_775_808_u64),
            "/batch_size",
            "rolling-batch-size-invalid",
        ),
        (
            "batch_size",
            json!(1.5),
            "/batch_size",
            "rolling-batch-size-invalid",
        ),
        (
            "batch_size",
            Value::Null,
            "/batch_size",
            "rolling-batch-size-invalid",
        ),
        ("batches", json!([1]), "/batches", "rolling-batches-invalid"),
        (
            "failure_threshold_pct",
            json!(-1),
            "/failure_threshold_pct",
            "rolling-threshold-invalid",
        ),
        (
            "failure_threshold_pct",
            json!(101),
            "/failure_threshold_pct",
            "rolling-threshold-invalid",
        ),
        (
            "failure_threshold_pct",
            json!(1.5),
            "/failure_threshold_pct",
            "rolling-threshold-invalid",
        ),
        (
            "batch_failure_threshold_pct",
            json!(101),
            "/batch_failure_threshold_pct",
            "rolling-threshold-invalid",
        ),
        (
            "batch_delay_seconds",
            json!(-1),
            "/batch_delay_seconds",
            "rolling-delay-invalid",
        ),
        (
            "batch_delay_seconds",
            json!(1_000_000_000_000_u64),
            "/batch_delay_seconds",
            "rolling-delay-invalid",
        ),
        (
            "require_approval",
            json!("sometimes"),
            "/require_approval",
            "rolling-approval-invalid",
        ),
        (
            "require_approval",
            json!(true),
            "/require_approval",
            "rolling-approval-invalid",
        ),
        (
            "on_threshold",
            json!("stop"),
            "/on_threshold",
            "rolling-on-threshold-invalid",
        ),
        (
            "host_wait_seconds",
            json!(0),
            "/host_wait_seconds",
            "rolling-host-wait-invalid",
        ),
        (
            "count_unreachable",
            json!("no"),
            "/count_unreachable",
            "invalid-field",
        ),
        ("rollback", json!(7), "/rollback", "invalid-field"),
        (
            "rollback",
            json!({"operation_type": "x"}),
            "/rollback/operation_type",
            "operation-type-unknown",
        ),
        (
            "rollback",
            json!({"operation_type": "reboot", "x": 1}),
            "/rollback/x",
            "unknown-field",
        ),
        ("selector", Value::Null, "/selector", "missing-field"),
        (
            "timeout_seconds",
            json!(0),
            "/timeout_seconds",
            "operation-timeout-invalid",
        ),
        ("batchsize", json!(3), "/batchsize", "unknown-field"),
        ("tenant_id", json!("x"), "/tenant_id", "unknown-field"),
        (
            "health_check",
            json!(7),
            "/health_check",
            "operation-parameter-invalid",
        ),
    ];
    for (name, value, pointer, code) in cases {
        let found = faults(&with(name, value.clone()));
        assert_eq!(
            found,
            [(pointer.to_owned(), code.to_owned())],
            "{name}: {value}"
        );
    }
    let waves = [
        (json!(["0%"]), "/batches/0"),
        (json!(["101%"]), "/batches/0"),
        (json!(["50%", "10%"]), "/batches/1"),
        (json!([5, 1]), "/batches/1"),
        (json!([10, 10]), "/batches/1"),
        (json!([1, "20%", 3, "20%"]), "/batches/3"),
        (json!([0]), "/batches/0"),
        (json!([-1]), "/batches/0"),
        (json!([1.5]), "/batches/0"),
        (json!(["ten%"]), "/batches/0"),
        (json!(["+5%"]), "/batches/0"),
        (json!(["%"]), "/batches/0"),
        (json!([[]]), "/batches/0"),
        (json!([]), "/batches"),
        (json!("100%"), "/batches"),
        (json!(too_many), "/batches"),
    ];
    for (value, pointer) in waves {
        let mut body = with("batches", value.clone());
        body.as_object_mut().unwrap().remove("batch_size");
        let found = faults(&body);
        assert_eq!(
            found,
            [(pointer.to_owned(), "rolling-batches-invalid".to_owned())],
            "{value}"
        );
    }
}

#[test]
fn controls_are_read_and_wrong_ones_refused() {
    assert_eq!(cancel(json!({})), Ok(false));
    assert_eq!(cancel(json!({"running": "kill"})), Ok(true));
    assert_eq!(
        cancel(json!({"running": "stop"})).unwrap_err().errors()[0].code,
        "rolling-running-invalid"
    );
    assert_eq!(
        cancel(json!({"runing": "kill"})).unwrap_err().errors()[0].code,
        "unknown-field"
    );
    assert_eq!(approve(json!({"batch": 2})), Ok(2));
    for body in [
        json!({}),
        json!({"batch": 0}),
        json!({"batch": "2"}),
        json!({"batch": 1.5}),
        json!([]),
    ] {
        assert_eq!(
            approve(body.clone()).unwrap_err().errors().len(),
            1,
            "{body}"
        );
    }
}

#[test]
fn the_documented_fields_are_the_ones_that_are_read() {
    let schema = serde_json::to_value(RollingRequest::schema()).unwrap();
    for name in schema["properties"].as_object().unwrap().keys() {
        let known = match new_rolling(with(name, json!({"x": 1}))) {
            Ok(_) => true,
            Err(problem) => problem
                .errors()
                .iter()
                .all(|one| one.pointer != format!("/{name}") || one.code != "unknown-field"),
        };
        assert!(known, "{name} is documented and not read");
    }
}

proptest! {
    #[test]
    fn no_body_panics_and_what_is_refused_says_why(
        name in prop::sample::select(vec!["batch_size", "batches", "rollback", "batch_delay_seconds", "require_approval", "selector"]),
        number in any::<i64>(),
        text in ".{0,8}",
        kind in 0..5,
    ) {
        let value = match kind {
            0 => json!(number),
            1 => json!(text),
            2 => json!([number, text]),
            3 => json!({ text: number }),
            _ => json!(null),
        };
        if let Err(problem) = new_rolling(with(name, value)) {
            prop_assert!(!problem.errors().is_empty());
        }
    }
}

#[test]
fn the_example_of_the_document_is_valid() {
    let document = include_str!("../../../../docs/rolling-deployments.md");
    let (_, after) = document.split_once("-d '").unwrap();
    let (example, _) = after.split_once("'\n").unwrap();
    let body: Value = serde_json::from_str(example).unwrap();
    let read = new_rolling(body);
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn thresholds_halt_where_the_document_says() {
    let document = include_str!("../../../../docs/rolling-deployments.md");
    let mut rows = 0;
    for line in document.lines() {
        let cells: Vec<u64> = line
            .split('|')
            .filter_map(|cell| cell.trim().trim_end_matches(" failed").parse().ok())
            .collect();
        // `| hosts | threshold | goes on with | halts at |`; rows of words are not numbers.
        if let [hosts, threshold, goes_on, halts] = cells[..] {
            assert!(!is_passed(goes_on, threshold, hosts), "{line}");
            assert!(is_passed(halts, threshold, hosts), "{line}");
            assert_eq!(goes_on + 1, halts, "{line}");
            rows += 1;
        }
    }
    assert_eq!(rows, 5);
}
