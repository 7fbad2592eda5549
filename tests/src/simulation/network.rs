//! Connections: frames on their way, in order and late; ends that notice a break early, late, or only when a newer
//! connection takes their place.

use std::collections::VecDeque;
use std::sync::Arc;

use fleetwright_agent::core::Input;
use fleetwright_protocol::close::IDENTITY_CONFLICT;
use fleetwright_protocol::{AgentFrame, CommandId, Facts, ServerFrame};
use fleetwright_server::agents::conversation::{Ending, greet, leave, take};
use fleetwright_server::hosts::conflicts::Visitor;
use tokio::sync::mpsc;

use super::ledger::{Broken, broken};
use super::links::{Link, LinkId};
use super::server::ISSUED;
use super::world::{Event, Mail, SECOND_US, World};

/// Later than this the server's allowance for a command on its way is used up.
const LATE_US: i64 = 28 * SECOND_US;
const SILENCE_US: i64 = 45 * SECOND_US;

impl World<'_> {
    /// The agent dials in.
    pub async fn connect(&mut self, at: usize) -> Result<(), Broken> {
        let host = &self.hosts[at];
        let Some(agent) = &host.agent else {
            return Ok(());
        };
        let (life, id) = (agent.life, host.id);
        let has_one = self
            .links
            .values()
            .any(|link| link.host == at && link.agent_end);
        if has_one {
            return Ok(());
        }
        let cut_off = host.cut_off_until_us > self.now_us;
        let server = self.server.as_ref().filter(|_| !cut_off);
        let Some(server) = server.filter(|server| server.context.hosts.registry().is_admitted(id))
        else {
            self.soon(10_000_000, Event::Connect(at));
            return Ok(());
        };
        let (connection, inbox) = server.connections.prepare(id, self.now_us);
        let (control, said) = mpsc::channel(1_024);
        let (output, _) = mpsc::channel(1);
        let link = Link {
            host: at,
            host_id: id,
            connection,
            inbox,
            said,
            life,
            agent_end: true,
            server_end: true,
            is_dead: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            last_command: None,
            up_at_us: 0,
            down_at_us: 0,
            said_hello: false,
            heard_us: self.now_us,
        };
        let link_id = self.summary.events;
        let session = host.computer.inside().begin_session(link_id);
        self.links.insert(link_id, link);
        self.note(|| format!("host {at} connects: link {link_id}"));
        let input = Input::Connected {
            control: control.clone(),
            output,
            facts: Box::new(Facts::default()),
            session: Some(session),
        };
        self.mail(at, Mail::Connected(input, control));
        self.after_server().await
    }

    /// Takes what the agents have said onto the network.
    pub fn gather_said(&mut self, at: usize, limit: Option<usize>) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            if link.host != at {
                continue;
            }
            let mut frames = Vec::new();
            while frames.len() < limit.unwrap_or(usize::MAX)
                && let Ok(frame) = link.said.try_recv()
            {
                frames.push(frame);
            }
            while link.said.try_recv().is_ok() {}
            for frame in frames {
                self.send_up(id, frame);
            }
        }
    }

    fn send_up(&mut self, id: LinkId, frame: AgentFrame) {
        let delay = self.delay();
        let again = self.choices.one_in(40);
        let now_us = self.now_us;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.is_dead || !link.agent_end {
            return;
        }
        let is_hello = matches!(frame, AgentFrame::Hello(_));
        link.up_at_us = link.up_at_us.max(now_us + delay);
        let (at_us, text) = (link.up_at_us, shown_up(&frame));
        link.up.push_back(frame.clone());
        // An agent that says something twice.
        let twice = again && !is_hello;
        if twice {
            link.up.push_back(frame);
        }
        let named = self.named(&text);
        self.note(|| format!("link {id} up: {named}{}", if twice { " twice" } else { "" }));
        for _ in 0..=u32::from(twice) {
            self.after(at_us - now_us, Event::Up(id));
        }
    }

    pub async fn arrive_at_server(&mut self, id: LinkId) -> Result<(), Broken> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        let Some(frame) = link.up.pop_front().filter(|_| link.server_end) else {
            return Ok(());
        };
        let connection = Arc::clone(&link.connection);
        let first = !std::mem::replace(&mut link.said_hello, true);
        let Some(server) = &self.server else {
            return Ok(());
        };
        connection.heard(self.now_us);
        let address = format!("host-{}", link.host);
        let context = server.context.clone();
        // As it comes over the wire.
        let text = serde_json::to_string(&frame).expect("a frame can be written");
        let frame = serde_json::from_str(&text).expect("and read");
        let done = match frame {
            AgentFrame::Hello(hello) if first => {
                let visitor = Visitor::of_hello(address, ISSUED, &hello);
                greet(*hello, &connection, visitor, &context).await
            }
            other => take(other, &connection, &context).await,
        };
        if let Err(ending) = done {
            self.note(|| format!("link {id}: the server ends it: {}", ending.reason));
            if ending.reason == IDENTITY_CONFLICT {
                return broken("one machine is taken for two".to_owned());
            }
            self.close_server_end(id, &ending).await;
        }
        self.look().await?;
        self.after_server().await
    }

    /// What follows whenever the server has done something: frames leave, connections that are over end, work waits.
    pub async fn after_server(&mut self) -> Result<(), Broken> {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.send_down(id)?;
            let over = self
                .links
                .get(&id)
                .is_some_and(|link| link.server_end && link.connection.is_over());
            if over {
                self.end_over(id).await?;
            }
        }
        if !self.has_dispatch && self.server.is_some() {
            self.has_dispatch = true;
            let patience = if self.choices.one_in(20) {
                3_000_000
            } else {
                20_000
            };
            self.soon(patience, Event::Dispatch);
        }
        let waiting = self
            .server
            .as_ref()
            .is_some_and(|server| server.work.reports_waiting() > 0);
        if waiting && !self.has_reports {
            self.has_reports = true;
            let patience = if self.choices.one_in(20) {
                5_000_000
            } else {
                20_000
            };
            self.soon(patience, Event::Reports);
        }
        Ok(())
    }

    /// A connection that the server has cut, or replaced by a newer one. Its task may be in the middle of a frame.
    async fn end_over(&mut self, id: LinkId) -> Result<(), Broken> {
        if self.choices.one_in(3)
            && let Some(link) = self.links.get_mut(&id)
            && link.said_hello
            && let Some(frame) = link.up.pop_front()
            && let Some(server) = &self.server
        {
            let (connection, context) = (Arc::clone(&link.connection), server.context.clone());
            // Whatever it answers, the connection is over.
            let _ = take(frame, &connection, &context).await;
            self.note(|| format!("link {id}: a last frame is taken"));
        }
        let Some(link) = self.links.get(&id) else {
            return Ok(());
        };
        let cut = link.connection.until_cut().await;
        self.note(|| format!("link {id}: cut: {}", cut.reason));
        self.close_server_end(id, &Ending::of_cut(cut)).await;
        Ok(())
    }

    async fn close_server_end(&mut self, id: LinkId, ending: &Ending) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.server_end = false;
        link.up.clear();
        let (connection, dead) = (Arc::clone(&link.connection), link.is_dead);
        if let Some(server) = &self.server {
            let context = server.context.clone();
            leave(&connection, &context, ending).await;
        }
        // A dead network does not carry the farewell either.
        let patience = if dead { SILENCE_US } else { 2 * SECOND_US };
        self.soon(patience.cast_unsigned(), Event::AgentNotices(id));
    }

    fn send_down(&mut self, id: LinkId) -> Result<(), Broken> {
        loop {
            let (delay, again) = (self.delay(), self.choices.one_in(12));
            let (now_us, lease_us) = (self.now_us, self.lease_us());
            let Some(link) = self.links.get_mut(&id) else {
                return Ok(());
            };
            let Ok(text) = link.inbox.try_recv() else {
                return Ok(());
            };
            let frame: ServerFrame = serde_json::from_str(&text).expect("a frame of ours");
            let host_id = link.host_id;
            let lost = link.is_dead || !link.server_end;
            link.down_at_us = link.down_at_us.max(now_us + delay);
            let at_us = link.down_at_us;
            let mut copies = vec![text.clone()];
            if matches!(frame, ServerFrame::Command(_)) {
                link.last_command = Some(text);
            }
            // A command that comes again, at once or when it is long over, is answered from the journal.
            copies.extend(link.last_command.clone().filter(|_| again));
            if lost {
                copies.clear();
            }
            let count = copies.len();
            link.down
                .extend(copies.into_iter().map(|text| (text, now_us)));
            let named = self.named(&shown_down(&frame));
            self.note(|| match count {
                0 => format!("link {id} down: {named} (lost)"),
                1 => format!("link {id} down: {named}"),
                _ => format!("link {id} down: {named} (and the last command again)"),
            });
            for _ in 0..count {
                self.after(at_us - now_us, Event::Down(id));
            }
            if let ServerFrame::Command(command) = &frame {
                let (id, attempt) = (command.command_id, command.attempt);
                self.ledger.sent(id, attempt, host_id, lease_us)?;
            }
        }
    }

    pub fn arrive_at_agent(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some((text, sent_us)) = link.down.pop_front().filter(|_| link.agent_end) else {
            return;
        };
        link.heard_us = self.now_us;
        let at = link.host;
        let frame: ServerFrame = serde_json::from_str(&text).expect("a frame of ours");
        if matches!(frame, ServerFrame::Welcome { .. }) {
            self.hosts[at].computer.inside().sessions.was_welcomed = true;
        }
        let late_us = self.now_us.max(self.hosts[at].stalled_until_us) - sent_us;
        if late_us > LATE_US
            && let ServerFrame::Command(command) = &frame
        {
            self.loosen(command.command_id);
        }
        self.mail(at, Mail::Input(Input::Frame(Box::new(frame))));
    }

    /// The slot of such a command may be given up while it runs.
    pub fn loosen(&mut self, id: CommandId) {
        if let Some(row) = self.ledger.rows.get(&id) {
            self.ledger.loose.insert(row.set_id);
        }
    }

    /// The agent finds its connection ended, and dials again some time later.
    pub fn agent_notices(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut link.agent_end, false) {
            return;
        }
        link.down.clear();
        let (at, life) = (link.host, link.life);
        if !link.server_end {
            self.links.remove(&id);
        }
        self.note(|| format!("link {id}: the agent finds it ended"));
        let lives = self.hosts[at]
            .agent
            .as_ref()
            .is_some_and(|agent| agent.life == life);
        if lives {
            self.mail(at, Mail::Input(Input::Disconnected));
            self.soon(8_000_000, Event::Connect(at));
        }
    }

    pub async fn server_notices(&mut self, id: LinkId) -> Result<(), Broken> {
        if self.server.is_none() || !self.links.get(&id).is_some_and(|link| link.server_end) {
            return Ok(());
        }
        self.note(|| format!("link {id}: the server finds it broken"));
        let ending = Ending::of_gone_host(1001, "the connection broke");
        self.close_server_end(id, &ending).await;
        self.after_server().await
    }

    /// The network under a link breaks. What is on its way arrives in part; each end notices in its own time.
    pub fn break_link(&mut self, id: LinkId) {
        let (up, down) = (self.choices.draw(), self.choices.draw());
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.is_dead = true;
        link.up.truncate((up % (link.up.len() as u64 + 1)) as usize);
        link.down
            .truncate((down % (link.down.len() as u64 + 1)) as usize);
        let patience = |quick: bool| {
            if quick {
                2_000_000
            } else {
                SILENCE_US.cast_unsigned()
            }
        };
        let (agent, server) = (self.choices.one_in(2), self.choices.one_in(2));
        self.soon(patience(agent), Event::AgentNotices(id));
        self.soon(patience(server), Event::ServerNotices(id));
    }

    /// The process at the agent's end is gone.
    pub fn drop_agent_end(&mut self, at: usize, with_machine: bool) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let part = self.choices.draw();
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            if link.host != at || !link.agent_end {
                continue;
            }
            link.agent_end = false;
            link.is_dead = true;
            link.down.clear();
            link.up
                .truncate((part % (link.up.len() as u64 + 1)) as usize);
            let server_end = link.server_end;
            if !server_end {
                self.links.remove(&id);
                continue;
            }
            let patience = if with_machine {
                SILENCE_US.cast_unsigned()
            } else {
                1_000_000
            };
            self.soon(patience, Event::ServerNotices(id));
        }
    }

    /// The server's process is gone.
    pub fn drop_server_ends(&mut self) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let part = self.choices.draw();
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            link.server_end = false;
            link.up.clear();
            link.down
                .truncate((part % (link.down.len() as u64 + 1)) as usize);
            link.is_dead = true;
            if link.agent_end {
                self.soon(2_000_000, Event::AgentNotices(id));
            } else {
                self.links.remove(&id);
            }
        }
    }

    /// Pings, as far as the network lives.
    pub fn ping(&mut self) {
        for link in self.links.values_mut() {
            let stalled = self.hosts[link.host].stalled_until_us > self.now_us;
            if !link.is_dead && link.server_end && link.agent_end && !stalled {
                link.connection.heard(self.now_us);
                link.heard_us = self.now_us;
            }
        }
    }

    fn delay(&mut self) -> i64 {
        let max = if self.choices.one_in(8) {
            self.delay_us_max
        } else {
            3_000
        };
        1 + self.choices.below(max) as i64
    }

    fn named(&mut self, shown: &(String, Option<CommandId>)) -> String {
        match shown {
            (text, Some(id)) => format!("{text} {}", self.ledger.name(*id)),
            (text, None) => text.clone(),
        }
    }
}

fn shown_up(frame: &AgentFrame) -> (String, Option<CommandId>) {
    match frame {
        AgentFrame::Hello(hello) => {
            let open: Vec<_> = hello
                .journal
                .iter()
                .map(|entry| (entry.attempt, entry.state))
                .collect();
            (format!("hello {open:?}"), None)
        }
        AgentFrame::CommandReceived {
            command_id,
            attempt,
        } => (format!("received {attempt}"), Some(*command_id)),
        AgentFrame::CommandStarted {
            command_id,
            attempt,
        } => (format!("started {attempt}"), Some(*command_id)),
        AgentFrame::CommandNotStarted {
            command_id,
            attempt,
            reason,
        } => (
            format!("not started {attempt} {reason:?}"),
            Some(*command_id),
        ),
        AgentFrame::CommandFinished {
            command_id,
            attempt,
            outcome,
        } => {
            let text = format!(
                "finished {attempt} {:?} {:?}",
                outcome.status, outcome.reason
            );
            (text, Some(*command_id))
        }
        AgentFrame::Heartbeat(_)
        | AgentFrame::Facts { .. }
        | AgentFrame::CommandOutput { .. }
        | AgentFrame::OutputPart { .. }
        | AgentFrame::Unknown => ("other".to_owned(), None),
    }
}

fn shown_down(frame: &ServerFrame) -> (String, Option<CommandId>) {
    match frame {
        ServerFrame::Welcome { .. } => ("welcome".to_owned(), None),
        ServerFrame::Command(command) => (
            format!("command {}", command.attempt),
            Some(command.command_id),
        ),
        ServerFrame::Cancel { command_id, kill } => {
            (format!("cancel kill={kill}"), Some(*command_id))
        }
        ServerFrame::Ack {
            command_id,
            attempt,
        } => (format!("ack {attempt}"), Some(*command_id)),
        ServerFrame::AckPart { .. } | ServerFrame::Settings { .. } | ServerFrame::Unknown => {
            ("other".to_owned(), None)
        }
    }
}
