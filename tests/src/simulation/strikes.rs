//! Faults strike: what goes wrong in the world, and its end.

use std::sync::atomic::Ordering;

use super::computer::Stage;
use super::faults::Fault;
use super::ledger::Broken;
use super::server::Server;
use super::world::{Event, SECOND_US, World};

impl World<'_> {
    pub async fn strike(&mut self, fault: Fault) -> Result<(), Broken> {
        self.note(|| format!("fault: {fault:?}"));
        self.summary.faults += 1;
        match fault {
            Fault::BreakLink(at) => self.break_links(at),
            Fault::CutOff(at) => {
                let long_us = self.choices.below(120_000_000) as i64;
                self.hosts[at].cut_off_until_us = self.now_us + long_us;
                self.break_links(at);
            }
            Fault::ServerCrash => self.crash_server(),
            Fault::AgentKill(at) => self.stop_agent(at, false),
            Fault::PowerCut(at) => self.stop_agent(at, true),
            Fault::Strike(at, power_cut) => {
                let writes = self.choices.below(6) as u32;
                let host = &mut self.hosts[at];
                if let Some(agent) = &mut host.agent {
                    agent.strike_is_power_cut = power_cut;
                    host.computer.inside().plate.strike_after = Some(writes);
                }
            }
            Fault::LoseDisk(at) => self.lose_disk(at),
            Fault::Stall(at) => {
                let long_us = self.choices.below(100_000_000) as i64;
                self.hosts[at].stalled_until_us = self.now_us + long_us;
            }
            Fault::DiskNearlyFull(at) => {
                self.hosts[at].computer.inside().plate.leaves_no_room = true;
            }
            Fault::DiskFull(at) => {
                let plate = &mut self.hosts[at].computer.inside().plate;
                (plate.is_full, plate.leaves_no_room) = (true, self.choices.one_in(2));
            }
            Fault::SyncFails(at) => self.hosts[at].computer.inside().plate.fails_sync = true,
            Fault::LoseSupervisor(at) => self.lose_supervisor(at),
            Fault::HostClock(at) => {
                let step_ms = self.choices.below(172_800_000) as i64 - 86_400_000;
                self.hosts[at].computer.inside().wall_offset_ms = step_ms;
            }
            Fault::ServerClock => self.set_server_clock(),
            Fault::Leave(at) => {
                self.stop_agent(at, true);
                self.hosts[at].is_gone = true;
            }
        }
        Ok(())
    }

    fn break_links(&mut self, at: usize) {
        let ids: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.host == at && !link.is_dead)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.break_link(id);
        }
    }

    fn crash_server(&mut self) {
        if self.server.take().is_none() {
            return;
        }
        (self.has_dispatch, self.has_reports) = (false, false);
        self.drop_server_ends();
        if self.choices.one_in(6) {
            self.set_server_clock();
        }
        self.soon(20_000_000, Event::ServerStart);
    }

    fn set_server_clock(&mut self) {
        let day_us = 86_400 * SECOND_US;
        let to_us = self.choices.below(2 * day_us.unsigned_abs()) as i64 - day_us;
        self.wall_set_by_us.store(to_us, Ordering::SeqCst);
        self.note(|| format!("the server's wall clock is {} s off", to_us / SECOND_US));
    }

    pub async fn start_server(&mut self) -> Result<(), Broken> {
        if self.server.is_some() {
            return Ok(());
        }
        let clock = self.clock();
        self.server = Some(Server::start(self.db, self.spool, clock).await);
        self.note(|| "the server begins".to_owned());
        self.look().await?;
        self.after_server().await
    }

    fn lose_disk(&mut self, at: usize) {
        let open: Vec<_> = self
            .ledger
            .rows
            .values()
            .filter(|row| row.host_id == self.hosts[at].id && !row.status.is_terminal())
            .map(|row| row.set_id)
            .collect();
        self.ledger.loose.extend(open);
        let power_cut = self.choices.one_in(2);
        self.stop_agent(at, power_cut);
        self.hosts[at].computer.inside().lose_disk();
    }

    fn lose_supervisor(&mut self, at: usize) {
        let found = {
            let mut inside = self.hosts[at].computer.inside();
            let key = inside
                .running
                .iter()
                .find(|(_, running)| matches!(running.stage, Stage::Running))
                .map(|(key, _)| *key);
            key.and_then(|key| Some((key, inside.running.remove(&key)?)))
        };
        if let Some((key, running)) = found
            && running.heard
        {
            let life = self.hosts[at].lives;
            self.soon(500_000, Event::GiveUp(at, key, life));
        }
    }

    /// No more faults: what is not gone for good comes back, and what was held is let go.
    pub async fn heal(&mut self) -> Result<(), Broken> {
        self.note(|| "faults stop".to_owned());
        self.is_healed = true;
        self.healed_us = self.now_us;
        if self.server.is_none() {
            self.after(0, Event::ServerStart);
        }
        for at in 0..self.hosts.len() {
            let broken = {
                let host = &mut self.hosts[at];
                host.stalled_until_us = self.now_us;
                host.cut_off_until_us = self.now_us;
                let plate = &mut host.computer.inside().plate;
                plate.strike_after = None;
                (plate.is_full, plate.leaves_no_room) = (false, false);
                std::mem::take(&mut plate.fails_sync)
            };
            // A journal that could not be synced is read anew.
            if broken {
                self.stop_agent(at, false);
            } else {
                self.after(SECOND_US, Event::AgentStart(at));
                self.after(SECOND_US, Event::Connect(at));
            }
        }
        self.operations_left = self.operations_left.min(1);
        self.let_go().await
    }
}
