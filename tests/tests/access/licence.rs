//! The licence against a clock that is turned back between two starts.

use std::time::Duration;

use fleetwright_server::clock::{ManualClock, SystemClock};
use fleetwright_server::events::Signals;
use fleetwright_server::hosts::HostRegistry;
use fleetwright_server::licensing::decide::Phase;
use fleetwright_server::licensing::{Licensing, LicensingParts, TrustedKeys};
use fleetwright_tests::databases::TestDatabase;
use fleetwright_tests::on_each_database;
use fleetwright_tests::vendor::vendor;

const DAY: Duration = Duration::from_secs(86_400);

/// A start of the server with this clock; `None` without any licence file.
async fn start(
    database: &TestDatabase,
    clock: std::sync::Arc<ManualClock>,
    license_file: Option<std::path::PathBuf>,
) -> Licensing {
    let key = vendor().public_key().display().to_string();
    let parts = LicensingParts {
        clock: clock.clone(),
        db: database.db.clone(),
        signals: Signals::default(),
        registry: HostRegistry::load(&database.db, clock).await.unwrap(),
        trusted: TrustedKeys::load(&[key], true).unwrap(),
        license_file,
    };
    Licensing::load(parts).await.unwrap()
}

fn phase(licensing: &Licensing) -> Option<Phase> {
    let standing = licensing.current();
    standing.best().map(|license| license.phase)
}

on_each_database! {
    async fn a_clock_turned_back_prolongs_no_licence(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("license.jwt");
        vendor().issue_license(&["--all-features", "--days", "1"], &file);
        let now_us = SystemClock::shared().now_us();
        let clock = ManualClock::at(now_us);
        let licensing = start(&database, clock.clone(), Some(file.clone())).await;
        assert_eq!(phase(&licensing), Some(Phase::Active));
        clock.advance(DAY * 60);
        licensing.look().await.unwrap();
        assert_eq!(phase(&licensing), Some(Phase::Expired));
        let again = start(&database, ManualClock::at(now_us), Some(file)).await;
        assert_eq!(phase(&again), Some(Phase::Expired), "the latest time ever seen counts");
    }

    async fn a_clock_set_back_under_way_does_not_make_the_licence_stand_still(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("license.jwt");
        vendor().issue_license(&["--all-features", "--days", "1"], &file);
        let clock = ManualClock::at(SystemClock::shared().now_us());
        let licensing = start(&database, clock.clone(), Some(file)).await;
        let day_us = i64::try_from(DAY.as_micros()).unwrap();
        clock.step_wall(-10 * day_us);
        licensing.look().await.unwrap();
        assert_eq!(phase(&licensing), Some(Phase::Active), "it does not become one that is not valid yet");
        // Each day is set back: by the wall clock, none has passed.
        for _ in 0..60 {
            clock.advance(DAY);
            clock.step_wall(-day_us);
            licensing.look().await.unwrap();
        }
        assert_eq!(phase(&licensing), Some(Phase::Expired));
    }

    async fn time_is_remembered_without_a_licence_too(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("license.jwt");
        vendor().issue_license(&["--all-features", "--days", "1"], &file);
        let now_us = SystemClock::shared().now_us();
        let later = ManualClock::at(now_us);
        later.advance(DAY * 60);
        assert_eq!(phase(&start(&database, later, None).await), None);
        let licensing = start(&database, ManualClock::at(now_us), Some(file)).await;
        assert_eq!(phase(&licensing), Some(Phase::Expired));
    }
}
