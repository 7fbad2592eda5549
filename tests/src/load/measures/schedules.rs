//! Schedules: how fast those of one second launch, and what many of which none is due cost a server that does nothing else.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::server;
use super::size::Size;
use crate::client::{Client, text};
use crate::fleet::TestFleet;
use crate::http::Connection;
use crate::load::crowd::Crowd;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::spread;
use crate::wait::{pause, wait_for};

const ROUNDS: usize = 3;
/// Schedules are made by so many clients at once: the writer groups what waits.
const CLIENTS: u64 = 8;
/// Minutes that are left for making the schedules before the first of them is due.
const LEAD: usize = 1;
/// A minute to wait for, and as long again for a loaded machine to launch in.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked whether all are launched: seldom beside what is measured.
const LOOK: Duration = Duration::from_millis(500);
/// Long enough for pings and for each of the server's timers, several times.
const IDLE: Duration = Duration::from_secs(20);
/// After a burst of writes, before the server is taken to be idle.
const SETTLE: Duration = Duration::from_secs(5);
/// Once a year, at a time nobody measures.
const NOT_DUE: &str = "34 3 29 12 *";

pub fn measure(report: &mut Report, size: Size) {
    launches(report, size);
    idle(report, size);
}

/// As many launches as schedules, due in the same second, minute after minute.
fn launches(report: &mut Report, size: Size) {
    let schedules = size.of(1_000);
    let fleet = server();
    let token = fleet.admin.enrollment_token(1, true, &["web"]);
    Crowd::new(fleet.server.agent_listen, Duration::from_secs(10)).enroll(&token, "web", 1);
    let minutes = minutes_to_come(&fleet.admin, size.runs(ROUNDS));
    let cron = format!("{} * * * *", minutes.join(","));
    create(&fleet.admin, 0..schedules, &cron);
    let mut rates = Vec::new();
    for (round, minute) in minutes.iter().enumerate() {
        let expected = schedules * (round as u64 + 1);
        let seconds = wait_launched(&fleet.admin, minute, expected);
        say(&format!(
            "{schedules} launches, the last {seconds:.3} s after they were due"
        ));
        rates.push(schedules as f64 / seconds);
    }
    assert_each_fired(&fleet.admin, minutes.len());
    let rate = Measurement::new(
        "schedules of one second launched",
        schedules,
        "launches/s",
        spread(&rates),
        Better::Higher,
    );
    report.add(
        rate.target(200.0)
            .limited_by("a look at the selector and a commit for each, some at once"),
    );
}

/// CPU time of a server without schedules, and of the same one with many that are not due.
fn idle(report: &mut Report, size: Size) {
    let schedules = size.of(10_000);
    let fleet = server();
    let without = cpu_share(&fleet);
    create(&fleet.admin, 0..schedules, NOT_DUE);
    let with = cpu_share(&fleet);
    say(&format!(
        "{without:.2} % of a core without schedules, {with:.2} % with {schedules}"
    ));
    let mut add = |measure, value: f64| {
        let one = Measurement::new(measure, schedules, "%", spread(&[value]), Better::Lower);
        report.add(one.limited_by("the server's own timers"));
    };
    add("idle CPU without schedules", without);
    add("idle CPU with schedules of which none is due", with);
}

/// Of one core, in hundredths.
fn cpu_share(fleet: &TestFleet) -> f64 {
    pause(SETTLE);
    let before = fleet.server.process().cpu_time();
    pause(IDLE);
    let used = fleet.server.process().cpu_time().saturating_sub(before);
    100.0 * used.as_secs_f64() / IDLE.as_secs_f64()
}

/// The next minutes of the server's clock after those left for preparation, each as two digits.
fn minutes_to_come(admin: &Client, count: usize) -> Vec<String> {
    let asked = json!({"cron": "* * * * *", "count": LEAD + count});
    let preview = admin.post("/fleet/schedules/preview", &asked).expect(200);
    let times = preview["times"].as_array().expect("times are a list");
    let minute = |time: &Value| {
        let time = time.as_str().expect("a time is a text");
        time[14..16].to_owned()
    };
    times[LEAD..].iter().map(minute).collect()
}

fn create(admin: &Client, numbers: Range<u64>, cron: &str) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let own = numbers
                .clone()
                .filter(move |number| number % CLIENTS == client);
            scope.spawn(move || {
                let mut connection = Connection::open(admin.address).expect("the server listens");
                for number in own {
                    let body = json!({
                        "name": format!("s{number}"), "cron": cron, "operation_type": "run_script",
                        "parameters": {"script": "true"}, "selector": {"tags": ["web"]}, "overlap_policy": "allow",
                    });
                    let request = admin.request("POST", "/fleet/schedules").json(&body);
                    let answer = connection.exchange(&request).expect("the server answers");
                    assert_eq!(answer.status, 201, "{}", answer.text());
                }
            });
        }
    });
}

/// Waits until so many operations were launched in all; how many seconds after this full minute the last of them was.
fn wait_launched(admin: &Client, minute: &str, expected: u64) -> f64 {
    let launched = wait_for("all launches", PATIENCE, || {
        let found = admin.all("/fleet/bulk");
        if (found.len() as u64) < expected {
            pause(LOOK);
            return None;
        }
        Some(found)
    });
    assert_eq!(launched.len() as u64, expected, "some launched twice");
    let times = launched
        .iter()
        .map(|operation| text(operation, "created_at"));
    let last = times.max().expect("something was launched");
    assert_eq!(&last[14..16], minute, "it took more than a minute: {last}");
    // To the millisecond, in which even one schedule takes its time.
    last[17..23].parse::<f64>().expect("seconds").max(0.001)
}

/// Panics unless each schedule has so many runs and each of them an operation.
fn assert_each_fired(admin: &Client, rounds: usize) {
    for schedule in admin.all("/fleet/schedules") {
        let runs = admin.all(&format!("/fleet/schedules/{}/runs", text(&schedule, "id")));
        let launched = runs.iter().filter(|run| run["operation"].is_object());
        assert_eq!((runs.len(), launched.count()), (rounds, rounds), "{runs:?}");
    }
}
