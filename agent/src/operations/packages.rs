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
use self::family::Family;
use super::tools::Tools;
use crate::accounts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Install,
    Remove,
}

/// The package manager of a host.
#[derive(Clone, Debug)]
pub struct Manager {
    family: &'static dyn Family,
    /// Put in front of each call's own words, which begin with the tool's name.
    prefix: Vec<String>,
}

impl Manager {
    /// Which manager this host has.
    ///
    /// `configured` is the setting `[system] package_manager`. It names the manager (`apt` or `apt-get`, `dnf`, `yum`,
    /// `zypper`, `apk`, `pacman`, `brew`, `pkg`) in one of two ways. Either way it is put in front of every call and
    /// replaces no tool: a manager is more than one (apt is `apt-get`, `apt-cache` and `dpkg-query`).
    /// - The last word is the name, plain or in `/usr/bin` and its like: `["dnf"]`, `["sudo", "-n", "apt-get"]`. The
    ///   words before it are put in front: `sudo -n dpkg-query …`.
    /// - A word is the path of a program by that name somewhere else, `["/opt/in-root/apt"]`. All the words are put in
    ///   front, so that program is given each call, the tool's name first: `/opt/in-root/apt dpkg-query …`, and for
    ///   calls that set variables `/opt/in-root/apt env NAME=value … apt-get …`.
    ///
    /// With words in front, whether the agent may change packages is left to them: they may be what gives the right.
    pub fn detect(configured: Option<&[String]>) -> Result<Self, String> {
        detect::detect(configured)
    }

    pub fn name(&self) -> &'static str {
        self.family.name()
    }
}

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
