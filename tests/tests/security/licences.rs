//! A feature belongs to the key that signed its module; licences of several keys stand beside each other.

use std::sync::Arc;
use std::time::Duration;

use fleetwright_server::audit::AuditContext;
use fleetwright_server::clock::{ManualClock, SystemClock};
use fleetwright_server::db::Statement;
use fleetwright_server::events::Signals;
use fleetwright_server::hosts::HostRegistry;
use fleetwright_server::licensing::actions::{self, InstallError};
use fleetwright_server::licensing::{
    Access, Licensable, Licensing, LicensingParts, Reason, TrustedKeys,
};
use fleetwright_signing::{Claims, SecretKey, license};
use fleetwright_tests::databases::TestDatabase;
use fleetwright_tests::on_each_database;
use semver::Version;

const DAY_S: i64 = 86_400;

struct Signer {
    key: SecretKey,
    id: String,
}

impl Signer {
    fn new() -> Self {
        let key = SecretKey::generate(false).expect("a key");
        let id = key.public().expect("its public half").id.to_string();
        Self { key, id }
    }

    fn trusted(&self, owner: &str) -> String {
        let text = self.key.public().expect("its public half").to_text();
        format!("{owner}{text}")
    }

    fn license(&self, issued_s: i64, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = Claims {
            iss: license::ISSUER.to_owned(),
            sub: "tests".to_owned(),
            features: vec!["fleet_groups".to_owned(), "x_own".to_owned()],
            modules: std::collections::BTreeMap::new(),
            installation: None,
            max_hosts: None,
            iat: issued_s,
            nbf: issued_s,
            exp: issued_s + 30 * DAY_S,
            grace_days: 0,
        };
        change(&mut claims);
        license::issue(&self.key, &claims).expect("issued")
    }
}

struct Office {
    licensing: Licensing,
    trusted: TrustedKeys,
}

impl Office {
    async fn open(database: &TestDatabase, clock: Arc<ManualClock>, keys: &[String]) -> Self {
        let trusted = TrustedKeys::load(keys, false).expect("keys");
        let registry = HostRegistry::load(&database.db, clock.clone()).await;
        let parts = LicensingParts {
            clock,
            db: database.db.clone(),
            signals: Signals::default(),
            registry: registry.expect("no hosts"),
            trusted: trusted.clone(),
            license_file: None,
        };
        let licensing = Licensing::load(parts).await.expect("loaded");
        Self { licensing, trusted }
    }

    async fn install(&self, text: String) -> Result<(), InstallError> {
        actions::install(&self.licensing, AuditContext::system("test"), text).await
    }

    async fn reset(&self, text: String) -> Result<(), InstallError> {
        actions::reset_floor(&self.licensing, AuditContext::system("test"), text).await
    }

    async fn remove(&self, signer: &Signer) -> bool {
        let context = AuditContext::system("test");
        let removed = actions::remove(&self.licensing, context, signer.id.clone());
        removed.await.expect("asked")
    }

    /// What a module signed with this key may do.
    fn access(&self, signer: &Signer, feature: &str) -> Access {
        let module = Licensable {
            name: "groups",
            version: &Version::new(1, 0, 0),
            signer: &self.trusted.signer(&signer.id),
        };
        self.licensing.access(feature, module)
    }
}

on_each_database! {
    async fn a_licence_unlocks_what_its_own_key_signed_and_takes_nothing_from_others(database: TestDatabase) {
        let now_s = SystemClock::shared().now_us() / 1_000_000;
        let clock = ManualClock::at(now_s * 1_000_000);
        let (vendor, own) = (Signer::new(), Signer::new());
        let office = Office::open(&database, clock.clone(), &[vendor.trusted(""), own.trusted("")]).await;
        let nothing = Access::Nothing(Reason::NotLicensed);
        // One's own key grants nothing that the vendor signed.
        office.install(own.license(now_s - 9, |_| ())).await.expect("installed");
        assert_eq!(office.access(&own, "x_own"), Access::Full);
        assert_eq!(office.access(&vendor, "fleet_groups"), nothing);
        // The other way round, and neither goes for the other.
        office.install(vendor.license(now_s - 20, |_| ())).await.expect("installed");
        assert_eq!(office.access(&own, "x_own"), Access::Full);
        assert_eq!(office.access(&vendor, "fleet_groups"), Access::Full);
        assert_eq!(office.licensing.current().licenses.len(), 2);
        // A newer one of a key goes in place of that key's alone; its limits are its own.
        let small = own.license(now_s - 1, |claims| claims.max_hosts = Some(0));
        office.install(small).await.expect("installed");
        assert_eq!(office.licensing.current().licenses.len(), 2);
        // After a restart it is the same.
        let again = Office::open(&database, clock, &[vendor.trusted(""), own.trusted("")]).await;
        assert_eq!(again.access(&vendor, "fleet_groups"), Access::Full);
        assert!(again.remove(&own).await && !again.remove(&own).await);
        let lapsed = Access::ContinueOnly(Reason::NotLicensed);
        assert_eq!(again.access(&own, "fleet_groups"), lapsed);
        assert_eq!(again.access(&vendor, "fleet_groups"), Access::Full);
        let audit = "SELECT action FROM audit WHERE target_kind = 'license' ORDER BY sequence";
        let rows = database.db.read(Statement::new(audit)).await.expect("the audit log");
        let actions: Vec<&str> = rows.iter().map(|row| row.text("action").expect("text")).collect();
        assert_eq!(actions, ["license.install", "license.install", "license.install", "license.remove"]);
    }

    async fn keys_of_one_owner_are_one_signer(database: TestDatabase) {
        let now_s = SystemClock::shared().now_us() / 1_000_000;
        let (old, new) = (Signer::new(), Signer::new());
        let clock = ManualClock::at(now_s * 1_000_000);
        let apart = [old.trusted(""), new.trusted("")];
        let office = Office::open(&database, clock.clone(), &apart).await;
        office.install(new.license(now_s, |_| ())).await.expect("installed");
        assert_eq!(office.access(&old, "fleet_groups"), Access::Nothing(Reason::NotLicensed));
        let together = [old.trusted("acme="), new.trusted("acme=")];
        let office = Office::open(&database, clock, &together).await;
        assert_eq!(office.access(&old, "fleet_groups"), Access::Full);
        assert_eq!(office.access(&new, "fleet_groups"), Access::Full);
    }

    async fn a_clock_once_ahead_is_forgotten_for_a_licence_issued_since(database: TestDatabase) {
        let now_s = SystemClock::shared().now_us() / 1_000_000;
        let vendor = Signer::new();
        let keys = [vendor.trusted("")];
        let first = vendor.license(now_s - DAY_S, |_| ());
        let clock = ManualClock::at(now_s * 1_000_000);
        let office = Office::open(&database, clock, &keys).await;
        office.install(first.clone()).await.expect("installed");
        // A bad battery: forty years ahead for one look, then right again.
        let ahead = ManualClock::at((now_s + 40 * 365 * DAY_S) * 1_000_000);
        Office::open(&database, ahead, &keys).await;
        let clock = ManualClock::at(now_s * 1_000_000);
        let office = Office::open(&database, clock.clone(), &keys).await;
        let expired = Access::ContinueOnly(Reason::LicenseExpired);
        assert_eq!(office.access(&vendor, "fleet_groups"), expired);
        let stranger = Signer::new().license(now_s, |_| ());
        let elsewhere = vendor.license(now_s, |claims| claims.installation = Some("x".to_owned()));
        for (text, what) in [
            (first, "the same again"),
            (vendor.license(now_s - 2 * DAY_S, |_| ()), "an older one"),
            (vendor.license(now_s + 600, |_| ()), "one that is not issued yet"),
            (stranger, "a stranger's"),
            (elsewhere, "another installation's"),
        ] {
            assert!(office.reset(text).await.is_err(), "{what}");
            assert_eq!(office.access(&vendor, "fleet_groups"), expired, "{what}");
        }
        let fresh = vendor.license(now_s - 60, |_| ());
        office.reset(fresh.clone()).await.expect("the way back");
        assert_eq!(office.access(&vendor, "fleet_groups"), Access::Full);
        // Once only; and from here on time counts as ever.
        assert!(office.reset(fresh).await.is_err());
        let again = Office::open(&database, clock.clone(), &keys).await;
        assert_eq!(again.access(&vendor, "fleet_groups"), Access::Full);
        clock.advance(Duration::from_secs(40 * 86_400));
        again.licensing.look().await.expect("looked");
        assert_eq!(again.access(&vendor, "fleet_groups"), expired);
    }

    async fn what_one_signer_says_about_the_time_is_nothing_to_another(database: TestDatabase) {
        let now_s = SystemClock::shared().now_us() / 1_000_000;
        let (vendor, own) = (Signer::new(), Signer::new());
        let keys = [vendor.trusted(""), own.trusted("")];
        let bought = vendor.license(now_s, |claims| claims.exp = now_s + DAY_S);
        let office = Office::open(&database, ManualClock::at(now_s * 1_000_000), &keys).await;
        office.install(bought).await.expect("installed");
        assert_eq!(office.access(&vendor, "fleet_groups"), Access::Full);
        // It is long over, and somebody sets the clock back and vouches for it with a key of their own.
        let over = ManualClock::at((now_s + 400 * DAY_S) * 1_000_000);
        Office::open(&database, over, &keys).await;
        let back = ManualClock::at((now_s + 60) * 1_000_000);
        let office = Office::open(&database, back.clone(), &keys).await;
        let expired = Access::ContinueOnly(Reason::LicenseExpired);
        assert_eq!(office.access(&vendor, "fleet_groups"), expired);
        let vouching = own.license(now_s + 30, |_| ());
        office.reset(vouching).await.expect("for its own");
        assert_eq!(office.access(&own, "fleet_groups"), Access::Full);
        assert_eq!(office.access(&vendor, "fleet_groups"), expired);
        let again = Office::open(&database, back, &keys).await;
        assert_eq!(again.access(&own, "fleet_groups"), Access::Full);
        assert_eq!(again.access(&vendor, "fleet_groups"), expired);
        // And the vendor's own way back is not closed by it.
        let fresh = vendor.license(now_s + 20, |_| ());
        again.reset(fresh).await.expect("the vendor's way back");
        assert_eq!(again.access(&vendor, "fleet_groups"), Access::Full);
    }
}
