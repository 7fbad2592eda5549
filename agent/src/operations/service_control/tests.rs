//! What the service managers say and are asked, as tables.

use std::collections::BTreeMap;
use std::io;

use fleetwright_protocol::outcome::OutcomeStatus;
use proptest::prelude::*;

use super::service::words;
use super::*;
use crate::operations::tools::{ToolOutput, said};

const ACTIONS: [Option<ServiceAction>; 7] = [
    None,
    Some(ServiceAction::Start),
    Some(ServiceAction::Stop),
    Some(ServiceAction::Restart),
    Some(ServiceAction::Reload),
    Some(ServiceAction::Enable),
    Some(ServiceAction::Disable),
];
const ENSURES: [Option<ServiceEnsure>; 3] = [
    None,
    Some(ServiceEnsure::Running),
    Some(ServiceEnsure::Stopped),
];

fn control(action: Option<ServiceAction>, ensure: Option<ServiceEnsure>) -> ServiceControl {
    ServiceControl {
        service: "web".to_owned(),
        action,
        ensure,
    }
}

fn service(running: bool, at_boot: AtBoot) -> Service {
    Service {
        running,
        broken: false,
        masked: false,
        at_boot,
    }
}

/// A systemctl that does as it is told, over one service in memory.
struct Systemctl {
    service: Option<Service>,
    /// Says that all is well and does nothing.
    lies: bool,
    calls: Vec<String>,
    answers: BTreeMap<&'static str, ToolOutput>,
}

impl Systemctl {
    fn with(service: Option<Service>) -> Self {
        Self {
            service,
            lies: false,
            calls: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    fn changes(&self) -> Vec<&str> {
        let asked = |call: &&str| !call.starts_with("show") && !call.starts_with("is-enabled");
        self.calls
            .iter()
            .map(String::as_str)
            .filter(asked)
            .collect()
    }

    fn run_it(&mut self, control: &ServiceControl, dry_run: bool) -> Outcome {
        let manager = ServiceManager::Systemd {
            prefix: words(&["systemctl"]),
            configured: false,
        };
        carry_out(control, dry_run, &manager, true, self)
    }
}

impl Tools for Systemctl {
    fn run(&mut self, argv: &[String]) -> io::Result<ToolOutput> {
        let [program, verb, .., dashes, name] = argv else {
            panic!("{argv:?}");
        };
        assert_eq!([program, dashes, name], ["systemctl", "--", "web"]);
        self.calls.push(verb.clone());
        if let Some(answer) = self.answers.get(verb.as_str()) {
            return Ok(answer.clone());
        }
        let Some(service) = &mut self.service else {
            return Ok(said(0, "LoadState=not-found\nActiveState=inactive\n", ""));
        };
        let lies = self.lies;
        match verb.as_str() {
            "show" => {
                let load = if service.masked { "masked" } else { "loaded" };
                let active = match (service.running, service.broken) {
                    (true, _) => "active",
                    (false, true) => "failed",
                    (false, false) => "inactive",
                };
                let shown = format!("LoadState={load}\nActiveState={active}\n");
                return Ok(said(0, &shown, ""));
            }
            "is-enabled" => {
                return Ok(match service.at_boot {
                    AtBoot::Enabled => said(0, "enabled\n", ""),
                    AtBoot::Disabled | AtBoot::NotAsked => said(1, "disabled\n", ""),
                    AtBoot::Fixed => said(0, "static\n", ""),
                });
            }
            _ if lies => {}
            "start" | "restart" => service.running = true,
            "stop" => service.running = false,
            "reload" => {}
            "enable" => service.at_boot = AtBoot::Enabled,
            "disable" => service.at_boot = AtBoot::Disabled,
            other => panic!("{other}"),
        }
        Ok(said(0, "", ""))
    }
}

#[test]
fn only_what_is_missing_is_done() {
    let running = service(true, AtBoot::Enabled);
    let stopped = service(false, AtBoot::Disabled);
    for (before, action, ensure, expected) in [
        (running, Some(ServiceAction::Start), None, ""),
        (stopped, Some(ServiceAction::Start), None, "start"),
        (running, Some(ServiceAction::Stop), None, "stop"),
        (stopped, Some(ServiceAction::Stop), None, ""),
        (running, Some(ServiceAction::Restart), None, "restart"),
        (stopped, Some(ServiceAction::Restart), None, "restart"),
        (running, Some(ServiceAction::Reload), None, "reload"),
        (stopped, Some(ServiceAction::Reload), None, "impossible"),
        (running, Some(ServiceAction::Enable), None, ""),
        (stopped, Some(ServiceAction::Enable), None, "enable"),
        (running, Some(ServiceAction::Disable), None, "disable"),
        (stopped, Some(ServiceAction::Disable), None, ""),
        (running, None, Some(ServiceEnsure::Running), ""),
        (stopped, None, Some(ServiceEnsure::Running), "start"),
        (running, None, Some(ServiceEnsure::Stopped), "stop"),
        (
            stopped,
            Some(ServiceAction::Enable),
            Some(ServiceEnsure::Running),
            "enable start",
        ),
        (
            stopped,
            Some(ServiceAction::Restart),
            Some(ServiceEnsure::Running),
            "restart",
        ),
        (
            running,
            Some(ServiceAction::Stop),
            Some(ServiceEnsure::Running),
            "stop start",
        ),
    ] {
        let steps = plan(&before, &control(action, ensure)).map_or_else(
            |_| "impossible".to_owned(),
            |steps| {
                let verbs: Vec<&str> = steps.iter().map(|step| step.verb()).collect();
                verbs.join(" ")
            },
        );
        assert_eq!(steps, expected, "{before:?} {action:?} {ensure:?}");
    }
}

#[test]
fn a_service_that_is_unknown_masked_or_fixed_is_not_touched_and_the_reason_named() {
    let masked = Service {
        masked: true,
        ..service(false, AtBoot::Disabled)
    };
    for (found, action, words) in [
        (None, ServiceAction::Start, "there is no service web"),
        (Some(masked), ServiceAction::Start, "masked"),
        (Some(masked), ServiceAction::Enable, "masked"),
        (
            Some(service(true, AtBoot::Fixed)),
            ServiceAction::Enable,
            "nothing that could be enabled",
        ),
    ] {
        for dry_run in [true, false] {
            let mut systemctl = Systemctl::with(found);
            let outcome = systemctl.run_it(&control(Some(action), None), dry_run);
            assert_eq!(outcome.reason, Some(FailureReason::AgentError));
            assert!(outcome.message.contains(words), "{}", outcome.message);
            assert!(!outcome.changed && systemctl.changes().is_empty());
        }
    }
}

#[test]
fn an_agent_without_rights_changes_nothing_and_says_so_but_may_look() {
    let manager = ServiceManager::Systemd {
        prefix: words(&["systemctl"]),
        configured: false,
    };
    for (running, succeeds) in [(false, false), (true, true)] {
        let mut systemctl = Systemctl::with(Some(service(running, AtBoot::Enabled)));
        let start = control(Some(ServiceAction::Start), None);
        let outcome = carry_out(&start, false, &manager, false, &mut systemctl);
        assert_eq!(outcome.status == OutcomeStatus::Succeeded, succeeds);
        assert!(succeeds || outcome.message.contains("runs as root"));
        assert!(systemctl.changes().is_empty());
    }
}

#[test]
fn a_tool_that_says_no_or_does_nothing_is_not_success() {
    let stopped = Some(service(false, AtBoot::Disabled));
    let mut systemctl = Systemctl::with(stopped);
    let refused = said(5, "", "Job for web.service failed.\n");
    systemctl.answers.insert("start", refused);
    let both = control(Some(ServiceAction::Enable), Some(ServiceEnsure::Running));
    let outcome = systemctl.run_it(&both, false);
    assert_eq!(
        (outcome.reason, outcome.exit_code, outcome.changed),
        (Some(FailureReason::ExitCode), Some(5), true),
        "it was enabled all the same"
    );
    assert!(outcome.message.contains("Job for web.service failed."));
    assert_eq!(outcome.details.unwrap()["done"], json!(["enable"]));
    for asked in [
        control(None, Some(ServiceEnsure::Running)),
        control(Some(ServiceAction::Enable), None),
    ] {
        let mut liar = Systemctl::with(stopped);
        liar.lies = true;
        let outcome = liar.run_it(&asked, false);
        assert_eq!(outcome.reason, Some(FailureReason::ExitCode), "{asked:?}");
    }
}

#[test]
fn a_service_that_fails_right_after_its_start_is_not_started() {
    let broken = Service {
        broken: true,
        ..service(false, AtBoot::Disabled)
    };
    for action in [ServiceAction::Start, ServiceAction::Restart] {
        let mut systemctl = Systemctl::with(Some(broken));
        systemctl.lies = true;
        let outcome = systemctl.run_it(&control(Some(action), None), false);
        assert_eq!(outcome.status, OutcomeStatus::Failed);
        assert!(outcome.message.contains("failed right after its start"));
    }
}

proptest! {
    #[test]
    fn a_second_time_nothing_changes_and_a_dry_run_foresees_it(
        running: bool,
        boot in prop::sample::select(vec![AtBoot::Enabled, AtBoot::Disabled]),
        action in prop::sample::select(ACTIONS.to_vec()),
        ensure in prop::sample::select(ENSURES.to_vec()),
    ) {
        let asked = control(action, ensure);
        let before = service(running, boot);
        let mut dry = Systemctl::with(Some(before));
        let foreseen = dry.run_it(&asked, true);
        prop_assert!(dry.changes().is_empty());
        prop_assert_eq!(dry.service, Some(before));

        let mut systemctl = Systemctl::with(Some(before));
        let outcome = systemctl.run_it(&asked, false);
        prop_assert_eq!(outcome.status, foreseen.status);
        prop_assert_eq!(outcome.changed, foreseen.changed);
        prop_assert_eq!(outcome.changed, foreseen.message.starts_with("would "));
        prop_assert_eq!(outcome.changed, !systemctl.changes().is_empty());
        let settles = match (action, ensure) {
            (Some(ServiceAction::Restart | ServiceAction::Reload), _)
            | (Some(ServiceAction::Start), Some(ServiceEnsure::Stopped))
            | (Some(ServiceAction::Stop), Some(ServiceEnsure::Running)) => false,
            (Some(_) | None, _) => true,
        };
        if outcome.status == OutcomeStatus::Succeeded && settles {
            systemctl.calls.clear();
            let again = systemctl.run_it(&asked, false);
            prop_assert_eq!((again.status, again.changed), (OutcomeStatus::Succeeded, false));
        }
    }
}
