//! Sets that are released range by range, and hosts that are not waited for any more.

use std::time::Duration;

use fleetwright_plugin_api::wire::{CommandStatus, SetAction, SetView};
use fleetwright_protocol::outcome::NotStartedReason;
use fleetwright_protocol::{Outcome, ServerFrame};
use fleetwright_server::clock::ManualClock;
use fleetwright_server::commands::create::SetError;
use fleetwright_server::commands::report::Said;
use fleetwright_tests::on_each_database;

use crate::station::{START_US, Station, host_id, hosts, seed};

on_each_database! {
    async fn a_range_releases_its_own_hosts_and_no_others(test: TestDatabase) {
        seed(&test.db, 6, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let set = station.create_held(hosts(1..=6)).await;
        assert_eq!((set.held, set.queued), (6, 0));
        let mut third = station.connect(3, Vec::new(), false).await;
        let mut sixth = station.connect(6, Vec::new(), false).await;
        let range = SetAction::ReleaseRange { from: 2, to: 4 };
        let set = station.control(set.id, range.clone()).await.unwrap();
        assert_eq!((set.held, set.queued), (4, 2));
        let frame = third.command().await;
        station.finish(&third, &frame, Outcome::succeeded(false)).await;
        let set = station.until(set.id, "the third to succeed", |set| set.succeeded == 1).await;
        // Released again, it stays as it is.
        let set = station.control(set.id, range).await.unwrap();
        assert_eq!((set.held, set.queued, set.succeeded), (4, 1, 1));
        assert!(sixth.has_nothing());
    }

    async fn a_range_that_has_no_rows_yet_is_refused(test: TestDatabase) {
        const HOSTS: u128 = 1_200;
        seed(&test.db, HOSTS, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let (_set, refused) = station.create_and_control(hosts(1..=HOSTS), SetAction::ReleaseRange { from: 0, to: 10 }).await;
        assert!(matches!(refused, Err(SetError::Preparing)));
    }

    async fn hosts_given_up_fail_as_unreachable_and_start_nothing(test: TestDatabase) {
        seed(&test.db, 4, 0).await;
        let station = Station::start(&test.db, ManualClock::at(START_US)).await;
        let set = station.create(hosts(1..=4), 0).await;
        let mut running = station.connect(1, Vec::new(), false).await;
        let frame = running.command().await;
        station.say(&running, &frame, Said::Started).await;
        let mut delivered = station.connect(2, Vec::new(), false).await;
        let sent = delivered.command().await;
        station.until(set.id, "the first to run", |set| set.running == 1).await;

        let set = station.control(set.id, SetAction::GiveUp { below: 3 }).await.unwrap();
        assert_eq!(set.given_up_below, 3);
        let set = station.until(set.id, "the third to be given up", |set| set.failed == 1).await;
        assert_eq!((set.failed_unreachable, set.queued, set.running), (1, 2, 1));
        let told = delivered.frame().await;
        assert_eq!(told, ServerFrame::Cancel { command_id: sent.command_id, kill: false });
        station.say(&delivered, &sent, Said::NotStarted(NotStartedReason::Cancelled.into())).await;
        let set = station.until(set.id, "the second to be given up", |set| set.failed_unreachable == 2).await;

        let mut late = station.connect(3, Vec::new(), false).await;
        // The fourth is beyond the place: it is waited for, and served after the third was looked at.
        let mut fourth = station.connect(4, Vec::new(), false).await;
        let frame_of_fourth = fourth.command().await;
        assert!(late.has_nothing(), "a host that was given up was sent something");
        station.finish(&fourth, &frame_of_fourth, Outcome::succeeded(false)).await;
        station.finish(&running, &frame, Outcome::succeeded(false)).await;
        let set = station.until(set.id, "the end", SetView::is_finished).await;
        assert_eq!((set.succeeded, set.failed, set.failed_unreachable), (2, 2, 2));
        let rows = station.rows(set.id).await;
        for number in [2, 3] {
            assert_eq!(rows[&host_id(number)], (CommandStatus::Failed, Some("unreachable".to_owned())));
        }
    }

    async fn a_delivered_command_nobody_hears_of_is_given_up_when_its_lease_is_over(test: TestDatabase) {
        seed(&test.db, 1, 0).await;
        let clock = ManualClock::at(START_US);
        let station = Station::start(&test.db, clock.clone()).await;
        let mut silent = station.connect(1, Vec::new(), false).await;
        let set = station.create(hosts(1..=1), 0).await;
        silent.command().await;
        station.control(set.id, SetAction::GiveUp { below: 1 }).await.unwrap();
        silent.frame().await;
        assert_eq!(station.set(set.id).await.queued, 1, "it may still start");
        clock.advance(Duration::from_secs(91));
        let set = station.until(set.id, "the lease to end", SetView::is_finished).await;
        assert_eq!(set.failed_unreachable, 1);
    }
}
