//! Seeded lives of factories that crash, stall, lose answers, replay old messages and race, over two servers with one
//! database; operators who interfere. After every step what is kept is recounted, and what was told to anybody must still
//! be so. Then the faults stop, and every job must end or say what it waits for.

use std::collections::BTreeMap;

use fleetwright_tests::databases::TestDatabase;
use fleetwright_tests::on_each_database;
use fleetwright_tests::seed::{Choices, rounds, seed_of};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::kept;
use crate::support::{Bench, text};

/// In an ordinary run: some seconds in a debug build.
const STEPS: u64 = 150;
const FINAL: [&str; 3] = ["shipped", "dead_letter", "cancelled"];
const STAGES: [&str; 7] = [
    "building", "review", "testing", "shipped", "failed", "queued", "building",
];

struct World {
    servers: [Bench; 2],
    choices: Choices,
    factories: Vec<Factory>,
    submitted: u64,
    /// Who was told to hold a job at an epoch.
    told: BTreeMap<(String, i64), String>,
    /// Each job as it was seen last: revision, epoch, stage.
    seen: BTreeMap<String, (i64, i64, String)>,
}

struct Factory {
    id: String,
    /// What it believes to hold.
    holds: Vec<(String, i64)>,
    /// What it sent before: path and body.
    sent: Vec<(&'static str, String, Value)>,
    claims: u64,
}

impl World {
    async fn new(database: &TestDatabase, seed: u64) -> Self {
        let bench = Bench::start(database, &["preemption", "budgets"]).await;
        let other = Bench::beside(&bench.server);
        for (product, ceiling) in [("p0", 30), ("p1", 8)] {
            let body = json!({"ceilingUsd": ceiling, "window": "daily"});
            bench
                .done("PUT", &format!("/budgets/{product}"), body)
                .await;
        }
        let mut factories = Vec::new();
        for (number, capabilities) in [&["gpu"][..], &[], &["gpu", "arm"], &["arm"]]
            .iter()
            .enumerate()
        {
            let seats = u32::try_from(number).unwrap() % 3 + 1;
            let id = bench
                .factory(&format!("f{number}"), seats, capabilities)
                .await;
            factories.push(Factory {
                id,
                holds: Vec::new(),
                sent: Vec::new(),
                claims: 0,
            });
        }
        Self {
            servers: [bench, other],
            choices: Choices::new(seed),
            factories,
            submitted: 0,
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn server(&mut self) -> usize {
        usize::try_from(self.choices.below(2)).unwrap()
    }

    fn one(&mut self) -> usize {
        usize::try_from(self.choices.below(self.factories.len() as u64)).unwrap()
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[usize::try_from(self.choices.below(words.len() as u64)).unwrap()]
    }

    async fn step(&mut self) {
        match self.choices.below(14) {
            0 | 1 => self.submit().await,
            2..=4 => self.claim().await,
            5 | 6 => self.report().await,
            7 => self.replay().await,
            8 => self.heartbeat().await,
            9 => {
                // It crashes, and knows nothing of what it held.
                let one = self.one();
                self.factories[one].holds.clear();
            }
            10 | 11 => {
                let seconds = [5, 40, 95, 901][usize::try_from(self.choices.below(4)).unwrap()];
                self.servers[0].after(seconds);
            }
            12 => {
                let [one, other] = &self.servers;
                tokio::join!(one.reap(), other.reap());
            }
            _ => self.operate().await,
        }
    }

    async fn submit(&mut self) {
        self.submitted += 1;
        let number = self.submitted;
        let priority = self.pick(&["low", "normal", "high", "critical"]);
        let needs = self.pick(&["", "", "gpu", "arm"]);
        let product = self.pick(&["p0", "p1", "p2"]);
        let task = |key: String| {
            let needs: Vec<&str> = Some(needs)
                .filter(|needs| !needs.is_empty())
                .into_iter()
                .collect();
            json!({"idempotency_key": key, "priority": priority, "product_id": product, "body_md": "x", "max_attempts": 2,
                   "required_capabilities": needs, "estimate_usd": number % 3})
        };
        let mut body = task(format!("{number}"));
        if self.choices.one_in(4) {
            body["children"] = json!([task(format!("{number}-a")), task(format!("{number}-b"))]);
        }
        let server = self.server();
        self.servers[server].done("POST", "/jobs", body).await;
    }

    /// Some claim at once, on both servers; some answers are lost.
    async fn claim(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..=self.choices.below(6) {
            let (server, one) = (self.server(), self.one());
            let factory = &mut self.factories[one];
            factory.claims += 1;
            let body =
                json!({"factory_id": factory.id, "claim_id": format!("c{}", factory.claims)});
            factory
                .sent
                .push(("POST", "/jobs/claim".to_owned(), body.clone()));
            asked.push((server, one, body));
        }
        let claims = asked
            .iter()
            .map(|(server, _, body)| self.servers[*server].send("POST", "/jobs/claim", body));
        let answers = join_all(claims).await;
        for ((_, one, _), answer) in asked.into_iter().zip(answers) {
            assert!([200, 204].contains(&answer.status), "{:?}", answer.json());
            if answer.status == 200 {
                self.learn(one, &answer.json());
            }
        }
    }

    fn learn(&mut self, one: usize, claimed: &Value) {
        let lease = (
            text(claimed, "id"),
            claimed["lease_epoch"].as_i64().unwrap(),
        );
        let id = self.factories[one].id.clone();
        let first = self.told.entry(lease.clone()).or_insert_with(|| id.clone());
        assert_eq!(*first, id, "{lease:?} was given to two");
        if !self.choices.one_in(5) && !self.factories[one].holds.contains(&lease) {
            self.factories[one].holds.push(lease);
        }
    }

    async fn report(&mut self) {
        let one = self.one();
        let Some((job, epoch)) = self.factories[one].holds.last().cloned() else {
            return;
        };
        let stage = self.pick(&STAGES);
        let body =
            json!({"stage": stage, "lease_epoch": epoch, "checkpoint": format!("{stage} {epoch}")});
        let path = format!("/jobs/{job}");
        self.factories[one]
            .sent
            .push(("PATCH", path.clone(), body.clone()));
        self.send(one, "PATCH", &path, &body).await;
        if ["shipped", "failed", "queued"].contains(&stage) {
            self.factories[one].holds.pop();
        }
    }

    /// Something that was sent before comes once more.
    async fn replay(&mut self) {
        let one = self.one();
        let sent = self.factories[one].sent.len() as u64;
        if sent > 0 {
            let which = usize::try_from(self.choices.below(sent)).unwrap();
            let (method, path, body) = self.factories[one].sent[which].clone();
            self.send(one, method, &path, &body).await;
        }
    }

    /// Whatever is answered with 200 must have been allowed to.
    async fn send(&mut self, one: usize, method: &str, path: &str, body: &Value) {
        let server = self.server();
        let answer = self.servers[server].send(method, path, body).await;
        let json = answer.json();
        match (method, answer.status) {
            ("POST", 200) => self.learn(one, &json),
            ("PATCH", 200) => {
                let lease = (text(&json, "id"), body["lease_epoch"].as_i64().unwrap());
                assert_eq!(
                    self.told.get(&lease),
                    Some(&self.factories[one].id),
                    "{path} {body}"
                );
                assert_eq!(json["lease_epoch"].as_i64(), Some(lease.1), "{path} {body}");
            }
            (_, 204 | 409) => {}
            _ => panic!("{method} {path} {body}: {json}"),
        }
    }

    async fn heartbeat(&mut self) {
        let (server, one) = (self.server(), self.one());
        let factory = &mut self.factories[one];
        let jobs: Vec<Value> = factory
            .holds
            .iter()
            .map(|(job, epoch)| json!({"job_id": job, "lease_epoch": epoch}))
            .collect();
        let path = format!("/factories/{}/heartbeat", factory.id);
        let answer = self.servers[server]
            .done("POST", &path, json!({"jobs": jobs}))
            .await;
        for held in answer["jobs"].as_array().unwrap() {
            let lease = (text(held, "job_id"), held["lease_epoch"].as_i64().unwrap());
            if held["held"] == false {
                factory.holds.retain(|one| *one != lease);
            } else {
                assert_eq!(self.told.get(&lease), Some(&factory.id));
            }
        }
    }

    async fn operate(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let which = usize::try_from(self.choices.below(self.seen.len() as u64)).unwrap();
        let job = self.seen.keys().nth(which).unwrap().clone();
        let what = self.pick(&["requeue", "requeue", "cancel", "reject", "ship"]);
        let server = self.server();
        let (status, code) = self.servers[server]
            .told("POST", &format!("/jobs/{job}/{what}"), Value::Null)
            .await;
        assert!([200, 409].contains(&status), "{what} {status} {code}");
    }

    /// What ended stays as it is; nothing goes back.
    async fn check(&mut self) {
        for job in self.jobs().await {
            let now = (
                job["revision"].as_i64().unwrap(),
                job["lease_epoch"].as_i64().unwrap(),
                text(&job, "stage"),
            );
            if let Some(before) = self.seen.insert(text(&job, "id"), now.clone()) {
                assert!(before.0 <= now.0 && before.1 <= now.1, "{before:?} {now:?}");
                assert!(
                    before == now || !FINAL.contains(&before.2.as_str()),
                    "{before:?} {now:?}"
                );
            }
            let attempts = job["attempts"].as_i64().unwrap();
            assert!(job["preemptions"].as_i64().unwrap() <= 3, "{job}");
            assert!(now.2 != "queued" || attempts >= 0, "{job}");
        }
        kept::check(&self.servers[0].handle).await;
    }

    async fn jobs(&self) -> Vec<Value> {
        let listed = self.servers[0]
            .done("GET", "/jobs?limit=500", Value::Null)
            .await;
        assert!(listed["next_cursor"].is_null());
        listed["items"].as_array().unwrap().clone()
    }

    /// No more faults: factories work on what they get, an operator requeues what failed and cancels what cannot go on.
    async fn calm(&mut self) {
        for factory in &mut self.factories {
            factory.holds.clear();
        }
        for _ in 0..40 {
            self.servers[0].after(95);
            while self.servers[0].reap().await > 0 {}
            for one in 0..self.factories.len() {
                self.work(one).await;
            }
            let open: Vec<Value> = self
                .jobs()
                .await
                .into_iter()
                .filter(|job| !FINAL.contains(&text(job, "stage").as_str()))
                .collect();
            if open.is_empty() {
                return;
            }
            for job in open {
                let (id, stage) = (text(&job, "id"), text(&job, "stage"));
                let blocked = self.servers[0].see(&id).await["blocked_by"]
                    .as_array()
                    .is_some_and(|by| !by.is_empty());
                let what = match stage.as_str() {
                    "failed" => "requeue",
                    "blocked" if blocked => "cancel",
                    "review" => "ship",
                    _ => continue,
                };
                self.servers[0]
                    .told("POST", &format!("/jobs/{id}/{what}"), Value::Null)
                    .await;
            }
            // Budgets begin anew.
            self.servers[0].after(86_400);
        }
        panic!("still open: {:?}", self.jobs().await);
    }

    async fn work(&self, one: usize) {
        loop {
            let claimed = self.servers[0].claim(&self.factories[one].id).await;
            if claimed.is_null() {
                return;
            }
            assert_eq!(self.servers[1].patch(&claimed, "building").await.0, 200);
            assert_eq!(self.servers[0].patch(&claimed, "shipped").await.0, 200);
        }
    }
}

on_each_database! {
    async fn whatever_factories_do_each_lease_has_one_holder_and_every_job_ends(database: TestDatabase) {
        let seed = seed_of("factories");
        let mut world = World::new(&database, seed).await;
        for _ in 0..rounds(STEPS) {
            world.step().await;
            world.check().await;
        }
        world.calm().await;
        world.check().await;
    }
}
