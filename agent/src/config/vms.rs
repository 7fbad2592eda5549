//! `[vms]`: how the agent learns which virtual machines run here.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VmsSettings {
    pub source: VmsSource,
    /// A folder of `<vm-id>.pid`, each with the number of the process that runs the machine.
    pub pid_dir: Option<PathBuf>,
    /// A program and its arguments that prints the machines.
    pub command: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmsSource {
    /// libvirt where there is one; else nothing is known.
    #[default]
    Auto,
    Libvirt,
    PidDir,
    Command,
    /// Nothing is known, and nothing is looked at.
    None,
}

impl VmsSettings {
    /// What is missing or makes no sense, in a line.
    pub(super) fn check(&self) -> Result<(), String> {
        let refuse = |why: &str| Err(why.to_owned());
        let is_relative = |folder: &PathBuf| !folder.is_absolute();
        if self.pid_dir.as_ref().is_some_and(is_relative) {
            return refuse("holds a `pid_dir` that is not an absolute path");
        }
        let is_no_command = |words: &Vec<String>| words.first().is_none_or(String::is_empty);
        if self.command.as_ref().is_some_and(is_no_command) {
            return refuse("holds an empty command");
        }
        match self.source {
            VmsSource::PidDir if self.pid_dir.is_none() => {
                refuse("has the source `pid_dir` and no `pid_dir`, the folder to look in")
            }
            VmsSource::Command if self.command.is_none() => {
                refuse("has the source `command` and no `command` to run")
            }
            VmsSource::Auto
            | VmsSource::Libvirt
            | VmsSource::PidDir
            | VmsSource::Command
            | VmsSource::None => Ok(()),
        }
    }
}
