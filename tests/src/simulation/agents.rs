//! Agents: the real core and journal of each, turn by turn, and the processes of its runs around it.

use std::collections::{BTreeMap, VecDeque};

use fleetwright_agent::core::{self, Core, Input, Settings};
use fleetwright_agent::journal::JournalStore;
use fleetwright_agent::journal::store::Opened;
use fleetwright_agent::operations::ending;
use fleetwright_agent::run::RunEvent;
use fleetwright_agent::supervisor::exit_record::{Ending, ExitRecord};
use fleetwright_protocol::outcome::FailureReason;
use fleetwright_protocol::{CommandId, NotStartedReason, Outcome, ServerFrame};
use uuid::Uuid;

use super::computer::{RunKey, Stage, Wish, Word, run};
use super::ledger::Broken;
use super::open_plate::OpenPlate;
use super::world::{Agent, Event, Mail, SECOND_US, World};

const TICK_US: i64 = 5 * SECOND_US;

/// A command's time to start begins when its agent first takes it.
fn note_lease(ends_us: &mut BTreeMap<RunKey, i64>, input: &Input, now_us: i64) {
    let Input::Frame(frame) = input else { return };
    if let ServerFrame::Command(command) = frame.as_ref() {
        let lease_ms = command.start_within_ms.min(command.ttl_ms);
        let key = (command.command_id, command.attempt);
        let lease_us = i64::try_from(lease_ms)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000);
        ends_us
            .entry(key)
            .or_insert(now_us.saturating_add(lease_us));
    }
}

impl World<'_> {
    /// An agent's process begins on a machine that has none.
    pub async fn start_agent(&mut self, at: usize) -> Result<(), Broken> {
        let journal_id = Uuid::from_u128(u128::from(self.choices.draw()) << 64 | 1);
        let strikes = self.choices.one_in(12);
        let strike_after = self.choices.below(3) as u32;
        let host = &mut self.hosts[at];
        if host.agent.is_some() || host.is_gone {
            return Ok(());
        }
        host.lives += 1;
        let (life, computer) = (host.lives, host.computer.clone());
        let unix_ms = {
            let mut inside = computer.inside();
            inside.plate.lift_strike();
            if strikes {
                inside.plate.strike_after = Some(strike_after);
            }
            inside.unix_ms()
        };
        let opened = JournalStore::open_on(Box::new(OpenPlate::of(&computer)), journal_id, unix_ms);
        let (journal, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.note(|| format!("host {at}: the agent cannot begin: {error}"));
                self.soon(10_000_000, Event::AgentStart(at));
                return Ok(());
            }
        };
        if let Opened::Replaced(damage) = &opened {
            return super::ledger::broken(format!("an intact disk's journal is damaged: {damage}"));
        }
        let host = &mut self.hosts[at];
        let settings = Settings {
            concurrency: host.concurrency,
            boot_id: computer.inside().boot_id(),
            machine_id: format!("machine-{at}"),
            tags: Vec::new(),
            attributes: Default::default(),
        };
        let mut core = Core::new(settings, computer.hands(), journal);
        core.settle().await;
        self.hosts[at].agent = Some(Agent {
            core,
            life,
            mail: VecDeque::new(),
            has_turn: false,
            lease_ends_us: BTreeMap::new(),
            strike_is_power_cut: false,
        });
        self.note(|| format!("host {at}: agent {life} begins: {opened:?}"));
        self.after_turn(at).await?;
        self.soon(3_000_000, Event::Connect(at));
        self.after(TICK_US, Event::Tick(at, life));
        Ok(())
    }

    pub fn mail(&mut self, at: usize, mail: Mail) {
        let Some(agent) = &mut self.hosts[at].agent else {
            return;
        };
        agent.mail.push_back(mail);
        self.want_turn(at);
    }

    fn want_turn(&mut self, at: usize) {
        let patience = if self.choices.one_in(30) {
            2_000_000
        } else {
            10_000
        };
        let host = &mut self.hosts[at];
        let rest_us = (host.stalled_until_us - self.now_us).max(0);
        if let Some(agent) = &mut host.agent
            && !std::mem::replace(&mut agent.has_turn, true)
        {
            let delay_us = rest_us + self.choices.below(patience) as i64;
            self.after(delay_us, Event::Turn(at));
        }
    }

    /// The core takes what has come.
    pub async fn turn(&mut self, at: usize) -> Result<(), Broken> {
        let now_us = self.now_us;
        let most = 1 + self.choices.below(8);
        let host = &mut self.hosts[at];
        let Some(agent) = &mut host.agent else {
            return Ok(());
        };
        agent.has_turn = false;
        if host.stalled_until_us > now_us {
            self.want_turn(at);
            return Ok(());
        }
        let mut inputs = Vec::new();
        let event = loop {
            match agent.mail.pop_front() {
                Some(Mail::Input(input)) => {
                    note_lease(&mut agent.lease_ends_us, &input, now_us);
                    inputs.push(input);
                }
                Some(Mail::Connected(input, frames)) => {
                    host.computer.inside().frames = Some(frames);
                    inputs.push(input);
                    break core::Event::Inputs(inputs);
                }
                Some(Mail::Run(event)) if inputs.is_empty() => break core::Event::Run(event),
                Some(Mail::Run(event)) => {
                    agent.mail.push_front(Mail::Run(event));
                    break core::Event::Inputs(inputs);
                }
                None if inputs.is_empty() => break core::Event::LeaseLook,
                None => break core::Event::Inputs(inputs),
            }
            if inputs.len() as u64 >= most {
                break core::Event::Inputs(inputs);
            }
        };
        agent.core.turn(event).await;
        self.after_turn(at).await?;
        let more = self.hosts[at]
            .agent
            .as_ref()
            .is_some_and(|agent| !agent.mail.is_empty());
        if more {
            self.want_turn(at);
        }
        Ok(())
    }

    pub async fn tick(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        let now_us = self.now_us;
        let host = &mut self.hosts[at];
        let Some(agent) = host.agent.as_mut().filter(|agent| agent.life == life) else {
            return Ok(());
        };
        if host.stalled_until_us <= now_us {
            agent.core.turn(core::Event::Tick).await;
            self.after_turn(at).await?;
        }
        self.after(TICK_US, Event::Tick(at, life));
        // The core looks at leases each second while something waits.
        self.want_turn(at);
        Ok(())
    }

    /// What the core has said and asked for is carried out; unless it was stopped in the middle of it.
    async fn after_turn(&mut self, at: usize) -> Result<(), Broken> {
        let computer = self.hosts[at].computer.clone();
        let (struck, said) = {
            let mut inside = computer.inside();
            let struck = inside.is_struck();
            if !struck {
                inside.hear_words();
            }
            (struck, inside.frames_said)
        };
        self.gather_said(at, struck.then_some(said));
        self.grant(at)?;
        if struck {
            let power_cut = self.hosts[at]
                .agent
                .as_ref()
                .is_some_and(|agent| agent.strike_is_power_cut);
            self.note(|| format!("host {at}: stopped in the middle of a write"));
            self.stop_agent(at, power_cut);
            return Ok(());
        }
        self.kill_what_must_die(at);
        let ends = self.hosts[at]
            .agent
            .as_ref()
            .is_some_and(|agent| !agent.core.has_journal());
        if ends {
            self.note(|| format!("host {at}: its journal is lost"));
            self.stop_agent(at, false);
        }
        Ok(())
    }

    /// Carries out what the core wished for.
    fn grant(&mut self, at: usize) -> Result<(), Broken> {
        let (wishes, words) = {
            let mut inside = self.hosts[at].computer.inside();
            (
                std::mem::take(&mut inside.wishes),
                std::mem::take(&mut inside.words),
            )
        };
        let life = self.hosts[at].lives;
        for wish in wishes {
            match wish {
                Wish::Begun(key, serial) => {
                    let inside = self.hosts[at].computer.inside();
                    let in_process = inside
                        .running
                        .get(&key)
                        .is_some_and(|running| matches!(running.stage, Stage::InProcess));
                    drop(inside);
                    if in_process {
                        self.soon(20_000, Event::Change(at, key, serial));
                    } else {
                        let slow = self.choices.one_in(25);
                        let patience = if slow { 90_000_000 } else { 200_000 };
                        self.soon(patience, Event::Launch(at, key, serial));
                    }
                }
                Wish::Adopted(key) => {
                    let name = self.ledger.name(key.0);
                    self.note(|| format!("host {at}: {name} is adopted"));
                }
                Wish::GiveUp(key) => self.soon(500_000, Event::GiveUp(at, key, life)),
                Wish::ClearUp(key) => self.soon(500_000, Event::ClearUp(at, key)),
            }
        }
        for word in words {
            match word {
                Word::Go(key, serial) => {
                    self.is_leased(at, key)?;
                    self.soon(30_000, Event::Begin(at, key, serial));
                }
                Word::Stay(key, reason) => {
                    self.hosts[at].computer.inside().running.remove(&key);
                    let run = run(key);
                    self.tell_soon(at, RunEvent::NotStarted { run, reason });
                }
            }
        }
        Ok(())
    }

    /// The server counts on it that nothing is let go after its lease: by then it has given the slot to another host.
    fn is_leased(&mut self, at: usize, key: RunKey) -> Result<(), Broken> {
        let agent = self.hosts[at].agent.as_ref();
        let ends_us = agent.and_then(|agent| agent.lease_ends_us.get(&key).copied());
        // One taken over from an earlier life was let go by that one, or its lease is not known any more.
        let late_us = ends_us.map_or(0, |ends_us| self.now_us - ends_us);
        if late_us > 0 {
            let (name, late_ms) = (self.ledger.name(key.0), late_us / 1_000);
            return super::ledger::broken(format!("{name} is let go {late_ms} ms late (I6)"));
        }
        Ok(())
    }

    fn tell_soon(&mut self, at: usize, event: RunEvent) {
        let life = self.hosts[at].lives;
        self.soon(20_000, Event::Tell(at, life, event));
    }

    /// A message of a run comes to the life of the agent it was for.
    pub fn tell(&mut self, at: usize, life: u64, event: RunEvent) {
        let lives = self.hosts[at]
            .agent
            .as_ref()
            .is_some_and(|agent| agent.life == life);
        if lives {
            self.mail(at, Mail::Run(event));
        }
    }

    pub fn launch(&mut self, at: usize, key: RunKey, serial: u64) {
        if !self.is_at(at, key, serial) {
            return;
        }
        let killed = self.is_kill_wanted(at, key);
        let mut inside = self.hosts[at].computer.inside();
        let event = if killed {
            inside.running.remove(&key);
            let reason = NotStartedReason::Cancelled;
            Some(RunEvent::NotStarted {
                run: run(key),
                reason,
            })
        } else {
            inside.launch(key)
        };
        drop(inside);
        if let Some(event) = event {
            self.tell_soon(at, event);
        }
    }

    /// A supervisor has its word, and the script starts.
    pub fn begin(&mut self, at: usize, key: RunKey, serial: u64) -> Result<(), Broken> {
        if !self.is_at(at, key, serial) {
            return Ok(());
        }
        let (timeout_us, killing) = {
            let mut inside = self.hosts[at].computer.inside();
            let Some(running) = inside.running.get_mut(&key) else {
                return Ok(());
            };
            if !matches!(running.stage, Stage::Told) {
                return Ok(());
            }
            running.stage = Stage::Running;
            (running.timeout_seconds as i64 * SECOND_US, running.killing)
        };
        self.note_start(at, key)?;
        let duration_us = match self.choices.below(8) {
            0 => i64::MAX,
            1 | 2 => self.choices.below(60_000_000) as i64,
            _ => self.choices.below(4_000_000) as i64,
        };
        let code = i32::from(self.choices.one_in(4));
        if killing {
            self.soon(300_000, Event::End(at, key, serial, Ending::Cancelled));
        } else if duration_us >= timeout_us {
            self.after(timeout_us, Event::End(at, key, serial, Ending::TimedOut));
        } else {
            self.after(
                duration_us,
                Event::End(at, key, serial, Ending::Exited { code }),
            );
        }
        Ok(())
    }

    /// A run inside the agent does what it does.
    pub fn change(&mut self, at: usize, key: RunKey, serial: u64) -> Result<(), Broken> {
        if !self.is_at(at, key, serial) {
            return Ok(());
        }
        if self.is_kill_wanted(at, key) {
            self.hosts[at].computer.inside().running.remove(&key);
            let outcome = Outcome::failed(FailureReason::Cancelled, "before anything was replaced");
            self.tell_soon(at, RunEvent::ended(run(key), outcome));
            return Ok(());
        }
        if let Some(running) = self.hosts[at].computer.inside().running.get_mut(&key) {
            running.stage = Stage::Changed;
        }
        self.note_start(at, key)?;
        self.soon(
            100_000,
            Event::End(at, key, serial, Ending::Exited { code: 0 }),
        );
        Ok(())
    }

    fn note_start(&mut self, at: usize, key: RunKey) -> Result<(), Broken> {
        let (command_id, attempt) = key;
        let name = self.ledger.name(command_id);
        self.note(|| format!("host {at}: {name} starts, attempt {attempt}"));
        let running: Vec<CommandId> = self
            .hosts
            .iter()
            .filter(|host| !host.is_out)
            .flat_map(|host| {
                let inside = host.computer.inside();
                let truly = inside.running.iter().filter(|(_, running)| {
                    matches!(running.stage, Stage::Running | Stage::Changed)
                });
                truly.map(|((id, _), _)| *id).collect::<Vec<_>>()
            })
            .filter(|id| self.ledger.rows.contains_key(id))
            .collect();
        let host = self.hosts[at].id;
        self.ledger.started(command_id, attempt, host, &running)
    }

    pub fn end(&mut self, at: usize, key: RunKey, serial: u64, ending: Ending) {
        if !self.is_at(at, key, serial) {
            return;
        }
        let name = self.ledger.name(key.0);
        self.note(|| format!("host {at}: {name} ends: {ending:?}"));
        let mut inside = self.hosts[at].computer.inside();
        let in_process = inside
            .running
            .get(&key)
            .is_some_and(|running| matches!(running.stage, Stage::Changed));
        let Some((heard, record)) = inside.end(key, ending) else {
            return;
        };
        if in_process && let Some(record) = inside.folders.get_mut(&key) {
            *record = None;
        }
        drop(inside);
        if record.ending == (Ending::Exited { code: 0 }) {
            self.ledger.ended_well(key.0, key.1);
        }
        if heard {
            let event = conclusion(key, record);
            self.tell_soon(at, event);
        }
    }

    /// Nobody knows what became of a run; what is left of it is ended.
    pub fn give_up(&mut self, at: usize, key: RunKey, life: u64) {
        self.hosts[at].computer.inside().running.remove(&key);
        let outcome = Outcome::failed(FailureReason::OutcomeUnknown, "the run was lost");
        self.tell(at, life, RunEvent::ended(run(key), outcome));
    }

    pub fn clear_up(&mut self, at: usize, key: RunKey) {
        let mut inside = self.hosts[at].computer.inside();
        inside.running.remove(&key);
        inside.folders.remove(&key);
    }

    fn kill_what_must_die(&mut self, at: usize) {
        let mut killed = Vec::new();
        for (key, running) in &mut self.hosts[at].computer.inside().running {
            let wanted = running.kill.as_ref().is_some_and(|kill| *kill.borrow());
            if wanted && !running.killing {
                running.killing = true;
                if matches!(running.stage, Stage::Running) {
                    killed.push((*key, running.serial));
                }
            }
        }
        for (key, serial) in killed {
            self.soon(300_000, Event::End(at, key, serial, Ending::Cancelled));
        }
    }

    fn is_kill_wanted(&self, at: usize, key: RunKey) -> bool {
        let inside = self.hosts[at].computer.inside();
        let kill = inside
            .running
            .get(&key)
            .and_then(|running| running.kill.as_ref());
        kill.is_some_and(|kill| *kill.borrow())
    }

    fn is_at(&self, at: usize, key: RunKey, serial: u64) -> bool {
        let inside = self.hosts[at].computer.inside();
        inside
            .running
            .get(&key)
            .is_some_and(|running| running.serial == serial)
    }

    /// The agent's process is gone, or the whole machine.
    pub fn stop_agent(&mut self, at: usize, power_cut: bool) {
        let computer = self.hosts[at].computer.clone();
        let mut waiting = Vec::new();
        {
            let mut inside = computer.inside();
            if power_cut {
                inside.power_cut();
            } else {
                inside.agent_dies();
                for (key, running) in &inside.running {
                    match running.stage {
                        Stage::Waiting(_) | Stage::Told => waiting.push((*key, running.serial)),
                        Stage::Preparing | Stage::Running | Stage::InProcess | Stage::Changed => {}
                    }
                }
            }
            inside.plate.lift_strike();
        }
        for (key, serial) in waiting {
            self.leave_waiting(at, key, serial);
        }
        if self.hosts[at].agent.take().is_none() && !power_cut {
            return;
        }
        self.drop_agent_end(at, power_cut);
        let what = if power_cut {
            "power cut"
        } else {
            "the agent is killed"
        };
        self.note(|| format!("host {at}: {what}"));
        let patience = if power_cut { 60_000_000 } else { 10_000_000 };
        self.soon(patience, Event::AgentStart(at));
    }

    /// A supervisor whose agent is gone: it has its word already, or ends without it.
    fn leave_waiting(&mut self, at: usize, key: RunKey, serial: u64) {
        let told = {
            let inside = self.hosts[at].computer.inside();
            let running = inside.running.get(&key);
            running.is_some_and(|running| matches!(running.stage, Stage::Told))
        };
        if told && self.choices.one_in(2) {
            return;
        }
        if let Some(running) = self.hosts[at].computer.inside().running.get_mut(&key) {
            // Whatever was on its way to it is lost.
            let (_, word) = tokio::sync::oneshot::channel();
            running.stage = Stage::Waiting(word);
        }
        self.soon(200_000, Event::End(at, key, serial, Ending::NeverStarted));
    }
}

fn conclusion(key: RunKey, record: ExitRecord) -> RunEvent {
    let run = run(key);
    match ending::outcome(record) {
        Some(outcome) => RunEvent::ended(run, outcome),
        None => RunEvent::NotStarted {
            run,
            reason: NotStartedReason::AgentRestarted,
        },
    }
}
