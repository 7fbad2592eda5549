//! Many commands at once, in statements for those that are alike and in statements for those that are not.

use std::collections::BTreeMap;

use fleetwright_plugin_api::wire::{CommandStatus, SetView};
use fleetwright_protocol::{CommandId, Outcome, SetId};
use fleetwright_server::clock::ManualClock;
use fleetwright_server::commands::store::sets::{self, NewSet};
use fleetwright_server::commands::store::{
    self, CommandRow, NewRow, StoredOutput, StoredResult, StoredStream, batches, reads,
};
use fleetwright_server::db::{Db, DbError};
use fleetwright_tests::on_each_database;
use uuid::Uuid;

use crate::station::{START_US, Station, host_id, hosts, seed};

const ROWS: u128 = 230;
const DUE_US: i64 = START_US + 90;

fn command(number: u128) -> CommandId {
    CommandId(Uuid::from_u128(number))
}

/// The set's rows: sent, waiting, held and skipped ones in turn.
async fn born(db: &Db) -> SetId {
    let id = SetId(Uuid::from_u128(1));
    let kinds = [
        (CommandStatus::Queued, None, true),
        (CommandStatus::Queued, None, false),
        (CommandStatus::Held, None, false),
        (CommandStatus::Skipped, Some("offline"), false),
    ];
    let rows: Vec<NewRow> = (1..=ROWS)
        .zip(kinds.into_iter().cycle())
        .map(|(number, (status, reason, sent))| NewRow {
            id: command(number),
            ordinal: u64::try_from(number).unwrap() + 6,
            host_id: host_id(number),
            status,
            reason,
            sent,
        })
        .collect();
    db.write(move |tx| {
        let set = NewSet {
            id,
            owner: "tests".to_owned(),
            created_by: "tests".to_owned(),
            operation_type: "run_script",
            operation_json: "{}".to_owned(),
            timeout_seconds: 60,
            created_at: START_US,
            expires_at: START_US + 1_000_000,
            max_concurrency: 0,
            held: false,
            host_ids: hosts(1..=ROWS),
            skips: Vec::new(),
        };
        sets::insert(tx, &set)?;
        batches::insert(tx, id, &rows, START_US, DUE_US)
    })
    .await
    .unwrap();
    id
}

async fn load(db: &Db) -> BTreeMap<CommandId, CommandRow> {
    let ids: Vec<CommandId> = (1..=ROWS).map(command).collect();
    let rows = db.write(move |tx| store::load(tx, &ids)).await.unwrap();
    rows.into_iter().map(|row| (row.id, row)).collect()
}

on_each_database! {
    async fn rows_are_born_as_they_were_meant(test: TestDatabase) {
        born(&test.db).await;
        let rows = load(&test.db).await;
        assert_eq!(rows.len() as u128, ROWS);
        for (number, row) in (1..=ROWS).zip(rows.values()) {
            assert_eq!((row.id, row.host_id), (command(number), host_id(number)));
            assert_eq!(u128::from(row.ordinal), number + 6);
            let state = &row.state;
            let found = (state.status, state.reason, state.sent_at, state.slot, state.due_at, state.finished_at);
            let expected = match number % 4 {
                1 => (CommandStatus::Queued, None, Some(START_US), true, Some(DUE_US), None),
                2 => (CommandStatus::Queued, None, None, false, None, None),
                3 => (CommandStatus::Held, None, None, false, None, None),
                _ => (CommandStatus::Skipped, Some("offline"), None, false, None, Some(START_US)),
            };
            assert_eq!(found, expected, "row {number}");
        }
    }

    async fn only_what_waits_is_marked_as_sent(test: TestDatabase) {
        born(&test.db).await;
        let ids: Vec<CommandId> = (0..=8).map(command).collect();
        let mut marked =
            test.db.write(move |tx| batches::mark_sent(tx, &ids, START_US + 5, DUE_US)).await.unwrap();
        marked.sort_unstable();
        assert_eq!(marked, [2, 6].map(command));
        let nothing = test.db.write(|tx| batches::mark_sent(tx, &[], START_US, DUE_US)).await.unwrap();
        assert!(nothing.is_empty());
        let rows = load(&test.db).await;
        assert_eq!(rows[&command(6)].state.sent_at, Some(START_US + 5));
        assert_eq!(rows[&command(1)].state.sent_at, Some(START_US));
    }

    async fn changed_rows_are_read_back_as_they_were_saved(test: TestDatabase) {
        born(&test.db).await;
        let mut rows = load(&test.db).await;
        for (number, row) in (1..=ROWS).zip(rows.values_mut()) {
            let state = &mut row.state;
            state.attempt = 2;
            match number {
                // Many alike.
                1..=100 => (state.status, state.finished_at) = (CommandStatus::Succeeded, Some(START_US + 7)),
                // Each like no other.
                101..=190 => {
                    state.started_at = Some(START_US + i64::try_from(number).unwrap());
                    state.due_at = (number % 2 == 0).then_some(DUE_US + 1);
                    state.cancel_requested = number % 3 == 0;
                    row.result = Some(StoredResult {
                        exit_code: (number % 2 == 1).then_some(3),
                        changed: true,
                        message: format!("said {number}"),
                        details: None,
                    });
                }
                _ => {}
            }
        }
        let changed: Vec<CommandRow> = rows.values().filter(|row| row.id <= command(190)).cloned().collect();
        test.db.write(move |tx| batches::save(tx, &changed)).await.unwrap();
        let found = load(&test.db).await;
        for (number, row) in (1..=ROWS).zip(rows.values_mut()) {
            if number > 190 {
                row.state.attempt = 1;
            }
            assert_eq!(found[&row.id].state, row.state, "row {number}");
            assert_eq!(found[&row.id].answered, row.result.is_some(), "row {number}");
        }
        let one = test.db.read(reads::one(test.db.dialect(), command(101))).await.unwrap();
        let view = reads::command_view(one.first().unwrap()).unwrap();
        assert_eq!((view.exit_code, view.message.as_str(), view.changed), (Some(3), "said 101", Some(true)));
    }

    async fn outputs_are_stored_once_alike_or_not(test: TestDatabase) {
        let output = |text: &str| StoredOutput {
            stdout: StoredStream {
                head: text.as_bytes().to_vec(),
                total_bytes: text.len() as u64,
                sha256: "0".repeat(64),
                ..StoredStream::default()
            },
            ..StoredOutput::default()
        };
        let first: Vec<(CommandId, StoredOutput)> = (1..=ROWS)
            .map(|number| match number {
                1..=100 => (command(number), output("the same")),
                _ => (command(number), output(&format!("of {number}"))),
            })
            .collect();
        let again: Vec<(CommandId, StoredOutput)> =
            (1..=ROWS).map(|number| (command(number), output("late"))).collect();
        for outputs in [first, again] {
            let stored = test.db.write(move |tx| -> Result<(), DbError> {
                let list: Vec<_> = outputs.iter().map(|(id, output)| (*id, output)).collect();
                batches::insert_outputs(tx, &list)
            });
            stored.await.unwrap();
        }
        for (number, expected) in [(1, "the same"), (100, "the same"), (101, "of 101"), (ROWS, "of 230")] {
            let rows = test.db.read(reads::output(command(number))).await.unwrap();
            let output = reads::command_output(rows.first().unwrap()).unwrap();
            assert_eq!(output.stdout.head, expected.as_bytes());
            assert_eq!(output.stdout.total_bytes, expected.len() as u64);
            assert!(output.stderr.head.is_empty());
        }
    }

    async fn a_set_of_many_chunks_reaches_connected_hosts_at_their_birth_and_others_when_they_come(test: TestDatabase) {
        const HOSTS: u128 = 1_200;
        seed(&test.db, HOSTS, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let mut early = Vec::new();
        // In the first chunk, in the last, and at both ends of one between.
        for number in [1, 500, 501, 1_000, 1_200] {
            early.push(station.connect(number, Vec::new(), false).await);
        }
        // Four slots for five hosts.
        let set = station.create(hosts(1..=HOSTS), 4).await;
        let mut late = None;
        for agent in &mut early[..4] {
            let frame = agent.command().await;
            late = Some(frame);
        }
        assert!(early[4].has_nothing(), "beyond the limit");
        station.until(set.id, "all rows", |set| set.queued == 1_200).await;
        let frame = late.expect("four were sent");
        station.finish(&early[3], &frame, Outcome::succeeded(true)).await;
        early[4].command().await;
        let mut other = station.connect(700, Vec::new(), false).await;
        assert!(other.has_nothing(), "no slot is free");
        station.until(set.id, "one to be over", |set: &SetView| set.succeeded == 1).await;
    }
}
