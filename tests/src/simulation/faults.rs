//! What can go wrong, and how often each of it does. What then happens is in `strikes`.

use crate::seed::Choices;

/// One thing that goes wrong. Numbers name hosts.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    BreakLink(usize),
    /// No new connections for a while, and the one there is breaks.
    CutOff(usize),
    ServerCrash,
    AgentKill(usize),
    PowerCut(usize),
    /// In the middle of a write soon: the agent, or the machine.
    Strike(usize, bool),
    LoseDisk(usize),
    Stall(usize),
    DiskNearlyFull(usize),
    DiskFull(usize),
    SyncFails(usize),
    /// A supervisor is killed, with its script.
    LoseSupervisor(usize),
    /// The host's wall clock steps.
    HostClock(usize),
    /// The server's does, while it runs or not.
    ServerClock,
    Leave(usize),
}

impl Fault {
    pub fn any(choices: &mut Choices, hosts: usize) -> Self {
        let host = choices.below(hosts as u64) as usize;
        match choices.below(30) {
            0..=4 => Self::BreakLink(host),
            5 | 6 => Self::CutOff(host),
            7..=10 => Self::ServerCrash,
            11..=13 => Self::AgentKill(host),
            14..=16 => Self::PowerCut(host),
            17..=20 => Self::Strike(host, choices.one_in(2)),
            21 => Self::LoseDisk(host),
            22 => Self::Stall(host),
            23 => Self::DiskNearlyFull(host),
            24 => Self::DiskFull(host),
            25 => Self::SyncFails(host),
            26 => Self::LoseSupervisor(host),
            27 | 28 => Self::ServerClock,
            _ if choices.one_in(4) => Self::Leave(host),
            _ => Self::HostClock(host),
        }
    }
}
