//! systemd, through `systemctl`: its arguments and what it answers.

use super::service::{AtBoot, Service, Step, Trouble, run};
use crate::operations::tools::{ToolOutput, Tools};

/// Asks for all that is needed to decide. `prefix` is what stands before `systemctl`'s own arguments.
pub fn find(
    prefix: &[String],
    name: &str,
    asks_boot: bool,
    tools: &mut dyn Tools,
) -> Result<Service, Trouble> {
    let said = run(
        &argv(prefix, &["show", "--property=LoadState,ActiveState"], name),
        tools,
    )?;
    let at_boot = if asks_boot {
        Some(run(&argv(prefix, &["is-enabled"], name), tools)?)
    } else {
        None
    };
    service(name, &said, at_boot.as_ref())
}

pub fn command(prefix: &[String], step: Step, name: &str) -> Vec<String> {
    argv(prefix, &[step.verb()], name)
}

fn argv(prefix: &[String], arguments: &[&str], name: &str) -> Vec<String> {
    let mut argv = prefix.to_vec();
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    argv.extend(["--".to_owned(), name.to_owned()]);
    argv
}

fn service(
    name: &str,
    shown: &ToolOutput,
    at_boot: Option<&ToolOutput>,
) -> Result<Service, Trouble> {
    let no_state = |said: &ToolOutput| Trouble::NoState {
        name: name.to_owned(),
        words: said.last_words().to_owned(),
    };
    let property = |key: &str| {
        let mut lines = shown.stdout.lines();
        lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
    };
    let (Some(load), Some(active)) = (property("LoadState"), property("ActiveState")) else {
        return Err(no_state(shown));
    };
    if !shown.succeeded() {
        return Err(no_state(shown));
    }
    let running = match active {
        "active" | "activating" | "reloading" | "refreshing" => true,
        "inactive" | "failed" | "deactivating" | "maintenance" => false,
        _ => return Err(no_state(shown)),
    };
    // A service whose file was removed may still run.
    if load == "not-found" && !running {
        return Err(Trouble::NoSuchService(name.to_owned()));
    }
    let at_boot = match at_boot {
        None => AtBoot::NotAsked,
        Some(said) => word_of(said).ok_or_else(|| no_state(said))?,
    };
    Ok(Service {
        running,
        broken: active == "failed",
        masked: load == "masked",
        at_boot,
    })
}

/// The exit code says less than the word: 0 also for what nobody can enable.
fn word_of(said: &ToolOutput) -> Option<AtBoot> {
    match said
        .stdout
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?
    {
        "enabled" | "enabled-runtime" | "alias" | "indirect" => Some(AtBoot::Enabled),
        "disabled" | "linked" | "linked-runtime" | "masked" | "masked-runtime" | "bad" => {
            Some(AtBoot::Disabled)
        }
        "static" | "generated" | "transient" => Some(AtBoot::Fixed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn names_stand_after_two_dashes() {
        let prefix = ["sudo".to_owned(), "systemctl".to_owned()];
        assert_eq!(
            command(&prefix, Step::Restart, "nginx"),
            ["sudo", "systemctl", "restart", "--", "nginx"]
        );
    }

    #[test]
    fn what_systemctl_shows_is_understood() {
        let table = [
            ("loaded", "active", Some((true, false, false))),
            ("loaded", "activating", Some((true, false, false))),
            ("loaded", "reloading", Some((true, false, false))),
            ("loaded", "inactive", Some((false, false, false))),
            ("loaded", "deactivating", Some((false, false, false))),
            ("loaded", "failed", Some((false, true, false))),
            ("masked", "inactive", Some((false, false, true))),
            ("not-found", "active", Some((true, false, false))),
            ("loaded", "dancing", None),
        ];
        for (load, active, expected) in table {
            let shown = said(0, &format!("LoadState={load}\nActiveState={active}\n"), "");
            let found = service("x", &shown, None).ok();
            let found = found.map(|found| (found.running, found.broken, found.masked));
            assert_eq!(found, expected, "{load} {active}");
        }
        let gone = said(0, "LoadState=not-found\nActiveState=inactive\n", "");
        assert!(matches!(
            service("x", &gone, None),
            Err(Trouble::NoSuchService(_))
        ));
        let no_bus = said(
            1,
            "",
            "Failed to connect to bus: No such file or directory\n",
        );
        let trouble = service("x", &no_bus, None).unwrap_err();
        assert!(trouble.to_string().contains("connect to bus"), "{trouble}");
    }

    #[test]
    fn the_word_counts_not_the_exit_code() {
        let shown = said(0, "LoadState=loaded\nActiveState=active\n", "");
        for (code, word, expected) in [
            (0, "enabled\n", Some(AtBoot::Enabled)),
            (0, "alias\n", Some(AtBoot::Enabled)),
            (0, "static\n", Some(AtBoot::Fixed)),
            (0, "generated\n", Some(AtBoot::Fixed)),
            (1, "disabled\n", Some(AtBoot::Disabled)),
            (1, "masked\n", Some(AtBoot::Disabled)),
            (1, "", None),
            (0, "perhaps\n", None),
        ] {
            let found = service("x", &shown, Some(&said(code, word, "trouble")));
            assert_eq!(found.ok().map(|found| found.at_boot), expected, "{word}");
        }
    }
}
