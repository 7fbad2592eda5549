//! Asking a person. Never asks a machine: without a terminal the answer is an error that names `--yes`.

use std::io::IsTerminal as _;

use crate::failure::Failure;
use crate::session::Session;

/// `Ok` only if the answer was yes (or `--yes` was given).
pub fn confirm(session: &Session, question: &str) -> Result<(), Failure> {
    if session.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Input(format!(
            "{question} There is no terminal to ask on: pass --yes to go ahead"
        )));
    }
    let answer = dialoguer::Confirm::new()
        .with_prompt(question)
        .default(false)
        .interact()
        .map_err(|error| Failure::Input(error.to_string()))?;
    if answer {
        Ok(())
    } else {
        Err(Failure::Declined)
    }
}

pub fn text(prompt: &str) -> Result<String, Failure> {
    terminal_only(prompt)?;
    dialoguer::Input::new()
        .with_prompt(prompt)
        .interact_text()
        .map_err(|error| Failure::Input(error.to_string()))
}

pub fn password(prompt: &str) -> Result<String, Failure> {
    terminal_only(prompt)?;
    dialoguer::Password::new()
        .with_prompt(prompt)
        .interact()
        .map_err(|error| Failure::Input(error.to_string()))
}

fn terminal_only(prompt: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        Ok(())
    } else {
        Err(Failure::Input(format!(
            "{prompt} is needed, and there is no terminal to ask on"
        )))
    }
}
