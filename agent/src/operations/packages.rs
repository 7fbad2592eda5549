//! `install_package` and `remove_package`: asks the host's package manager what is installed, changes what is not as
//! wanted in one call, and asks again. What the manager's database says afterwards is the result of each package; the
//! exit status only helps to explain it. Which processes this runs in, and for how long, is not decided here.
//!
//! - Packages that the indexes do not have fail and are left out of the call; the others are still installed. The tool
//!   is never given a name that is not exactly a package's.
//! - `refresh` is done only if something is to be installed. If it fails, nothing is installed. It is not done for a
//!   removal, which needs no index.
//! - A package without a version is as wanted in any version: it is not upgraded. A removal with a version is about
//!   that version only.
//! - A dry run fetches nothing: it knows the indexes as they are on the host.
//! - `changed` is about the packages that were named, not about what came or went with them.

mod apk;
mod apt;
mod brew;
mod decide;
mod detect;
mod dnf;
mod driver;
mod family;
mod freebsd;
mod pacman;
mod rpm;
mod versions;
mod wanted;
mod zypper;

use fleetwright_protocol::Outcome;
use fleetwright_protocol::operation::Packages;
use fleetwright_protocol::outcome::FailureReason;

use self::decide::Goal;
use self::driver::Run;
use super::tools::Tools;
use crate::accounts;

pub use self::decide::Change;
pub use self::detect::Manager;

/// Makes the packages be installed or absent. `details` of the outcome is
/// `{"manager", "packages": [{"name", "wanted", "before", "after", "status", "message"?}]}`, with `"dry_run": true` for
/// a dry run; there are none if it failed before anything was known.
pub fn carry_out(
    change: Change,
    packages: &Packages,
    dry_run: bool,
    manager: &Manager,
    tools: &mut dyn Tools,
) -> Outcome {
    carry_out_as(
        accounts::is_root(),
        change,
        packages,
        dry_run,
        manager,
        tools,
    )
}

fn carry_out_as(
    root: bool,
    change: Change,
    packages: &Packages,
    dry_run: bool,
    manager: &Manager,
    tools: &mut dyn Tools,
) -> Outcome {
    let goal = Goal {
        change,
        purge: packages.purge,
        family: manager.family,
    };
    wanted::parse(&packages.packages)
        .and_then(|wanted| {
            let mut run = Run {
                goal,
                prefix: &manager.prefix,
                root,
                tools,
            };
            if dry_run {
                run.foresee(&wanted, packages.refresh)
            } else {
                run.carry_out(&wanted, packages.refresh)
            }
        })
        .unwrap_or_else(|error| Outcome::failed(FailureReason::AgentError, error))
}

#[cfg(test)]
mod tests;
