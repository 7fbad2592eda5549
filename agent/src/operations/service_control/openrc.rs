//! OpenRC, through `rc-service` and `rc-update`: their arguments and what they answer.

use super::service::{AtBoot, Service, Step, Trouble, run, words};
use crate::operations::tools::Tools;

/// Exit code of `status` for a service that is being started.
const STARTING: i32 = 8;
/// Exit code of `status` for a service that has crashed.
const CRASHED: i32 = 32;

pub fn find(name: &str, asks_boot: bool, tools: &mut dyn Tools) -> Result<Service, Trouble> {
    if !run(&words(&["rc-service", "--exists", name]), tools)?.succeeded() {
        return Err(Trouble::NoSuchService(name.to_owned()));
    }
    let status = run(&words(&["rc-service", name, "status"]), tools)?;
    let Some(code) = status.code else {
        return Err(Trouble::NoState {
            name: name.to_owned(),
            words: status.last_words().to_owned(),
        });
    };
    let at_boot = if asks_boot {
        let listed = run(&words(&["rc-update", "show"]), tools)?;
        if !listed.succeeded() {
            return Err(Trouble::NoState {
                name: name.to_owned(),
                words: listed.last_words().to_owned(),
            });
        }
        at_boot(name, &listed.stdout)
    } else {
        AtBoot::NotAsked
    };
    Ok(Service {
        running: code == 0 || code == STARTING,
        broken: code == CRASHED,
        masked: false,
        at_boot,
    })
}

/// The name passes validation, so it is never an option.
pub fn command(step: Step, name: &str) -> Vec<String> {
    match step {
        Step::Start | Step::Stop | Step::Restart | Step::Reload => {
            words(&["rc-service", name, step.verb()])
        }
        Step::Enable => words(&["rc-update", "add", name, "default"]),
        Step::Disable => words(&["rc-update", "--all", "delete", name]),
    }
}

/// Lines of `service | level level`.
fn at_boot(name: &str, listed: &str) -> AtBoot {
    let in_a_level = listed.lines().any(|line| {
        line.split_once('|')
            .is_some_and(|(service, levels)| service.trim() == name && !levels.trim().is_empty())
    });
    if in_a_level {
        AtBoot::Enabled
    } else {
        AtBoot::Disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_one_command() {
        for (step, expected) in [
            (Step::Start, "rc-service sshd start"),
            (Step::Stop, "rc-service sshd stop"),
            (Step::Restart, "rc-service sshd restart"),
            (Step::Reload, "rc-service sshd reload"),
            (Step::Enable, "rc-update add sshd default"),
            (Step::Disable, "rc-update --all delete sshd"),
        ] {
            assert_eq!(command(step, "sshd").join(" "), expected);
        }
    }

    #[test]
    fn a_service_in_any_runlevel_starts_with_the_machine() {
        let listed = "             bootmisc | boot                  \n                 sshd |      default          \n              sshd-ng |                       \n";
        for (name, expected) in [
            ("sshd", AtBoot::Enabled),
            ("bootmisc", AtBoot::Enabled),
            ("sshd-ng", AtBoot::Disabled),
            ("nginx", AtBoot::Disabled),
        ] {
            assert_eq!(at_boot(name, listed), expected, "{name}");
        }
    }
}
