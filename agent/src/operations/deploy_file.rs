//! `deploy_file`: puts exact bytes at a path, atomically, following no symbolic link on the way. `place` is the file
//! system work, `credentials` the acting as another account; here it is decided what is to be done.

mod content;
mod credentials;
mod extended;
mod failure;
mod place;
pub mod undo;

use std::sync::atomic::{AtomicBool, Ordering};

use fleetwright_protocol::operation::DeployFile;
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{ExecutionOptions, Outcome};

use super::account_for;
use crate::{accounts, clock};
use extended::Extended;
use failure::{DeployError, io_error, refused};
use place::{Existing, Target};

pub use content::Content;

/// A new file that names no mode can be read by all and written by its owner.
const MODE_DEFAULT: u32 = 0o644;
/// The same of one that holds a secret: by nobody else.
const SECRET_MODE_DEFAULT: u32 = 0o600;

/// When to give up: asked between steps, before anything is replaced.
#[derive(Debug)]
pub struct Stop {
    cancelled: AtomicBool,
    deadline_ms: u64,
}

impl Stop {
    /// Gives up this long from now.
    pub fn after_seconds(seconds: u64) -> Self {
        Self::after_ms(seconds.saturating_mul(1_000))
    }

    /// As [`Stop::after_seconds`].
    pub fn after_ms(milliseconds: u64) -> Self {
        let deadline_ms = clock::monotonic_ms().saturating_add(milliseconds);
        Self {
            cancelled: AtomicBool::new(false),
            deadline_ms,
        }
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), DeployError> {
        if self.cancelled.load(Ordering::SeqCst) {
            Err(DeployError::Stopped(FailureReason::Cancelled))
        } else if clock::monotonic_ms() >= self.deadline_ms {
            Err(DeployError::Stopped(FailureReason::TimedOut))
        } else {
            Ok(())
        }
    }
}

/// Deploys. `id` goes into the names of the temporary and the backup file. Blocks on the disk.
pub fn deploy(
    file: &DeployFile,
    options: &ExecutionOptions,
    mut content: Content,
    id: &str,
    stop: &Stop,
) -> Outcome {
    let started_at_ms = clock::monotonic_ms();
    let done = account_for(options)
        .map_err(DeployError::from)
        .and_then(|account| {
            let mut work = || deploy_as_is(file, options.dry_run, &mut content, id, stop);
            match account {
                None => work(),
                Some(account) => credentials::acting_as(&account.ids, work)
                    .map_err(|error| io_error(format!("cannot act as {}", account.name), error))?,
            }
        });
    let outcome = match done {
        Ok(done) => Outcome {
            message: done.message,
            ..Outcome::succeeded(done.changed)
        },
        Err(DeployError::Stopped(reason)) => {
            Outcome::failed(reason, DeployError::Stopped(reason).to_string())
        }
        Err(error @ (DeployError::CannotRun(_) | DeployError::Io { .. })) => {
            Outcome::failed(FailureReason::AgentError, error.to_string())
        }
    };
    Outcome {
        duration_ms: clock::monotonic_ms().saturating_sub(started_at_ms),
        ..outcome
    }
}

struct Done {
    changed: bool,
    message: String,
}

/// What the file is to be, as numbers.
struct Wanted {
    mode: Option<u32>,
    /// Of a new file, if no mode is named.
    mode_default: u32,
    user: Option<u32>,
    group: Option<u32>,
}

fn deploy_as_is(
    file: &DeployFile,
    dry_run: bool,
    content: &mut Content,
    id: &str,
    stop: &Stop,
) -> Result<Done, DeployError> {
    let wanted = wanted(file)?;
    let Some(target) = Target::open(&file.path, file.create_parents, dry_run)? else {
        let message = format!(
            "would make the folders of {} and write {} bytes",
            file.path,
            content.len()
        );
        return Ok(Done {
            changed: true,
            message,
        });
    };
    let existing = target.existing()?;
    let same_content = match &existing {
        Existing::File(metadata) => target.holds(metadata, content)?,
        Existing::None | Existing::Link => false,
    };
    if same_content && matches(&existing, &wanted) {
        return Ok(Done {
            changed: false,
            message: format!("{} is as wanted", file.path),
        });
    }
    stop.check()?;
    let what = if same_content {
        "mode or owner of"
    } else {
        "content of"
    };
    if dry_run {
        let message = match existing {
            Existing::None => format!("would write {} ({} bytes)", file.path, content.len()),
            Existing::Link => format!("would replace the symbolic link {} by a file", file.path),
            Existing::File(_) => format!("would change the {what} {}", file.path),
        };
        return Ok(Done {
            changed: true,
            message,
        });
    }
    let extended = match &existing {
        Existing::File(_) => target.extended()?.map(extended::of_new_content),
        Existing::None | Existing::Link => None,
    };
    let attributes = attributes(&existing, &wanted, extended);
    let temporary = target.write_temporary(content, &attributes, id, &mut || stop.check())?;
    stop.check()?;
    let mut message = format!("wrote {} ({} bytes)", file.path, content.len());
    if file.backup && !matches!(existing, Existing::None) {
        let backup = target.keep_backup(id)?;
        message.push_str(&format!("; the old one is {backup}"));
    }
    temporary.put_in_place()?;
    Ok(Done {
        changed: true,
        message,
    })
}

fn wanted(file: &DeployFile) -> Result<Wanted, DeployError> {
    let mode = match &file.mode {
        None => None,
        Some(text) => {
            Some(u32::from_str_radix(text, 8).map_err(|_| refused("the mode is not octal"))?)
        }
    };
    let user = match &file.owner {
        None => None,
        Some(name) => {
            let found = accounts::account(name)
                .map_err(|error| io_error(format!("cannot look up the account {name}"), error))?;
            Some(
                found
                    .ok_or_else(|| refused(&format!("there is no account {name} on this host")))?
                    .ids
                    .user,
            )
        }
    };
    let group = match &file.group {
        None => None,
        Some(name) => {
            let found = accounts::group(name)
                .map_err(|error| io_error(format!("cannot look up the group {name}"), error))?;
            Some(found.ok_or_else(|| refused(&format!("there is no group {name} on this host")))?)
        }
    };
    if !accounts::is_root() && user.is_some_and(|user| user != rustix::process::geteuid().as_raw())
    {
        return Err(refused(
            "giving a file to another account needs an agent that runs as root",
        ));
    }
    let mode_default = match file.content_secret {
        Some(_) => SECRET_MODE_DEFAULT,
        None => MODE_DEFAULT,
    };
    Ok(Wanted {
        mode,
        mode_default,
        user,
        group,
    })
}

fn matches(existing: &Existing, wanted: &Wanted) -> bool {
    let Existing::File(found) = existing else {
        return false;
    };
    wanted.mode.is_none_or(|mode| found.mode == mode)
        && wanted.user.is_none_or(|user| found.user == user)
        && wanted.group.is_none_or(|group| found.group == group)
}

/// What is not said stays as it is; a set-user-id bit does not survive new content.
fn attributes(
    existing: &Existing,
    wanted: &Wanted,
    extended: Option<Extended>,
) -> place::Attributes {
    let (mode, user, group) = match existing {
        Existing::File(found) => (
            Some(found.mode & 0o777),
            Some(found.user),
            Some(found.group),
        ),
        Existing::None | Existing::Link => (None, None, None),
    };
    place::Attributes {
        mode: wanted.mode.or(mode).unwrap_or(wanted.mode_default),
        user: wanted.user.or(user),
        group: wanted.group.or(group),
        extended,
    }
}

#[cfg(test)]
mod tests;
