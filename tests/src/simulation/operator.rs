//! People and modules: they create sets, pause, limit, release and cancel them, and take hosts out. And what the server
//! does by itself, when the world lets it.

use fleetwright_plugin_api::wire::{OfflinePolicy, SetAction, SetControl, SetCreate};
use fleetwright_protocol::{HostId, SetId};
use fleetwright_server::audit::AuditContext;
use fleetwright_server::commands::actions;
use fleetwright_server::commands::create::SetError;
use serde_json::json;

use super::ledger::{Broken, broken};
use super::world::{Event, SECOND_US, World};

/// The deadline sweep is due each second; what it finds does not depend on when it comes.
const SWEEP_US_MAX: u64 = 12_000_000;
/// With the faults over, little is left to find.
const QUIET_SWEEP_US_MAX: u64 = 40_000_000;

impl World<'_> {
    pub async fn dispatch(&mut self) -> Result<(), Broken> {
        self.has_dispatch = false;
        let steps = 1 + self.choices.below(4);
        let mut worked = false;
        for _ in 0..steps {
            let Some(server) = &mut self.server else {
                return Ok(());
            };
            let more = server.work.dispatch().await.expect("the database works");
            worked |= more;
            if !more {
                break;
            }
        }
        if worked {
            self.look().await?;
            // It goes on until it has nothing to do.
            return self.after_server().await;
        }
        Ok(())
    }

    pub async fn store_reports(&mut self) -> Result<(), Broken> {
        self.has_reports = false;
        let count = 1 + self.choices.below(6) as usize;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        server.work.store_reports(count).await;
        self.look().await?;
        self.after_server().await
    }

    pub async fn sweep(&mut self) -> Result<(), Broken> {
        let max_us = if self.is_healed {
            QUIET_SWEEP_US_MAX
        } else {
            SWEEP_US_MAX
        };
        self.soon(max_us, Event::Sweep);
        self.ping();
        let before_us = self.now_us - 45 * SECOND_US;
        let Some(server) = &mut self.server else {
            return Ok(());
        };
        if before_us > 0 {
            server.connections.cut_silent(before_us);
        }
        server.work.sweep().await.expect("the database works");
        self.look().await?;
        self.after_server().await
    }

    /// Somebody does something, if the server is there.
    pub async fn operate(&mut self) -> Result<(), Broken> {
        if self.operations_left == 0 {
            return Ok(());
        }
        self.soon(25_000_000, Event::Operate);
        if self.server.is_none() {
            return Ok(());
        }
        self.operations_left -= 1;
        match self.choices.below(16) {
            // After the faults nobody holds anything back any more.
            _ if self.is_healed => self.create_set(false).await,
            0..=6 => {
                let held = self.choices.one_in(6);
                self.create_set(held).await;
            }
            7..=12 => self.control_set().await?,
            13 | 14 => self.cancel_command().await,
            _ => self.take_host_out().await,
        }
        self.look().await?;
        self.after_server().await
    }

    async fn create_set(&mut self, held: bool) {
        let all: Vec<HostId> = self.hosts.iter().map(|host| host.id).collect();
        let mut hosts: Vec<HostId> = all
            .iter()
            .copied()
            .filter(|_| self.choices.below(4) > 0)
            .collect();
        if hosts.is_empty() {
            hosts.push(all[0]);
        }
        let max_concurrency = self.choices.below(3);
        let in_process = self.choices.one_in(5);
        let id = SetId(self.clock_id());
        let request = SetCreate {
            set_id: id,
            operation_type: if in_process {
                "deploy_file"
            } else {
                "run_script"
            }
            .to_owned(),
            parameters: if in_process {
                json!({"path": "/tmp/x", "content": "x"})
            } else {
                json!({"script": "true"})
            },
            options: Default::default(),
            timeout_seconds: 2 + self.choices.below(40),
            expires_in_seconds: [20, 100, 300, 3_000][self.choices.below(4) as usize],
            max_concurrency,
            offline: if self.choices.one_in(8) {
                OfflinePolicy::Skip
            } else {
                OfflinePolicy::Queue
            },
            held,
            on_behalf_of: None,
        };
        self.note(|| {
            let SetCreate { timeout_seconds, expires_in_seconds, held, .. } = &request;
            format!(
                "a set over {} hosts, at most {max_concurrency}, in process {in_process}, timeout {timeout_seconds}, \
                 expires {expires_in_seconds}, held {held}",
                hosts.len()
            )
        });
        self.ledger.created(id, &hosts, max_concurrency);
        if let Some(server) = &self.server {
            server.create(request, hosts).await;
        }
    }

    fn clock_id(&mut self) -> uuid::Uuid {
        use fleetwright_server::clock::Clock as _;
        self.clock().new_id()
    }

    async fn control_set(&mut self) -> Result<(), Broken> {
        let Some(set_id) = self.any_open_set() else {
            return Ok(());
        };
        let hosts = self.ledger.rows.values().filter(|row| row.set_id == set_id);
        let hosts: Vec<HostId> = hosts.map(|row| row.host_id).collect();
        let some = hosts[self.choices.below(hosts.len() as u64) as usize];
        let kill = self.choices.one_in(2);
        let action = match self.choices.below(9) {
            0 | 1 => SetAction::Pause,
            2 | 3 => SetAction::Resume,
            4 => SetAction::Limit {
                max_concurrency: self.choices.below(4),
            },
            5 => SetAction::Release {
                count: 1 + self.choices.below(3),
            },
            6 => SetAction::Cancel {
                kill,
                hosts: Some(vec![some]),
                reason: "cancelled".to_owned(),
            },
            _ => SetAction::Cancel {
                kill,
                hosts: None,
                reason: "halted".to_owned(),
            },
        };
        // Now and then somebody decides on what was true before.
        let stale = self.choices.one_in(6);
        self.note(|| format!("{action:?}{}", if stale { " (stale)" } else { "" }));
        let control = SetControl {
            set_id,
            action: action.clone(),
            expect_generation: stale.then_some(-1),
        };
        let Some(server) = &self.server else {
            return Ok(());
        };
        let done = server.control(control).await;
        match (&done, stale) {
            (Ok(_), true) => return broken("a stale control was taken (I5)".to_owned()),
            (Err(SetError::StaleGeneration { .. }), true) | (Err(_), _) => return Ok(()),
            (Ok(_), false) => {}
        }
        match action {
            SetAction::Limit { max_concurrency } => self.ledger.limited(set_id, max_concurrency),
            SetAction::Cancel { hosts: None, .. } => {
                self.ledger.cancelled_sets.insert(set_id);
            }
            SetAction::Cancel { hosts: Some(_), .. } => {
                let rows = self.ledger.rows.iter();
                let of_host = rows.filter(|(_, row)| row.set_id == set_id && row.host_id == some);
                self.ledger
                    .cancelled_commands
                    .extend(of_host.map(|(id, _)| *id).collect::<Vec<_>>());
            }
            SetAction::Pause
            | SetAction::Resume
            | SetAction::Release { .. }
            | SetAction::ReleaseRange { .. }
            | SetAction::GiveUp { .. } => {}
        }
        Ok(())
    }

    async fn cancel_command(&mut self) {
        let open: Vec<_> = self
            .ledger
            .rows
            .iter()
            .filter(|(_, row)| !row.status.is_terminal())
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.choices.below(open.len() as u64) as usize];
        let kill = self.choices.one_in(2);
        let name = self.ledger.name(id);
        self.note(|| format!("cancel {name}, kill={kill}"));
        if let Some(server) = &self.server {
            let context = AuditContext::system("test");
            let done = actions::cancel(server.commands(), context, id, kill).await;
            if done.is_ok() {
                self.ledger.cancelled_commands.insert(id);
            }
        }
    }

    async fn take_host_out(&mut self) {
        let at = self.choices.below(self.hosts.len() as u64) as usize;
        let deletes = self.choices.one_in(2);
        let Some(server) = self.server.as_ref().filter(|_| !self.hosts[at].is_out) else {
            return;
        };
        let id = self.hosts[at].id;
        if deletes {
            server.delete_host(id).await;
        } else {
            server.reject_host(id).await;
        }
        self.hosts[at].is_out = true;
        self.note(|| {
            format!(
                "host {at} is {}",
                if deletes { "deleted" } else { "rejected" }
            )
        });
    }

    fn any_open_set(&mut self) -> Option<SetId> {
        let sets = self.ledger.sets.iter();
        let open: Vec<SetId> = sets
            .filter(|(_, set)| !set.finished)
            .map(|(id, _)| *id)
            .collect();
        let at = self.choices.below(open.len() as u64) as usize;
        open.get(at).copied()
    }

    /// Nothing stays paused or held.
    pub async fn let_go(&mut self) -> Result<(), Broken> {
        if self.server.is_none() {
            self.start_server().await?;
        }
        let open: Vec<SetId> = self
            .ledger
            .sets
            .iter()
            .filter(|(_, set)| !set.finished && !set.cancelled)
            .map(|(id, _)| *id)
            .collect();
        for set_id in open {
            for action in [SetAction::Resume, SetAction::Release { count: 1_000 }] {
                let control = SetControl {
                    set_id,
                    action,
                    expect_generation: None,
                };
                if let Some(server) = &self.server {
                    // One that has ended meanwhile needs no letting go.
                    let _ = server.control(control).await;
                }
            }
        }
        self.look().await?;
        self.after_server().await
    }
}
