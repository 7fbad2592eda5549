//! Hosts from enrollment to deletion on both databases: what is stored, what the feed tells, who may connect.

mod registry_office;

use std::collections::BTreeMap;
use std::time::Duration;

use fleetwright_plugin_api::wire::{HostChange, HostRecord};
use fleetwright_protocol::{Facts, HostId};
use fleetwright_server::agents::connect::{self, ConnectError};
use fleetwright_server::agents::csr::Csr;
use fleetwright_server::agents::enrollment::{self, EnrollError};
use fleetwright_server::agents::generations::Denial;
use fleetwright_server::agents::renewal::{self, RenewalError};
use fleetwright_server::agents::store as agents_store;
use fleetwright_server::clock::ManualClock;
use fleetwright_server::hosts::actions::{self, HostError, HostPatch};
use fleetwright_server::hosts::host::Approval;
use fleetwright_server::hosts::presence;
use fleetwright_server::hosts::store;
use fleetwright_server::hosts::store::listing::{self, HostFilter};
use fleetwright_tests::on_each_database;
use uuid::Uuid;

use registry_office::{Machine, Office, START_US, audited, certificate, facts, hello, operator};

fn any(_revision: i64) -> bool {
    true
}

fn record(changes: &[HostChange], id: HostId) -> Option<&HostRecord> {
    changes.iter().rev().find_map(|change| match change {
        HostChange::Upsert(record) if record.id == id => Some(&**record),
        HostChange::Upsert(_) | HostChange::Deleted { .. } => None,
    })
}

async fn names(office: &Office, filter: &HostFilter) -> Vec<String> {
    let (mut after, mut names) = (None, Vec::new());
    loop {
        let page = listing::list(office.hosts.db(), filter, after.as_ref(), 2)
            .await
            .unwrap();
        let Some(last) = page.last() else {
            return names;
        };
        after = Some(listing::position_of(filter, last));
        names.extend(page.into_iter().filter_map(|host| host.reported.facts.fqdn));
    }
}

on_each_database! {
    async fn an_enrolled_host_comes_back_from_the_database_as_it_was(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let token = office.token(1, false).await;
        let enrolled = office.enroll(&token, &Machine::new("web-1.test")).await.unwrap();
        let id = enrolled.admitted.host_id;
        let host = store::get(&test.db, id).await.unwrap().unwrap();
        assert_eq!(host.reported.facts, facts("web-1.test"));
        assert_eq!(host.labels.tags, ["enrolled"]);
        assert_eq!((host.approval, host.online, host.created_at_us), (Approval::Pending, false, START_US));
        assert_eq!(host.identity.current.generation, 1);
        assert_eq!(certificate(&enrolled.certificate_pem).presented.issued, host.identity.current);
        assert_eq!(office.hosts.registry().get(id).unwrap().approval, Approval::Pending);
        assert_eq!(audited(&test.db, "host.enroll").await, 1);
    }

    async fn a_token_is_good_for_its_uses_and_its_time_only(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let office = Office::open(&test.db, folder.path(), &clock).await;
        let token = office.token(2, true).await;
        let machines = ["a", "b", "c"].map(Machine::new);
        let first = office.enroll(&token, &machines[0]).await.unwrap().admitted;
        // The answer was lost: the same key gets the same identity, and no use is taken.
        let again = office.enroll(&token, &machines[0]).await.unwrap().admitted;
        assert_eq!((again.host_id, again.generation), (first.host_id, 1));
        assert!(office.enroll(&token, &machines[1]).await.is_ok());
        let used_up = office.enroll(&token, &machines[2]).await;
        assert!(matches!(used_up, Err(EnrollError::Token)));
        assert_eq!(office.followed().await.len(), 2, "the refused host left nothing");
        let token = office.token(9, true).await;
        clock.advance(Duration::from_secs(3_600));
        let expired = office.enroll(&token, &machines[2]).await;
        assert!(matches!(expired, Err(EnrollError::Token)));
        let token = office.token(9, true).await;
        let id = agents_store::tokens_page(&test.db, None, 1).await.unwrap()[0].id;
        enrollment::delete_token(&office.agents, operator(), id).await.unwrap();
        let revoked = office.enroll(&token, &machines[2]).await;
        assert!(matches!(revoked, Err(EnrollError::Token)));
        assert_eq!(agents_store::tokens_page(&test.db, None, 9).await.unwrap().len(), 2);
        assert_eq!(audited(&test.db, "enrollment_token.create").await, 3);
        assert_eq!(audited(&test.db, "enrollment_token.delete").await, 1);
    }

    async fn a_host_that_enrols_anew_keeps_its_id_and_waits_for_approval(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let machine = Machine::new("web-1.test");
        let token = office.token(1, true).await;
        let first = office.enroll(&token, &machine).await.unwrap();
        let token = office.token(1, false).await;
        let second = office.enroll(&token, &machine).await.unwrap();
        assert_eq!(second.admitted.host_id, first.admitted.host_id);
        assert_eq!((second.admitted.generation, second.admitted.approval), (2, Approval::Pending));
        let old = connect::admit_connection(&office.agents, certificate(&first.certificate_pem)).await;
        assert!(matches!(old, Err(ConnectError::Denied(Denial::Pending))));
        let id = first.admitted.host_id;
        actions::approve_host(&office.hosts, operator(), id, false, |_| true).await.unwrap();
        let old = connect::admit_connection(&office.agents, certificate(&first.certificate_pem)).await;
        assert!(matches!(old, Err(ConnectError::Denied(Denial::Stale))));
        let new = certificate(&second.certificate_pem);
        connect::admit_connection(&office.agents, new).await.unwrap();
    }

    async fn renewals_move_on_and_a_clone_is_locked_out_until_approved_again(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let office = Office::open(&test.db, folder.path(), &clock).await;
        let machine = Machine::new("web-1.test");
        let token = office.token(1, true).await;
        let enrolled = office.enroll(&token, &machine).await.unwrap();
        let id = enrolled.admitted.host_id;
        let first = certificate(&enrolled.certificate_pem);
        let csr = Csr::parse(&machine.csr()).unwrap();
        // The first answer is lost.
        for _ in 0..2 {
            let renewed = renewal::renew(&office.agents, first, &csr, operator()).await.unwrap();
            assert_eq!(renewed.generation, 2);
        }
        let renewed = renewal::renew(&office.agents, first, &csr, operator()).await.unwrap();
        connect::admit_connection(&office.agents, first).await.unwrap();
        let second = certificate(&renewed.certificate_pem);
        connect::admit_connection(&office.agents, second).await.unwrap();
        // After a restart the second generation still is the current one.
        let office = Office::open(&test.db, folder.path(), &clock).await;
        connect::admit_connection(&office.agents, second).await.unwrap();
        let (connection, _outbound) = office.connections.register(id, 0);
        let clone = renewal::renew(&office.agents, first, &csr, operator()).await;
        assert!(matches!(clone, Err(RenewalError::Denied(Denial::Locked))));
        assert!(connection.is_over(), "the live socket is cut");
        assert_eq!(audited(&test.db, "host.lock").await, 1);
        for certificate in [first, second] {
            let refused = connect::admit_connection(&office.agents, certificate).await;
            assert!(matches!(refused, Err(ConnectError::Denied(Denial::Locked))));
            let refused = renewal::renew(&office.agents, certificate, &csr, operator()).await;
            assert!(matches!(refused, Err(RenewalError::Denied(Denial::Locked))));
        }
        let host = actions::approve_host(&office.hosts, operator(), id, false, |_| true).await.unwrap();
        assert_eq!(host.identity.locked_reason, None);
        connect::admit_connection(&office.agents, second).await.unwrap();
    }

    async fn a_rejected_or_deleted_host_is_cut_and_stays_out(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let machine = Machine::new("web-1.test");
        let token = office.token(1, true).await;
        let enrolled = office.enroll(&token, &machine).await.unwrap();
        let (id, csr) = (enrolled.admitted.host_id, Csr::parse(&machine.csr()).unwrap());
        let presented = certificate(&enrolled.certificate_pem);
        let (connection, _outbound) = office.connections.register(id, 0);
        actions::reject_host(&office.hosts, operator(), id).await.unwrap();
        assert_eq!(connection.until_cut().await.code, 1008);
        let twice = actions::reject_host(&office.hosts, operator(), id).await;
        assert!(matches!(twice, Err(HostError::InvalidTransition(_))));
        for token in [token, office.token(1, true).await] {
            let refused = office.enroll(&token, &machine).await;
            assert!(matches!(refused, Err(EnrollError::Rejected)));
        }
        let renewed = renewal::renew(&office.agents, presented, &csr, operator()).await;
        assert!(matches!(renewed, Err(RenewalError::Denied(Denial::Rejected))));
        office.delete(id).await.unwrap();
        let gone = office.delete(id).await;
        assert!(matches!(gone, Err(HostError::NotFound)));
        let connect = connect::admit_connection(&office.agents, presented).await;
        assert!(matches!(connect, Err(ConnectError::Unknown)));
        let download = connect::admit_download(&office.agents, presented).await;
        assert!(matches!(download, Err(ConnectError::Unknown)));
        let followed = office.followed().await;
        assert!(matches!(followed[..], [HostChange::Deleted { id: deleted, .. }] if deleted == id));
        assert_eq!(office.hosts.registry().len(), 0);
        for action in ["host.reject", "host.delete"] {
            assert_eq!(audited(&test.db, action).await, 1, "{action}");
        }
    }

    async fn what_was_stored_without_memory_hearing_of_it_is_read_back(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let token = office.token(3, false).await;
        let mut ids = Vec::new();
        for name in ["a.test", "b.test", "c.test"] {
            let enrolled = office.enroll(&token, &Machine::new(name)).await.unwrap();
            ids.push(enrolled.admitted.host_id);
        }
        // Another server on the same database: this one's hooks never run.
        let other = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        actions::approve_host(&other.hosts, operator(), ids[0], false, |_| true).await.unwrap();
        other.delete(ids[1]).await.unwrap();
        let token = other.token(1, true).await;
        let late = other.enroll(&token, &Machine::new("d.test")).await.unwrap().admitted.host_id;
        let registry = office.hosts.registry();
        assert!(!registry.is_admitted(ids[0]) && registry.contains(ids[1]));
        office.hosts.reload().await.unwrap();
        assert!(registry.is_admitted(ids[0]) && registry.is_admitted(late));
        assert!(!registry.contains(ids[1]) && !registry.is_admitted(ids[2]));
        assert_eq!((registry.len(), registry.approved_count()), (3, 2));
        assert_eq!(office.hosts.revision(), other.hosts.revision());
    }

    async fn many_hosts_are_approved_together_or_not_at_all(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let token = office.token(9, false).await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push(office.enroll(&token, &Machine::new(name)).await.unwrap().admitted.host_id);
        }
        let mut unknown = ids.clone();
        unknown.insert(1, HostId(Uuid::from_u128(1)));
        let refused = actions::approve_hosts(&office.hosts, operator(), unknown, false, BTreeMap::new()).await;
        let Err(HostError::Invalid(found)) = refused else { panic!("approved") };
        assert_eq!(found[0].pointer, "/host_ids/1");
        assert_eq!(audited(&test.db, "host.approve").await, 0);
        actions::approve_host(&office.hosts, operator(), ids[0], false, |_| true).await.unwrap();
        let before = office.hosts.revision();
        let outcome = actions::approve_hosts(&office.hosts, operator(), ids.clone(), false, BTreeMap::new()).await.unwrap();
        assert_eq!((outcome.approved, outcome.unchanged), (2, 1));
        assert_eq!(office.hosts.revision(), before + 2);
        for id in &ids {
            assert_eq!(office.hosts.registry().get(*id).unwrap().approval, Approval::Approved);
        }
        let outcome = actions::approve_hosts(&office.hosts, operator(), ids.clone(), false, BTreeMap::new()).await.unwrap();
        assert_eq!((outcome.approved, outcome.unchanged), (0, 3));
        assert_eq!(office.hosts.registry().approved_count(), 3);
        actions::reject_host(&office.hosts, operator(), ids[0]).await.unwrap();
        office.delete(ids[1]).await.unwrap();
        let restarted = Office::open(&test.db, folder.path(), &office.clock).await;
        for registry in [office.hosts.registry(), restarted.hosts.registry()] {
            assert_eq!((registry.approved_count(), registry.len()), (1, 2));
        }
        assert_eq!(audited(&test.db, "host.approve").await, 2);
    }

    async fn operators_labels_are_kept_apart_from_the_agents(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let id = office.approved("web-1.test").await;
        actions::record_hello(&office.hosts, id, &hello("web-1.test", 1)).await.unwrap();
        let patch = HostPatch {
            tags: Some(vec!["web".into(), "said".into()]),
            attributes: Some(BTreeMap::from([("site".to_owned(), "west".to_owned())])),
            reserved: Some(true),
        };
        let host = actions::patch_host(&office.hosts, operator(), id, patch.clone(), any).await.unwrap();
        assert_eq!(host.labels.tags, ["said", "web"]);
        assert_eq!(host.labels.attributes["site"], "west");
        let revision = host.revision;
        let same = actions::patch_host(&office.hosts, operator(), id, patch, any).await.unwrap();
        assert_eq!(same.revision, revision, "nothing changed");
        assert_eq!(audited(&test.db, "host.update").await, 1);
        let clear = HostPatch { tags: Some(Vec::new()), attributes: Some(BTreeMap::new()), reserved: None };
        let stale = actions::patch_host(&office.hosts, operator(), id, clear.clone(), |_| false).await;
        assert!(matches!(stale, Err(HostError::Stale)));
        let host = actions::patch_host(&office.hosts, operator(), id, clear, any).await.unwrap();
        assert_eq!((host.labels.tags, host.labels.attributes.len()), (vec![], 0));
        assert_eq!((host.reported.tags, host.reported.attributes["site"].as_str()), (vec!["said".to_owned()], "east"));
        let followed = office.followed().await;
        let shown = record(&followed, id).unwrap();
        assert_eq!((shown.tags.clone(), shown.agent_tags.clone(), shown.reserved), (vec![], vec!["said".to_owned()], true));
        let by_tag = HostFilter { tag: Some("web".into()), ..HostFilter::default() };
        assert!(names(&office, &by_tag).await.is_empty());
        let by_tag = HostFilter { tag: Some("said".into()), ..HostFilter::default() };
        assert!(names(&office, &by_tag).await.is_empty(), "a claim");
    }

    async fn a_hello_writes_only_what_is_new(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let office = Office::open(&test.db, folder.path(), &clock).await;
        let id = office.approved("web-1.test").await;
        let first = actions::record_hello(&office.hosts, id, &hello("web-1.test", 1)).await.unwrap();
        assert!(!first.journal_changed, "the first journal is not a lost one");
        assert_eq!(office.save_presence().await, 1);
        let revision = office.hosts.revision();
        // Again on the same server, and on a restarted one that has nothing in memory.
        for _ in 0..2 {
            for _ in 0..2 {
                let again = actions::record_hello(&office.hosts, id, &hello("web-1.test", 1)).await.unwrap();
                assert!(!again.journal_changed);
            }
            assert_eq!(office.save_presence().await, 0);
            assert_eq!(store::revision(&test.db).await.unwrap(), revision);
        }
        let restarted = Office::open(&test.db, folder.path(), &clock).await;
        actions::record_hello(&restarted.hosts, id, &hello("web-1.test", 1)).await.unwrap();
        assert_eq!(restarted.save_presence().await, 0, "it was stored as online");
        assert_eq!(store::revision(&test.db).await.unwrap(), revision);
        actions::record_hello(&office.hosts, id, &hello("renamed.test", 1)).await.unwrap();
        assert_eq!(office.hosts.revision(), revision + 1);
        actions::record_facts(&office.hosts, id, Facts { hostname: Some("x".into()), ..facts("renamed.test") }).await.unwrap();
        assert_eq!(office.hosts.revision(), revision + 2);
        let followed = office.followed().await;
        // It keeps the name it was approved with, and the other one waits.
        let host = store::get(&test.db, id).await.unwrap().unwrap();
        assert_eq!(host.pending_names().unwrap().hostname.as_deref(), Some("x"));
        assert_eq!(record(&followed, id).unwrap().fqdn.as_deref(), Some("web-1.test"));
    }

    async fn hellos_that_come_together_are_all_recorded(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(office.approved(&format!("h{number}.test")).await);
        }
        let revision = office.hosts.revision();
        let unknown = HostId(Uuid::from_u128(1));
        let said = ids.iter().chain([&unknown]).map(|id| {
            let (hosts, id) = (office.hosts.clone(), *id);
            // Half of them say something new; the first of a host is never a lost journal.
            let name = if id.as_bytes()[15] % 2 == 0 { "new.test" } else { "other.test" };
            async move { actions::record_hello(&hosts, id, &hello(name, 7)).await.unwrap() }
        });
        for recorded in futures_util::future::join_all(said).await {
            assert!(!recorded.journal_changed);
        }
        assert_eq!(office.hosts.revision(), revision + 20);
        for id in ids {
            let name = if id.as_bytes()[15] % 2 == 0 { "new.test" } else { "other.test" };
            let host = store::get(&test.db, id).await.unwrap().unwrap();
            assert_eq!(host.reported.facts.fqdn.as_deref(), Some(name));
        }
        assert_eq!(office.save_presence().await, 20);
    }

    async fn a_lost_journal_is_reported_until_its_commands_are_closed(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let id = office.approved("web-1.test").await;
        actions::record_hello(&office.hosts, id, &hello("web-1.test", 1)).await.unwrap();
        let new_disk = hello("web-1.test", 2);
        for _ in 0..2 {
            let recorded = actions::record_hello(&office.hosts, id, &new_disk).await.unwrap();
            assert!(recorded.journal_changed);
        }
        let journal = new_disk.journal_id;
        test.db.write(move |tx| actions::save_journal_in(tx, id, journal)).await.unwrap();
        let recorded = actions::record_hello(&office.hosts, id, &new_disk).await.unwrap();
        assert!(!recorded.journal_changed);
    }

    async fn silence_takes_a_host_offline_and_a_heartbeat_brings_it_back(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let office = Office::open(&test.db, folder.path(), &clock).await;
        let quiet = office.approved("quiet.test").await;
        let busy = office.approved("busy.test").await;
        for id in [quiet, busy] {
            actions::record_hello(&office.hosts, id, &hello("same.test", 1)).await.unwrap();
        }
        assert_eq!(office.save_presence().await, 2);
        clock.advance(Duration::from_secs(34));
        office.hosts.record_heartbeat(busy, Default::default());
        assert!(office.hosts.expire_silent().is_empty());
        clock.advance(Duration::from_secs(2));
        assert_eq!(office.hosts.expire_silent(), [quiet]);
        assert_eq!(office.save_presence().await, 1);
        let offline = HostFilter { online: Some(false), ..HostFilter::default() };
        assert_eq!(names(&office, &offline).await.len(), 1);
        let followed = office.followed().await;
        assert_eq!(record(&followed, quiet).unwrap().status, "offline");
        assert_eq!(record(&followed, busy).unwrap().status, "online");
        office.hosts.record_heartbeat(quiet, Default::default());
        assert!(office.hosts.registry().get(quiet).unwrap().online);
        assert_eq!(office.save_presence().await, 1);
        // Gone and back between two saves is not worth a revision.
        let revision = office.hosts.revision();
        actions::record_offline(&office.hosts, vec![quiet]).await.unwrap();
        office.hosts.record_heartbeat(quiet, Default::default());
        assert_eq!(office.save_presence().await, 0);
        assert_eq!(office.hosts.revision(), revision);
    }

    async fn hosts_that_do_not_return_after_a_restart_go_offline(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let office = Office::open(&test.db, folder.path(), &clock).await;
        let id = office.approved("web-1.test").await;
        actions::record_hello(&office.hosts, id, &hello("web-1.test", 1)).await.unwrap();
        office.save_presence().await;
        assert_eq!(presence::save_last_seen(&office.hosts).await.unwrap(), 1);
        assert_eq!(presence::save_last_seen(&office.hosts).await.unwrap(), 0);
        clock.advance(Duration::from_secs(3_600));
        let restarted = Office::open(&test.db, folder.path(), &clock).await;
        assert_eq!(restarted.hosts.last_seen(), [(id, START_US)]);
        assert!(restarted.hosts.expire_silent().is_empty(), "it has time to come back");
        clock.advance(Duration::from_secs(36));
        assert_eq!(restarted.hosts.expire_silent(), [id]);
        assert_eq!(restarted.save_presence().await, 1);
    }

    async fn lists_page_through_every_filter_without_gaps_or_doubles(test: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let office = Office::open(&test.db, folder.path(), &ManualClock::at(START_US)).await;
        let mut expected = Vec::new();
        for number in 0..7 {
            let name = format!("Web-{number}.test");
            let id = office.approved(&name).await;
            if number % 2 == 0 {
                actions::record_hello(&office.hosts, id, &hello(&name, 1)).await.unwrap();
            }
            expected.push(name);
        }
        office.approved("db-1.test").await;
        office.enroll(&office.token(1, false).await, &Machine::new("web-new.test")).await.unwrap();
        office.save_presence().await;
        assert_eq!(names(&office, &HostFilter::default()).await.len(), 9);
        let web = HostFilter { name_prefix: Some("web-".into()), approval: Some(Approval::Approved), ..HostFilter::default() };
        assert_eq!(names(&office, &web).await, expected);
        let online = HostFilter { online: Some(true), name_prefix: Some("web-".into()), tag: Some("enrolled".into()), ..HostFilter::default() };
        assert_eq!(names(&office, &online).await.len(), 4);
        let claimed = HostFilter { tag: Some("said".into()), ..HostFilter::default() };
        assert!(names(&office, &claimed).await.is_empty());
        let pending = HostFilter { approval: Some(Approval::Pending), ..HostFilter::default() };
        assert_eq!(names(&office, &pending).await, ["web-new.test"]);
        let nothing = HostFilter { name_prefix: Some("zzz".into()), ..HostFilter::default() };
        assert!(names(&office, &nothing).await.is_empty());
    }
}
