//! Command sets against a real database: what is sent to whom, when, and what becomes of rows and counters.

mod alike;
mod batches;
mod station;

use std::collections::BTreeSet;
use std::time::Duration;

use fleetwright_plugin_api::wire::{CommandQuery, CommandStatus, SetAction, SetView};
use fleetwright_protocol::frame::{CommandFrame, JournalEntry, JournalState, Section, Stream};
use fleetwright_protocol::outcome::{FailureReason, NotStartedReason};
use fleetwright_protocol::{CommandId, Outcome, ServerFrame};
use fleetwright_server::clock::{ManualClock, Now};
use fleetwright_server::commands::create::SetError;
use fleetwright_server::commands::live_output::Heard;
use fleetwright_server::commands::outputs::PartKey;
use fleetwright_server::commands::report::Said;
use fleetwright_server::commands::reports::store_all;
use fleetwright_server::commands::store::StoredOutput;
use fleetwright_server::commands::{actions, retention};
use fleetwright_server::db::{DbError, Dialect};
use fleetwright_tests::on_each_database;

use station::{Agent, PATIENCE, START_US, Station, first_command, host_id, hosts, of_set, seed};

on_each_database! {
    async fn a_set_is_sent_to_connected_hosts_and_finishes_with_their_results(test: TestDatabase) {
        seed(&test.db, 3, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut agents = Vec::new();
        for number in 1..=3 {
            agents.push(station.connect(number, Vec::new(), false).await);
        }
        let set = station.create(hosts(1..=3), 0).await;
        assert_eq!((set.total, set.queued), (3, 3));
        for (index, agent) in agents.iter_mut().enumerate() {
            let frame = agent.command().await;
            assert_eq!((frame.attempt, frame.timeout_seconds), (1, 60));
            assert_eq!(frame.operation["parameters"]["script"], "true");
            station.say(agent, &frame, Said::Started).await;
            let outcome = if index == 2 {
                Outcome::failed(FailureReason::ExitCode, "exit 1")
            } else {
                Outcome::succeeded(true)
            };
            station.finish(agent, &frame, outcome).await;
            assert_eq!(agent.ack().await, frame.command_id);
        }
        let set = station.until(set.id, "the end", SetView::is_finished).await;
        assert_eq!((set.succeeded, set.failed), (2, 1));
        assert!(set.started_at_us.is_some() && set.finished_at_us.is_some());
        assert_eq!(station.reason(set.id, 3).await.as_deref(), Some("exit_code"));
    }

    async fn hosts_that_may_not_run_it_are_skipped_with_the_reason(test: TestDatabase) {
        seed(&test.db, 1, 1).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let set = station.create(hosts(2..=3), 0).await;
        assert_eq!((set.skipped, set.total), (2, 2));
        assert_eq!(station.reason(set.id, 2).await.as_deref(), Some("not_approved"));
        assert_eq!(station.reason(set.id, 3).await.as_deref(), Some("host_deleted"), "unknown host");
        assert!(set.is_finished() && set.finished_at_us.is_some());
    }

    async fn an_offline_host_takes_no_slot_and_is_served_when_it_connects(test: TestDatabase) {
        seed(&test.db, 3, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut second = station.connect(2, Vec::new(), false).await;
        let set = station.create(hosts(1..=3), 1).await;
        let frame = second.command().await;
        station.finish(&second, &frame, Outcome::succeeded(false)).await;
        second.ack().await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let frame = first.command().await;
        station.finish(&first, &frame, Outcome::succeeded(false)).await;
        let set = station.until(set.id, "two results", |set| set.succeeded == 2).await;
        assert_eq!((set.queued, set.is_finished()), (1, false));
    }

    async fn the_limit_holds_at_every_moment_and_freed_slots_are_used(test: TestDatabase) {
        seed(&test.db, 5, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut waiting = Vec::new();
        for number in 1..=5 {
            waiting.push(station.connect(number, Vec::new(), false).await);
        }
        let set = station.create(hosts(1..=5), 2).await;
        let mut outstanding: Vec<(Agent, CommandFrame)> = Vec::new();
        for done in 0..5 {
            while outstanding.len() < 2.min(5 - done) {
                outstanding.push(first_command(&mut waiting).await);
            }
            assert!(waiting.iter_mut().all(Agent::has_nothing), "a third one was sent");
            let (mut agent, frame) = outstanding.remove(0);
            station.finish(&agent, &frame, Outcome::succeeded(false)).await;
            agent.ack().await;
        }
        station.until(set.id, "the end", SetView::is_finished).await;
    }

    async fn a_cancelled_set_sends_nothing_more_and_asks_back_what_was_sent(test: TestDatabase) {
        seed(&test.db, 3, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=3), 0).await;
        let frame = first.command().await;
        let cancel = SetAction::Cancel { kill: false, hosts: None, reason: "cancelled".to_owned() };
        station.control(set.id, cancel).await.unwrap();
        let told = first.frame().await;
        assert_eq!(told, ServerFrame::Cancel { command_id: frame.command_id, kill: false });
        let set = station.until(set.id, "the waiting ones skipped", |set| set.skipped == 2).await;
        assert_eq!(set.queued, 1, "delivered, and not yet known not to have started");
        let mut second = station.connect(2, Vec::new(), false).await;
        station.say(&first, &frame, Said::NotStarted(NotStartedReason::Cancelled.into())).await;
        let set = station.until(set.id, "the end", SetView::is_finished).await;
        assert_eq!((set.skipped, set.skipped_cancelled), (3, 3));
        assert!(second.has_nothing());
        let again = station.control(set.id, SetAction::Pause).await;
        assert!(matches!(again, Err(SetError::Finished)));
    }

    async fn only_hosts_the_whole_cancel_skipped_count_as_skipped_by_it(test: TestDatabase) {
        seed(&test.db, 4, 0).await;
        let cancel = |hosts| SetAction::Cancel { kill: false, hosts, reason: "cancelled".to_owned() };
        // The fourth host never connects: the whole cancel skips it if the set has it.
        for (last, skipped, by_the_whole) in [(3, 1, 0), (4, 2, 1)] {
            let station = Station::start(&test.db, ManualClock::at(START_US)).await;
            let set = station.create(hosts(1..=last), 0).await;
            station.control(set.id, cancel(Some(vec![host_id(3)]))).await.unwrap();
            let before = station.until(set.id, "the one to be skipped", |set| set.skipped == 1).await;
            assert_eq!((before.cancelled, before.skipped_cancelled), (false, 0));
            let mut first = station.connect(1, Vec::new(), false).await;
            let mut second = station.connect(2, Vec::new(), false).await;
            let frames = [first.command().await, second.command().await];
            for (agent, frame) in [&first, &second].into_iter().zip(&frames) {
                station.say(agent, frame, Said::Started).await;
            }
            station.until(set.id, "both to run", |set| set.running == 2).await;
            station.control(set.id, cancel(None)).await.unwrap();
            for (agent, frame) in [&first, &second].into_iter().zip(&frames) {
                station.finish(agent, frame, Outcome::succeeded(false)).await;
            }
            let set = station.until(set.id, "the end", SetView::is_finished).await;
            assert_eq!((set.succeeded, set.skipped, set.skipped_cancelled), (2, skipped, by_the_whole));
        }
    }

    async fn single_hosts_are_cancelled_once_the_dispatcher_has_written_the_rows(test: TestDatabase) {
        // More than the chunk that is written with the set.
        const HOSTS: u128 = 1_200;
        seed(&test.db, HOSTS, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let cancel = SetAction::Cancel { kill: false, hosts: Some(vec![host_id(1), host_id(HOSTS)]), reason: "cancelled".to_owned() };
        let (set, at_once) = station.create_and_control(hosts(1..=HOSTS), cancel.clone()).await;
        assert!(matches!(at_once, Err(SetError::Preparing)), "{at_once:?}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let cancelled = loop {
            match station.control(set.id, cancel.clone()).await {
                Err(SetError::Preparing) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
            assert!(tokio::time::Instant::now() < deadline, "the rows never came");
        };
        assert_eq!((cancelled.skipped, cancelled.queued), (2, 1_198));
    }

    async fn a_paused_set_sends_nothing_until_it_is_resumed(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let set = station.create(hosts(1..=2), 0).await;
        station.control(set.id, SetAction::Pause).await.unwrap();
        let mut first = station.connect(1, Vec::new(), false).await;
        let other = station.create(vec![host_id(1)], 0).await;
        let frame = first.command().await;
        station.finish(&first, &frame, Outcome::succeeded(false)).await;
        first.ack().await;
        station.until(other.id, "the other set", SetView::is_finished).await;
        assert!(first.has_nothing(), "the paused set's command was sent");
        station.control(set.id, SetAction::Resume).await.unwrap();
        first.command().await;
    }

    async fn what_never_started_expires_and_what_is_unheard_becomes_unknown(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=2), 0).await;
        first.command().await;
        station.clock.advance(Duration::from_secs(601));
        station.until(set.id, "the expiry", |set| set.skipped == 1).await;
        assert_eq!(station.reason(set.id, 2).await.as_deref(), Some("expired"));
        station.clock.advance(Duration::from_secs(60 + 120));
        station.until(set.id, "the end of patience", SetView::is_finished).await;
        assert_eq!(station.reason(set.id, 1).await.as_deref(), Some("outcome_unknown"));
    }

    async fn a_shutdown_succeeds_when_its_host_goes_and_a_restart_that_never_ends_has_timed_out(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut off = station.connect(1, Vec::new(), false).await;
        let mut again = station.connect(2, Vec::new(), false).await;
        let shutdown = station.create_operation(host_id(1), "shutdown").await;
        let restart = station.create_operation(host_id(2), "reboot").await;
        for (agent, set) in [(&mut off, &shutdown), (&mut again, &restart)] {
            let frame = agent.command().await;
            // Gone before it has begun, as in a broken network: nothing is known by that.
            station.say(agent, &frame, Said::HostGone).await;
            station.say(agent, &frame, Said::Started).await;
            station.until(set.id, "the start", |set| set.running == 1).await;
            station.say(agent, &frame, Said::HostGone).await;
        }
        let set = station.until(shutdown.id, "the end", SetView::is_finished).await;
        assert_eq!(set.succeeded, 1);
        assert_eq!(station.set(restart.id).await.running, 1);
        station.clock.advance(Duration::from_secs(60 + 121));
        station.until(restart.id, "the end of patience", SetView::is_finished).await;
        assert_eq!(station.reason(restart.id, 2).await.as_deref(), Some("timed_out"));
    }

    async fn details_of_a_result_are_kept_and_only_short_ones_are_in_lists(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let short = serde_json::json!({"packages": [{"name": "a\u{0}b", "status": "installed"}]});
        let long = serde_json::json!({"packages": "x".repeat(20_000)});
        for (number, details) in [(1, short), (2, long)] {
            let mut agent = station.connect(number, Vec::new(), false).await;
            let set = station.create(hosts(number..=number), 0).await;
            let frame = agent.command().await;
            let mut outcome = Outcome::succeeded(true);
            outcome.details = Some(details.clone());
            station.finish(&agent, &frame, outcome).await;
            agent.ack().await;
            let row = station.commands.get(frame.command_id).await.unwrap().unwrap();
            assert_eq!(row.details, Some(details.clone()));
            let page = station.commands.page(&of_set(set.id, 0, 10)).await.unwrap();
            assert_eq!(page.items[0].details, (number == 1).then_some(details));
        }
    }

    async fn a_late_result_is_kept_beside_and_moves_nothing(test: TestDatabase) {
        seed(&test.db, 1, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut agent = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=1), 0).await;
        let frame = agent.command().await;
        station.clock.advance(Duration::from_secs(600 + 60 + 121));
        station.until(set.id, "the end of patience", SetView::is_finished).await;
        station.finish(&agent, &frame, Outcome::succeeded(true)).await;
        agent.ack().await;
        let row = station.commands.get(frame.command_id).await.unwrap().unwrap();
        assert_eq!(row.status, CommandStatus::Failed);
        assert_eq!(row.late_result.unwrap()["status"], "succeeded");
        assert_eq!(station.set(set.id).await.failed, 1);
    }

    async fn after_a_restart_an_intact_journal_decides_what_is_sent_again(test: TestDatabase) {
        seed(&test.db, 3, 0).await;
        let clock = ManualClock::at(START_US);
        let station = Station::start(&test.db, clock.clone()).await;
        let mut frames = Vec::new();
        let mut agents = Vec::new();
        for number in 1..=3 {
            agents.push(station.connect(number, Vec::new(), false).await);
        }
        let set = station.create(hosts(1..=3), 0).await;
        for agent in &mut agents {
            frames.push(agent.command().await);
        }
        let restarted = Station::start(&test.db, clock).await;
        // The first never received it, the second runs it, the third lost its disk.
        let mut first = restarted.connect(1, Vec::new(), false).await;
        let (command_id, attempt) = (frames[1].command_id, frames[1].attempt);
        let journal = vec![JournalEntry { command_id, attempt, state: JournalState::Started.into() }];
        let mut second = restarted.connect(2, journal, false).await;
        restarted.connect(3, Vec::new(), true).await;
        let again = first.command().await;
        assert_eq!((again.command_id, again.attempt), (frames[0].command_id, 2));
        restarted.until(set.id, "one running, one lost", |set| set.running == 1 && set.failed == 1).await;
        assert!(second.has_nothing(), "a started one is not sent again");
        assert_eq!(restarted.reason(set.id, 3).await.as_deref(), Some("outcome_unknown"));
    }

    async fn another_hosts_command_id_cuts_the_connection_and_changes_nothing(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let liar = station.connect(2, Vec::new(), false).await;
        let set = station.create(vec![host_id(1)], 0).await;
        let frame = first.command().await;
        station.finish(&liar, &frame, Outcome::succeeded(true)).await;
        assert_eq!(liar.cut().await.code, 1008);
        assert_eq!(station.set(set.id).await.succeeded, 0);
    }

    async fn a_report_that_cannot_be_stored_costs_the_others_nothing(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut good = station.connect(1, Vec::new(), false).await;
        let mut bad = station.connect(2, Vec::new(), false).await;
        let set = station.create(hosts(1..=2), 0).await;
        let frames = [good.command().await, bad.command().await];
        let mut output = StoredOutput::default();
        output.stdout.total_bytes = 1;
        // Text that PostgreSQL refuses and SQLite takes.
        output.stdout.sha256 = "\0".to_owned();
        let outcome = || Outcome::succeeded(true);
        let reports = vec![
            bad.report(&frames[1], Said::Finished(Box::new((outcome(), output)))),
            good.report(&frames[0], Said::Finished(Box::new((outcome(), StoredOutput::default())))),
        ];
        store_all(&station.commands, reports).await;
        assert_eq!(good.ack().await, frames[0].command_id);
        assert!(!good.connection.is_over(), "it has done nothing wrong");
        let refused = test.db.dialect() == Dialect::Postgres;
        assert_eq!(bad.connection.is_over(), refused);
        let done = if refused { 1 } else { 2 };
        assert_eq!(station.set(set.id).await.succeeded, done);
    }

    async fn an_agent_that_announced_a_start_and_proves_there_was_none_is_given_it_again(test: TestDatabase) {
        seed(&test.db, 1, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut agent = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=1), 0).await;
        let frame = agent.command().await;
        station.say(&agent, &frame, Said::Started).await;
        station.until(set.id, "the start", |set| set.running == 1).await;
        let (command_id, attempt) = (frame.command_id, frame.attempt);
        let journal = vec![JournalEntry { command_id, attempt, state: JournalState::NotStarted.into() }];
        let mut again = station.connect(1, journal, false).await;
        station.say(&again, &frame, Said::NotStarted(NotStartedReason::AgentRestarted.into())).await;
        assert_eq!(again.ack().await, command_id);
        let next = again.command().await;
        assert_eq!((next.command_id, next.attempt), (command_id, 2));
        let set = station.set(set.id).await;
        assert_eq!((set.queued, set.running), (1, 0));
    }

    async fn hosts_without_a_row_yet_end_for_the_reason_the_set_was_cancelled_for(test: TestDatabase) {
        seed(&test.db, 600, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let cancel = SetAction::Cancel { kill: false, hosts: None, reason: "halted".to_owned() };
        let (set, _) = station.create_and_control(hosts(1..=600), cancel).await;
        let set = station.until(set.id, "the end", SetView::is_finished).await;
        assert_eq!((set.skipped, set.skipped_cancelled), (600, 600));
        let reasons: BTreeSet<_> = station.rows(set.id).await.into_values().collect();
        assert_eq!(reasons, BTreeSet::from([(CommandStatus::Skipped, Some("halted".to_owned()))]));
    }

    async fn a_set_dated_by_a_clock_that_was_behind_is_kept_as_long_as_any(test: TestDatabase) {
        const DAY_US: i64 = 86_400 * 1_000_000;
        seed(&test.db, 1, 0).await;
        let clock = ManualClock::at(START_US);
        let station = Station::start(&test.db, clock.clone()).await;
        clock.step_wall(-100 * DAY_US);
        let cancel = SetAction::Cancel { kill: false, hosts: None, reason: "cancelled".to_owned() };
        let (set, _) = station.create_and_control(hosts(1..=1), cancel).await;
        let set = station.until(set.id, "the end", SetView::is_finished).await;
        clock.step_wall(100 * DAY_US);
        let long_ago = Now::both(START_US - 90 * DAY_US);
        assert!(!retention::sweep(&station.commands, long_ago).await.unwrap());
        assert_eq!(station.rows(set.id).await.len(), 1);
        let now = Now::both(START_US + 1_000_000);
        while retention::sweep(&station.commands, now).await.unwrap() {}
        assert_eq!(station.rows(set.id).await.len(), 0);
    }

    async fn spooled_output_is_kept_only_of_attempts_under_way(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let mut second = station.connect(2, Vec::new(), false).await;
        station.create(hosts(1..=2), 0).await;
        let (runs, ends) = (first.command().await, second.command().await);
        station.finish(&second, &ends, Outcome::succeeded(true)).await;
        second.ack().await;
        let unknown = CommandId(station.commands.new_id());
        let spool = station.commands.spool();
        let spooled = [(runs.command_id, 1), (runs.command_id, 2), (ends.command_id, 1), (unknown, 1)];
        for (command_id, attempt) in spooled {
            let key = PartKey { command_id, attempt, stream: Stream::Stdout, section: Section::Head };
            spool.append(key, 0, b"x".to_vec()).await.unwrap();
        }
        retention::sweep_spool(&station.commands).await.unwrap();
        assert_eq!(spool.attempts().await.unwrap(), [(runs.command_id, 1)]);
    }

    async fn a_followed_command_is_said_to_be_over_however_it_ends(test: TestDatabase) {
        seed(&test.db, 1, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut agent = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=1), 0).await;
        let frame = agent.command().await;
        let mut follower = station.commands.live_output().follow(frame.command_id);
        // Nobody reports anything: the deadline ends it.
        station.clock.advance(Duration::from_secs(600 + 60 + 121));
        station.until(set.id, "the end of patience", SetView::is_finished).await;
        let heard = tokio::time::timeout(PATIENCE, follower.hear()).await.unwrap();
        assert!(matches!(heard, Heard::Over), "{heard:?}");
    }

    async fn rows_are_found_by_host_and_by_what_waits(test: TestDatabase) {
        seed(&test.db, 6, 1).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let set = station.create(hosts(1..=7), 0).await;
        let other = station.create(hosts(1..=7), 0).await;
        assert_ne!(set.id, other.id);
        let found = async |query: CommandQuery| {
            let page = station.commands.page(&query).await.unwrap();
            assert!(page.items.iter().all(|row| row.set_id == set.id));
            page.items.iter().map(|row| row.ordinal).collect::<Vec<_>>()
        };
        let all = of_set(set.id, 0, 10);
        // Two of the set, in another order, and one that is not in it.
        let named = vec![host_id(5), host_id(2), host_id(99)];
        assert_eq!(found(CommandQuery { hosts: named.clone(), ..all.clone() }).await, [1, 4]);
        assert_eq!(found(CommandQuery { hosts: named.clone(), cursor: 2, ..all.clone() }).await, [4]);
        assert_eq!(found(CommandQuery { hosts: named, limit: 1, ..all.clone() }).await, [1]);
        let held = station.create_held(hosts(1..=7)).await;
        let waiting = CommandQuery { status: Some(CommandStatus::Queued), ..of_set(held.id, 0, 10) };
        let page = station.commands.page(&waiting).await.unwrap();
        assert!(page.items.iter().all(|row| row.status == CommandStatus::Held));
        assert_eq!(page.items.len(), 6, "all but the one that is not approved");
    }

    async fn a_large_set_gets_all_its_rows_in_chunks_also_across_a_restart(test: TestDatabase) {
        seed(&test.db, 1_300, 20).await;
        let clock = ManualClock::at(START_US);
        let station = Station::start(&test.db, clock.clone()).await;
        let set = station.create(hosts(1..=1_320), 0).await;
        assert_eq!((set.total, set.queued, set.skipped), (1_320, 1_300, 20));
        let restarted = Station::start(&test.db, clock).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let page = restarted.commands.page(&of_set(set.id, 1_319, 10)).await.unwrap();
            if let Some(last) = page.items.first() {
                assert_eq!(last.reason.as_deref(), Some("not_approved"));
                break;
            }
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let mut seen = 0;
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let page = restarted.commands.page(&of_set(set.id, from, 500)).await.unwrap();
            for row in &page.items {
                assert_eq!((row.ordinal, row.host_id), (seen, host_id(u128::from(seen) + 1)));
                seen += 1;
            }
            cursor = page.next_cursor;
        }
        assert_eq!(seen, 1_320);
    }

    async fn a_deleted_hosts_commands_end_and_do_not_block_the_set(test: TestDatabase) {
        seed(&test.db, 2, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut first = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=2), 0).await;
        let frame = first.command().await;
        station.say(&first, &frame, Said::Started).await;
        station.until(set.id, "the start", |set| set.running == 1).await;
        let commands = station.commands.clone();
        let deleted = test.db.write(move |tx| -> Result<(), DbError> {
            actions::host_deleted_in(tx, &commands, host_id(1))?;
            actions::host_deleted_in(tx, &commands, host_id(2))
        });
        deleted.await.unwrap();
        let set = station.set(set.id).await;
        assert!(set.is_finished());
        let rows = station.rows(set.id).await;
        assert_eq!(rows[&host_id(1)], (CommandStatus::Failed, Some("host_deleted".to_owned())));
        assert_eq!(rows[&host_id(2)], (CommandStatus::Skipped, Some("host_deleted".to_owned())));
    }

    async fn a_host_runs_one_command_at_a_time_in_order(test: TestDatabase) {
        seed(&test.db, 1, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut agent = station.connect(1, Vec::new(), false).await;
        let first = station.create(vec![host_id(1)], 0).await;
        let frame = agent.command().await;
        let second = station.create(vec![host_id(1)], 0).await;
        station.say(&agent, &frame, Said::Started).await;
        station.until(first.id, "the start", |set| set.running == 1).await;
        assert!(agent.has_nothing(), "the second was sent while the first runs");
        station.finish(&agent, &frame, Outcome::succeeded(false)).await;
        agent.ack().await;
        let next = agent.command().await;
        assert_ne!(next.command_id, frame.command_id);
        station.finish(&agent, &next, Outcome::succeeded(false)).await;
        station.until(second.id, "the end", SetView::is_finished).await;
    }
}
