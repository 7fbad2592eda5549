//! What is around every process of a run: where programs are looked for, and an environment that holds nothing of the
//! agent's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetwright_protocol::CommandId;

use super::CannotRun;
use crate::accounts::{self, Account};
use crate::supervisor::spec::COMMAND_VARIABLE;

/// Where programs are looked for, whatever the agent's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables of a run: the few that every program may count on, then the operation's own. Never a variable of the
/// dynamic linker (refused by validation, and here once more because this is where it would matter).
pub fn environment<'a>(
    asked: impl Iterator<Item = (&'a String, &'a String)>,
    command_id: CommandId,
    account: Option<&Account>,
) -> Result<BTreeMap<String, String>, CannotRun> {
    let home = match account {
        Some(account) => account.home.clone(),
        None => own_home()?,
    };
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), home),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for (name, value) in asked {
        variables.insert(name.clone(), value.clone());
    }
    variables.retain(|name, _| !name.starts_with("LD_"));
    variables.insert(COMMAND_VARIABLE.to_owned(), command_id.to_string());
    Ok(variables)
}

/// Whether a run would find this program.
pub fn is_installed(program: &str) -> bool {
    PATH.split(':')
        .any(|folder| Path::new(folder).join(program).is_file())
}

pub fn text_of(path: PathBuf) -> Result<String, CannotRun> {
    path.into_os_string().into_string().map_err(|_| {
        CannotRun::Refused("the agent's data folder has a name that is not UTF-8".to_owned())
    })
}

fn own_home() -> Result<String, CannotRun> {
    // Asked once: the name service may be slow, and this process does not change accounts.
    static HOME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let account = accounts::own_account()
        .map_err(|error| CannotRun::because("cannot look up the agent's own account", &error))?;
    Ok(HOME.get_or_init(|| account.home).clone())
}
