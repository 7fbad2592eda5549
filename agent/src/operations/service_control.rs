//! `service_control`: brings a service into the state an operation asks for, through whichever service manager the host
//! has. `plan` is pure; `family` knows the hosts, and beside it each manager's words.

mod family;
mod openrc;
mod service;
mod systemd;
mod sysv;

use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::{ServiceAction, ServiceControl, ServiceEnsure};
use fleetwright_protocol::outcome::FailureReason;
use serde_json::{Value, json};

use super::tools::Tools;
pub use family::ServiceManager;
use service::{AtBoot, Service, Step, Trouble, run};

/// Carries it out. `privileged` says whether this process may change services at all.
pub fn carry_out(
    control: &ServiceControl,
    dry_run: bool,
    manager: &ServiceManager,
    privileged: bool,
    tools: &mut dyn Tools,
) -> Outcome {
    let mut done = Vec::new();
    let attempted = attempt(control, dry_run, manager, privileged, tools, &mut done);
    let mut outcome = match attempted {
        Ok((message, would_change)) => Outcome {
            message,
            ..Outcome::succeeded(would_change)
        },
        Err(trouble) => failed(&trouble),
    };
    outcome.changed |= !done.is_empty();
    if !done.is_empty() {
        let verbs: Vec<Value> = done.iter().map(|step| json!(step.verb())).collect();
        outcome.details = Some(json!({ "service": control.service, "done": verbs }));
    }
    outcome
}

/// Returns what to tell a person, and whether a dry run would change something. What was done is in `done`, also when it
/// fails half way.
fn attempt(
    control: &ServiceControl,
    dry_run: bool,
    manager: &ServiceManager,
    privileged: bool,
    tools: &mut dyn Tools,
    done: &mut Vec<Step>,
) -> Result<(String, bool), Trouble> {
    let name = &control.service;
    let before = manager.find(name, asks_boot(control), tools)?;
    let steps = plan(&before, control)?;
    if steps.is_empty() {
        return Ok((format!("{name} is as it should be"), false));
    }
    let verbs: Vec<&str> = steps.iter().map(|step| step.verb()).collect();
    let verbs = verbs.join(", then ");
    if dry_run {
        return Ok((format!("would {verbs} {name}"), true));
    }
    if !privileged {
        return Err(Trouble::NeedsRoot);
    }
    for step in steps {
        for argv in manager.commands(step, name) {
            let said = run(&argv, tools)?;
            if !said.succeeded() {
                let name = name.clone();
                return Err(Trouble::ToolFailed { name, step, said });
            }
        }
        done.push(step);
    }
    let after = manager.find(name, asks_boot(control), tools)?;
    match contradiction(&after, control) {
        None => Ok((format!("{verbs} of {name}: done"), false)),
        Some(what) => Err(Trouble::NotSo {
            name: name.clone(),
            what,
        }),
    }
}

/// What to do so that the service, as it is, comes to be as asked: the action first, then what is to be ensured.
fn plan(before: &Service, control: &ServiceControl) -> Result<Vec<Step>, Trouble> {
    let name = &control.service;
    let mut running = before.running;
    let mut steps = Vec::new();
    match control.action {
        None => {}
        Some(ServiceAction::Start) if running => {}
        Some(ServiceAction::Start) => steps.push(Step::Start),
        Some(ServiceAction::Stop) if !running => {}
        Some(ServiceAction::Stop) => steps.push(Step::Stop),
        Some(ServiceAction::Restart) => steps.push(Step::Restart),
        Some(ServiceAction::Reload) if !running => {
            let why = format!("{name} is not running, so it cannot be reloaded");
            return Err(Trouble::Impossible(why));
        }
        Some(ServiceAction::Reload) => steps.push(Step::Reload),
        Some(ServiceAction::Enable) => match before.at_boot {
            AtBoot::Enabled => {}
            AtBoot::Disabled | AtBoot::NotAsked => steps.push(Step::Enable),
            AtBoot::Fixed => {
                let why = format!("{name} has nothing that could be enabled");
                return Err(Trouble::Impossible(why));
            }
        },
        Some(ServiceAction::Disable) => match before.at_boot {
            AtBoot::Enabled | AtBoot::NotAsked => steps.push(Step::Disable),
            AtBoot::Disabled | AtBoot::Fixed => {}
        },
    }
    for step in &steps {
        match step {
            Step::Start | Step::Restart => running = true,
            Step::Stop => running = false,
            Step::Reload | Step::Enable | Step::Disable => {}
        }
    }
    match control.ensure {
        Some(ServiceEnsure::Running) if !running => steps.push(Step::Start),
        Some(ServiceEnsure::Stopped) if running => steps.push(Step::Stop),
        Some(ServiceEnsure::Running | ServiceEnsure::Stopped) | None => {}
    }
    let wakes = |step: &Step| match step {
        Step::Start | Step::Restart | Step::Enable => true,
        Step::Stop | Step::Reload | Step::Disable => false,
    };
    if before.masked && steps.iter().any(wakes) {
        let why = format!("{name} is masked on this host");
        return Err(Trouble::Impossible(why));
    }
    Ok(steps)
}

/// What is not as asked after all was done. A service that has done its work and ended is as good as one that runs,
/// unless it was to be ensured that it runs.
fn contradiction(after: &Service, control: &ServiceControl) -> Option<&'static str> {
    let asks = |action| control.action == Some(action);
    let ensures = |ensure| control.ensure == Some(ensure);
    let to_run = ensures(ServiceEnsure::Running);
    let to_rest = ensures(ServiceEnsure::Stopped) || (asks(ServiceAction::Stop) && !to_run);
    let to_start = asks(ServiceAction::Start) || asks(ServiceAction::Restart);
    if asks(ServiceAction::Enable) && after.at_boot != AtBoot::Enabled {
        Some("still does not start with the machine")
    } else if asks(ServiceAction::Disable) && after.at_boot == AtBoot::Enabled {
        Some("still starts with the machine")
    } else if to_rest && after.running {
        Some("still runs")
    } else if (to_run || (to_start && !to_rest)) && after.broken {
        Some("failed right after its start")
    } else if to_run && !after.running {
        Some("does not run after its start")
    } else {
        None
    }
}

fn asks_boot(control: &ServiceControl) -> bool {
    match control.action {
        Some(ServiceAction::Enable | ServiceAction::Disable) => true,
        Some(
            ServiceAction::Start
            | ServiceAction::Stop
            | ServiceAction::Restart
            | ServiceAction::Reload,
        )
        | None => false,
    }
}

fn failed(trouble: &Trouble) -> Outcome {
    let reason = match trouble {
        Trouble::ToolFailed { .. } | Trouble::NotSo { .. } => FailureReason::ExitCode,
        Trouble::NoSuchService(_)
        | Trouble::Impossible(_)
        | Trouble::NeedsRoot
        | Trouble::NoTool { .. }
        | Trouble::NoState { .. } => FailureReason::AgentError,
    };
    let mut outcome = Outcome::failed(reason, trouble.to_string());
    if let Trouble::ToolFailed { said, .. } = trouble {
        outcome.exit_code = said.code;
    }
    outcome
}

#[cfg(test)]
mod tests;
