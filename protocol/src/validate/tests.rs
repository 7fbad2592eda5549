//! The table of operations that must be refused, each with the place and the code of the refusal.

use serde_json::{Value, json};

use super::*;
use crate::health_check::HealthCheck;

fn codes(kind: &str, parameters: Value) -> Vec<(String, String)> {
    operation(kind, &parameters)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.pointer, violation.code))
        .collect()
}

#[test]
fn bad_operations_are_refused_with_place_and_code() {
    let table: Vec<(&str, Value, &str, &str)> = vec![
        (
            "explode",
            json!({}),
            "/operation_type",
            "operation-type-unknown",
        ),
        (
            "run_script",
            json!({}),
            "/parameters/script",
            "operation-parameter-missing",
        ),
        (
            "run_script",
            json!({"script":"x","shell":1}),
            "/parameters/shell",
            "operation-parameter-unknown",
        ),
        (
            "run_script",
            json!({"script":""}),
            "/parameters/script",
            "operation-script-invalid",
        ),
        (
            "run_script",
            json!({"script":"a\0b"}),
            "/parameters/script",
            "operation-script-invalid",
        ),
        (
            "run_script",
            json!({"script":7}),
            "/parameters",
            "operation-parameter-invalid",
        ),
        (
            "run_script",
            json!({"script":"x","interpreter":"sh"}),
            "/parameters/interpreter",
            "operation-path-invalid",
        ),
        (
            "run_script",
            json!({"script":"x","env":{"LD_PRELOAD":"x"}}),
            "/parameters/env/LD_PRELOAD",
            "operation-environment-invalid",
        ),
        (
            "run_script",
            json!({"script":"x","env":{"A=B":"x"}}),
            "/parameters/env/A=B",
            "operation-environment-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"etc/x","content":""}),
            "/parameters/path",
            "operation-path-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/etc/../x","content":""}),
            "/parameters/path",
            "operation-path-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/etc/\0x","content":""}),
            "/parameters/path",
            "operation-path-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/x","content":"","mode":"4755"}),
            "/parameters/mode",
            "operation-mode-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/x","content":"","mode":"999"}),
            "/parameters/mode",
            "operation-mode-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/x"}),
            "/parameters/content",
            "operation-content-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/x","content":"","content_base64":""}),
            "/parameters/content",
            "operation-content-invalid",
        ),
        (
            "deploy_file",
            json!({"path":"/x","content_base64":"%%"}),
            "/parameters/content_base64",
            "operation-content-invalid",
        ),
        (
            "install_package",
            json!({"packages":["--root=/"]}),
            "/parameters/packages/0",
            "operation-package-invalid",
        ),
        (
            "install_package",
            json!({"packages":["a b"]}),
            "/parameters/packages/0",
            "operation-package-invalid",
        ),
        (
            "remove_package",
            json!({"packages":[]}),
            "/parameters/packages",
            "operation-package-invalid",
        ),
        (
            "service_control",
            json!({"service":"x;reboot","action":"start"}),
            "/parameters/service",
            "operation-service-invalid",
        ),
        (
            "service_control",
            json!({"service":"x"}),
            "/parameters/action",
            "operation-parameter-missing",
        ),
        (
            "apply_deployment_plan",
            json!({"steps":[]}),
            "/parameters/steps",
            "operation-plan-invalid",
        ),
        (
            "apply_deployment_plan",
            json!({"steps":[{"name":"a","operation_type":"apply_deployment_plan","parameters":{"steps":[]}}]}),
            "/parameters/steps/0/operation_type",
            "operation-plan-invalid",
        ),
        (
            "apply_deployment_plan",
            json!({"steps":[{"name":"a","operation_type":"run_script","parameters":{"script":""}}]}),
            "/parameters/steps/0/parameters/script",
            "operation-script-invalid",
        ),
    ];
    for (kind, parameters, pointer, code) in table {
        let found = codes(kind, parameters.clone());
        assert!(
            found.contains(&(pointer.to_owned(), code.to_owned())),
            "{kind} {parameters}: expected {pointer} {code}, found {found:?}"
        );
    }
}

#[test]
fn a_plan_of_1001_steps_is_refused_and_of_1000_accepted() {
    let steps = |count: usize| {
        let step = |index| json!({"name": format!("s{index}"), "operation_type": "run_script", "parameters": {"script": "true"}});
        json!({"steps": (0..count).map(step).collect::<Vec<_>>()})
    };
    assert!(operation("apply_deployment_plan", &steps(1000)).is_ok());
    assert!(operation("apply_deployment_plan", &steps(1001)).is_err());
}

#[test]
fn every_violation_is_reported_not_the_first() {
    let found = codes("deploy_file", json!({"path":"x","mode":"999","owner":"-r"}));
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn good_operations_survive_a_round_trip() {
    let table = [
        (
            "run_script",
            json!({"script":"echo hi","args":["a"],"env":{"A":"1"}}),
        ),
        (
            "deploy_file",
            json!({"path":"/etc/x","content":"hi","mode":"0644","backup":true}),
        ),
        (
            "install_package",
            json!({"packages":["nginx","curl=7.88.1-10+deb12u5"]}),
        ),
        (
            "service_control",
            json!({"service":"getty@tty1.service","ensure":"running"}),
        ),
        ("reboot", json!({"delay_seconds":5})),
        (
            "apply_deployment_plan",
            json!({"steps": [
                {"name": "config", "operation_type": "deploy_file", "on_failure": "rollback",
                 "parameters": {"path": "/etc/x", "content": "hi"}},
                {"name": "web", "operation_type": "service_control", "when": {"changed": "config"},
                 "parameters": {"service": "web", "action": "restart"}, "on_failure": "continue"},
                {"name": "off", "operation_type": "shutdown"},
            ]}),
        ),
    ];
    for (kind, parameters) in table {
        let parsed = operation(kind, &parameters).unwrap();
        let text = serde_json::to_value(&parsed).unwrap();
        assert_eq!(text["operation_type"], kind);
        assert_eq!(operation(kind, &text["parameters"]).unwrap(), parsed);
    }
}

#[test]
fn timeouts_are_positive_and_at_most_a_week() {
    for bad in [0, -1, 1_000_000_000_000] {
        assert!(timeout_seconds(bad).is_err(), "{bad}");
    }
    assert_eq!(timeout_seconds(60), Ok(60));
}

#[test]
fn health_checks_are_refused_with_place_and_code() {
    const CODE: &str = "operation-health-check-invalid";
    for (check, pointer, code) in [
        (json!("true"), "", "operation-parameter-invalid"),
        (json!({}), "/script", "operation-parameter-missing"),
        (
            json!({"script": "x", "retry": 1}),
            "/retry",
            "operation-parameter-unknown",
        ),
        (json!({"script": ""}), "/script", CODE),
        (json!({"script": 7}), "/script", CODE),
        (json!({"script": "a\u{0}b"}), "/script", CODE),
        (
            json!({"script": "x", "timeout_seconds": 0}),
            "/timeout_seconds",
            CODE,
        ),
        (json!({"script": "x", "retries": -1}), "/retries", CODE),
        (
            json!({"script": "x", "interval_seconds": 1.5}),
            "/interval_seconds",
            CODE,
        ),
        (json!({"script": "x", "soak_seconds": 86_400}), "", CODE),
        (json!({"script": "x", "retries": u64::MAX}), "", CODE),
    ] {
        let found = health_check(&check).unwrap_err();
        let place = |violation: &Violation| violation.pointer == pointer && violation.code == code;
        assert!(found.iter().any(place), "{check}: {found:?}");
    }
    let check = health_check(&json!({"script": "x", "soak_seconds": 86_370})).unwrap();
    assert_eq!(
        (check.timeout_seconds, check.retries, check.interval_seconds),
        (30, 0, 10)
    );
    let unchecked = ExecutionOptions {
        health_check: Some(HealthCheck {
            timeout_seconds: 0,
            ..check
        }),
        ..ExecutionOptions::default()
    };
    assert_eq!(
        options(&unchecked)[0].pointer,
        "/health_check/timeout_seconds"
    );
}

#[test]
fn a_host_that_is_off_is_neither_checked_nor_given_another_step() {
    let step =
        |name: &str, kind: &str| json!({"name": name, "operation_type": kind, "parameters": {}});
    let plan = |kinds: [&str; 2]| json!({"steps": [step("a", kinds[0]), step("b", kinds[1])]});
    let found = codes("apply_deployment_plan", plan(["shutdown", "reboot"]));
    assert_eq!(
        found,
        [(
            "/parameters/steps/0/operation_type".to_owned(),
            "operation-plan-invalid".to_owned()
        )]
    );
    let options = ExecutionOptions {
        health_check: Some(health_check(&json!({"script": "true"})).unwrap()),
        ..ExecutionOptions::default()
    };
    for (kind, parameters, refused) in [
        ("shutdown", json!({}), true),
        ("reboot", json!({}), false),
        ("apply_deployment_plan", plan(["reboot", "shutdown"]), true),
        ("apply_deployment_plan", plan(["reboot", "reboot"]), false),
    ] {
        let operation = operation(kind, &parameters).unwrap();
        assert_eq!(
            together(&operation, &options).len(),
            usize::from(refused),
            "{kind} {parameters}"
        );
        assert!(together(&operation, &ExecutionOptions::default()).is_empty());
    }
}

#[test]
fn variables_are_for_scripts_and_their_checks_only() {
    let script =
        json!({"name": "s", "operation_type": "run_script", "parameters": {"script": "true"}});
    let file = json!({"name": "f", "operation_type": "deploy_file", "parameters": {"path": "/x", "content": ""}});
    let tool = |kind: &str, parameters: serde_json::Value| json!({"name": "t", "operation_type": kind, "parameters": parameters});
    let service = json!({"service": "x", "action": "start"});
    let plan = |steps: &[&serde_json::Value]| json!({ "steps": steps });
    let given = ExecutionOptions {
        environment: [("A".to_owned(), "b".into())].into(),
        health_check: Some(health_check(&json!({"script": "true"})).unwrap()),
        ..ExecutionOptions::default()
    };
    let none = ExecutionOptions {
        health_check: given.health_check.clone(),
        ..ExecutionOptions::default()
    };
    let packages = || json!({"packages": ["x"]});
    for (kind, parameters, refused) in [
        ("run_script", json!({"script": "true"}), false),
        ("deploy_file", json!({"path": "/x", "content": ""}), true),
        ("service_control", service.clone(), true),
        ("install_package", packages(), true),
        ("remove_package", packages(), true),
        ("reboot", json!({}), true),
        ("apply_deployment_plan", plan(&[&script]), false),
        ("apply_deployment_plan", plan(&[&file, &script]), false),
        ("apply_deployment_plan", plan(&[&file]), true),
        (
            "apply_deployment_plan",
            plan(&[&script, &tool("service_control", service)]),
            true,
        ),
        (
            "apply_deployment_plan",
            plan(&[&script, &tool("install_package", packages())]),
            true,
        ),
        (
            "apply_deployment_plan",
            plan(&[&script, &tool("reboot", json!({}))]),
            true,
        ),
    ] {
        let operation = operation(kind, &parameters).unwrap();
        let found = together(&operation, &given);
        let codes: Vec<_> = found
            .iter()
            .map(|found| (found.pointer.as_str(), found.code.as_str()))
            .collect();
        let expected = [("/environment", "operation-environment-invalid")];
        assert_eq!(
            codes,
            &expected[..usize::from(refused)],
            "{kind} {parameters}"
        );
        assert_eq!(takes_environment(&operation), !refused);
        assert!(
            together(&operation, &none).is_empty(),
            "{kind} {parameters}"
        );
    }
}
