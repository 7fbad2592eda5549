//! Which service manager a host has, and which words go with it.

use std::path::{Path, PathBuf};

use super::service::{Service, Step, Trouble, words};
use super::sysv::Registrar;
use super::{openrc, systemd, sysv};
use crate::config::ServiceManagerSetting;
use crate::operations::surroundings::is_installed;
use crate::operations::tools::Tools;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceManager {
    /// What stands before `systemctl`'s own arguments.
    Systemd {
        prefix: Vec<String>,
        /// The host's owner named the command, which may well get its rights from elsewhere.
        configured: bool,
    },
    OpenRc,
    Sysv {
        registrar: Registrar,
        etc: PathBuf,
    },
}

/// What can be seen of a host's service managers.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    runs_systemd: bool,
    runs_openrc: bool,
    has_service: bool,
    has_update_rc_d: bool,
    has_chkconfig: bool,
}

impl ServiceManager {
    /// The configured one, or the one this host was started by. An error says why there is none.
    pub fn detect(configured: Option<&ServiceManagerSetting>) -> Result<Self, String> {
        choose(configured, Signs::of_this_host())
    }

    /// Whether it works only for root.
    pub fn needs_root(&self) -> bool {
        match self {
            Self::Systemd { configured, .. } => !configured,
            Self::OpenRc | Self::Sysv { .. } => true,
        }
    }

    pub(super) fn find(
        &self,
        name: &str,
        asks_boot: bool,
        tools: &mut dyn Tools,
    ) -> Result<Service, Trouble> {
        match self {
            Self::Systemd { prefix, .. } => systemd::find(prefix, name, asks_boot, tools),
            Self::OpenRc => openrc::find(name, asks_boot, tools),
            Self::Sysv { registrar, etc } => sysv::find(*registrar, etc, name, asks_boot, tools),
        }
    }

    pub(super) fn commands(&self, step: Step, name: &str) -> Vec<Vec<String>> {
        match self {
            Self::Systemd { prefix, .. } => vec![systemd::command(prefix, step, name)],
            Self::OpenRc => vec![openrc::command(step, name)],
            Self::Sysv { registrar, .. } => sysv::commands(*registrar, step, name),
        }
    }
}

impl Signs {
    fn of_this_host() -> Self {
        Self {
            // The sign that systemd itself tells programs to look for.
            runs_systemd: Path::new("/run/systemd/system").is_dir(),
            runs_openrc: Path::new("/run/openrc").is_dir() && is_installed("rc-service"),
            has_service: is_installed("service"),
            has_update_rc_d: is_installed("update-rc.d"),
            has_chkconfig: is_installed("chkconfig"),
        }
    }
}

fn choose(
    configured: Option<&ServiceManagerSetting>,
    signs: Signs,
) -> Result<ServiceManager, String> {
    let systemd = || ServiceManager::Systemd {
        prefix: words(&["systemctl"]),
        configured: false,
    };
    let registrar = if signs.has_update_rc_d {
        Some(Registrar::UpdateRcD)
    } else if signs.has_chkconfig {
        Some(Registrar::Chkconfig)
    } else {
        None
    };
    let sysv = |registrar| ServiceManager::Sysv {
        registrar,
        etc: PathBuf::from("/etc"),
    };
    match configured {
        Some(ServiceManagerSetting::Command(words)) => Ok(ServiceManager::Systemd {
            prefix: words.clone(),
            configured: true,
        }),
        Some(ServiceManagerSetting::Systemd) => Ok(systemd()),
        Some(ServiceManagerSetting::OpenRc) => Ok(ServiceManager::OpenRc),
        Some(ServiceManagerSetting::Sysv) => Ok(sysv(registrar.unwrap_or(Registrar::UpdateRcD))),
        Some(ServiceManagerSetting::None) => {
            Err("this host's settings say that it has no service manager".to_owned())
        }
        None if signs.runs_systemd => Ok(systemd()),
        None if signs.runs_openrc => Ok(ServiceManager::OpenRc),
        None => match registrar.filter(|_| signs.has_service) {
            Some(registrar) => Ok(sysv(registrar)),
            None => Err("no service manager that is known runs on this host".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(found: &Result<ServiceManager, String>) -> String {
        match found {
            Ok(ServiceManager::Systemd { prefix, .. }) => prefix.join(" "),
            Ok(ServiceManager::OpenRc) => "openrc".to_owned(),
            Ok(ServiceManager::Sysv { registrar, .. }) => format!("{registrar:?}"),
            Err(_) => "none".to_owned(),
        }
    }

    #[test]
    fn settings_win_over_what_runs_and_what_runs_over_what_is_installed() {
        let bare = Signs::default();
        let debian = Signs {
            has_service: true,
            has_update_rc_d: true,
            ..bare
        };
        let systemd = Signs {
            runs_systemd: true,
            ..debian
        };
        let openrc = Signs {
            runs_openrc: true,
            ..debian
        };
        let redhat = Signs {
            has_service: true,
            has_chkconfig: true,
            ..bare
        };
        let only_links = Signs {
            has_service: false,
            ..debian
        };
        let command = ServiceManagerSetting::Command(vec!["/x".to_owned(), "y".to_owned()]);
        for (configured, signs, expected) in [
            (None, systemd, "systemctl"),
            (None, openrc, "openrc"),
            (None, debian, "UpdateRcD"),
            (None, redhat, "Chkconfig"),
            (None, only_links, "none"),
            (None, bare, "none"),
            (Some(ServiceManagerSetting::OpenRc), systemd, "openrc"),
            (Some(ServiceManagerSetting::Sysv), redhat, "Chkconfig"),
            (Some(ServiceManagerSetting::Systemd), openrc, "systemctl"),
            (Some(ServiceManagerSetting::None), systemd, "none"),
            (Some(command), systemd, "/x y"),
        ] {
            let found = choose(configured.as_ref(), signs);
            assert_eq!(name(&found), expected, "{configured:?} {signs:?}");
            assert_eq!(
                found.is_ok_and(|found| !found.needs_root()),
                matches!(configured, Some(ServiceManagerSetting::Command(_)))
            );
        }
    }
}
