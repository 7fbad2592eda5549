//! Limits that hold without credentials: memory, connections, answers and addresses.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fleetwright_tests::client::{Client, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::{Answer, Connection, Request};
use fleetwright_tests::load::identity::enroll_all;
use fleetwright_tests::server_process::{ADMIN, ADMIN_PASSWORD};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

/// What an error answer may have at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

fn credentials(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password})
}

fn log_in(client: &Client, name: &str, password: &str) -> Answer {
    client.post("/auth/login", &credentials(name, password))
}

/// The same from another address, as a proxy tells it.
fn log_in_from(client: &Client, address: &str, name: &str, password: &str) -> u16 {
    let request = client.request("POST", "/auth/login");
    let request = request.json(&credentials(name, password));
    client
        .send(&request.header("x-forwarded-for", address))
        .status
}

fn metrics(address: SocketAddr, token: Option<&str>) -> Answer {
    let request = Request::new("GET", "/metrics");
    let request = match token {
        Some(token) => request.header("authorization", &format!("Bearer {token}")),
        None => request,
    };
    fleetwright_tests::http::once(address, &request).expect("an answer")
}

#[test]
fn what_strangers_send_is_neither_kept_nor_looked_at_beyond_its_limit() {
    let fleet = Setup::community().start();
    let nobody = Client::anonymous(fleet.server.listen);
    let before_kib = fleet.server.process().resident_kib();
    for number in 0..60 {
        let name = format!("{number}{}", "x".repeat(1_000_000));
        assert_eq!(log_in(&nobody, &name, "p").status, 413);
    }
    let (name, password) = ("x".repeat(121), "x".repeat(1_025));
    let wrong = log_in(&nobody, &name, &password);
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (422, "invalid-field")
    );
    assert_eq!(wrong.json()["errors"].as_array().map(Vec::len), Some(2));
    let long = json!({"refresh_token": "x".repeat(4_097)});
    assert_eq!(nobody.post("/auth/refresh", &long).status, 422);
    let mut connection = Connection::open(fleet.server.listen).expect("connected");
    for number in 0..300 {
        let method = format!("M{number:07}{}", "X".repeat(50_000));
        let answer = connection.exchange(&Request::new(&method, "/healthz"));
        assert_eq!(answer.expect("an answer").status, 405);
    }
    let shown = metrics(fleet.server.listen, None).text();
    assert!(shown.contains("method=\"other\""), "{shown}");
    assert!(shown.len() < 64 * 1024, "{} bytes of metrics", shown.len());
    let grown_kib = fleet
        .server
        .process()
        .resident_kib()
        .saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB more");
}

#[test]
fn metrics_have_an_address_and_a_token_of_their_own() {
    let token = "0123456789abcdef0123";
    let fleet = Setup::community()
        .with("metrics_listen = \"127.0.0.1:0\"")
        .with(&format!("metrics_token = {token:?}"))
        .start();
    let file = fleet.server.settings.data_dir().join("addresses.json");
    let addresses: Value =
        serde_json::from_slice(&std::fs::read(file).expect("read")).expect("JSON");
    let own: SocketAddr = text(&addresses, "metrics_listen")
        .parse()
        .expect("an address");
    assert_eq!(metrics(fleet.server.listen, Some(token)).status, 404);
    for (shown, status) in [
        (None, 401),
        (Some("0123456789abcdef0124"), 401),
        (Some(""), 401),
        (Some(token), 200),
    ] {
        assert_eq!(metrics(own, shown).status, status, "{shown:?}");
    }
    let other = fleetwright_tests::http::once(own, &Request::new("GET", "/readyz"));
    assert_eq!(
        other.expect("an answer").status,
        404,
        "nothing else is there"
    );
}

#[test]
fn a_crowd_that_says_nothing_shuts_out_neither_operators_nor_agents() {
    let mut fleet = Setup::community().start();
    let kept = fleet.admin.request("GET", "/auth/me");
    let mut known = Connection::open(fleet.server.listen).expect("connected");
    assert_eq!(known.exchange(&kept).expect("an answer").status, 200);
    let crowd = |address: SocketAddr, count: usize| -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect(address).expect("the port takes it");
        (0..count).map(connect).collect()
    };
    // More than one address has places for.
    let operators = crowd(fleet.server.listen, 700);
    assert_eq!(known.exchange(&kept).expect("an answer").status, 200);
    Client::login(fleet.server.listen, ADMIN, ADMIN_PASSWORD);
    let first = operators.first().expect("a crowd");
    wait_for("the oldest to be let go", PATIENCE, || has_ended(first));
    drop(operators);
    let agents = crowd(fleet.server.agent_listen, 200);
    let host = fleet.add_agent("one.example", &[]);
    fleet.admin.wait_online(&host);
    drop(agents);
}

fn has_ended(stream: &TcpStream) -> Option<()> {
    let patience = Some(Duration::from_millis(50));
    stream.set_read_timeout(patience).expect("a time is set");
    match std::io::Read::read(&mut &*stream, &mut [0]) {
        Ok(0) => Some(()),
        Ok(_) => None,
        Err(error) => (error.kind() == std::io::ErrorKind::ConnectionReset).then_some(()),
    }
}

#[test]
fn one_viewer_has_its_share_of_streams_and_leaves_the_others_theirs() {
    let fleet = Setup::community().start();
    let viewer = fleet.admin.token_of_role("viewer");
    let mut open: Vec<_> = (0..100).map(|_| viewer.events("/events")).collect();
    let refused = viewer.get("/events");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate-limited")
    );
    assert!(refused.header("retry-after").is_some());
    let mut others = fleet.admin.events("/events");
    assert!(others.next_event().expect("a stream").is_some());
    open.pop();
    wait_for("the place to be free again", PATIENCE, || {
        let request = viewer.request("GET", "/events");
        let connection = Connection::open(fleet.server.listen).ok()?;
        connection.into_events(&request).ok()
    });
}

#[test]
fn no_answer_to_nonsense_is_large() {
    let fleet = Setup::pro().start();
    wait_for("the modules", PATIENCE, || {
        (fleet.admin.get("/fleet/groups").status == 200).then_some(())
    });
    let nobody = Client::anonymous(fleet.server.listen);
    let unknown = |count: usize| -> Value {
        let fields = (0..count).map(|index| (format!("{index:x}"), json!(0)));
        Value::Object(fields.collect())
    };
    let tildes = json!({"~".repeat(900_000): 0, "deep": {"~".repeat(90_000): {"x": 1}}});
    let hosts: Vec<String> = (0..5_000)
        .map(|number| format!("00000000-0000-7000-8000-{number:012x}"))
        .collect();
    let tags: Vec<String> = (0..64).map(|_| "\u{1}".repeat(500)).collect();
    let admin = &fleet.admin;
    let cases = [
        (&nobody, "/auth/login", unknown(100_000), 413),
        (&nobody, "/auth/login", unknown(1_000), 422),
        (&nobody, "/auth/refresh", unknown(100_000), 413),
        (admin, "/plans/bulk", unknown(200_000), 400),
        (admin, "/plans/bulk", unknown(9_000), 422),
        (admin, "/plans/bulk", tildes.clone(), 422),
        (admin, "/fleet/groups", unknown(200_000), 400),
        (admin, "/fleet/groups", unknown(9_000), 422),
        (admin, "/fleet/groups", tildes, 422),
        (admin, "/hosts/approve", json!({"host_ids": hosts}), 422),
        (
            admin,
            "/hosts/approve",
            json!({"host_ids": vec!["x"; 100_000]}),
            422,
        ),
        (
            admin,
            "/fleet/select",
            json!({"explicit_host_ids": vec!["x"; 100_000]}),
            422,
        ),
        (admin, "/enrollment-tokens", json!({"tags": tags}), 422),
    ];
    for (client, path, body, status) in cases {
        let answer = client.post(path, &body);
        let bytes = answer.body.len();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(bytes <= ANSWER_BYTES_MAX, "{path}: {bytes} bytes");
    }
}

/// With one failure a minute for a name at an address: three for the name, thirty for the address.
fn strict(setup: Setup) -> TestFleet {
    setup.with("[limits]\nfailed_logins_per_minute = 1").start()
}

#[test]
fn failures_of_some_shut_out_nobody_else_at_their_address() {
    let mut fleet = strict(Setup::community().on(Engine::Postgres));
    let nobody = Client::anonymous(fleet.server.listen);
    let session = log_in(&nobody, ADMIN, ADMIN_PASSWORD).expect(200);
    let enrollment = fleet.admin.enrollment_token(1, true, &[]);
    let failed = |number: usize| log_in(&nobody, &format!("guess{number}"), "x").status;
    // The address has 30 at once and one more every two seconds, so how many it takes depends on how fast this machine is.
    let first_refused = (0..300).position(|number| failed(number) == 429);
    assert!(first_refused >= Some(30), "{first_refused:?}");
    // Who signed in here before, with a session or a password.
    let refresh = |token: &str| nobody.post("/auth/refresh", &json!({"refresh_token": token}));
    refresh(&text(&session, "refresh_token")).expect(200);
    let again = log_in(&nobody, ADMIN, ADMIN_PASSWORD).expect(200);
    // What is no token is refused, without a word about the valid ones.
    let unknown = format!("fwr_{}", "A".repeat(43));
    assert!(matches!(refresh(&unknown).status, 401 | 429));
    refresh(&text(&again, "refresh_token")).expect(200);
    // An address that nobody vouches for changes nothing.
    let elsewhere =
        |number: usize| log_in_from(&nobody, "203.0.113.9", &format!("other{number}"), "x");
    assert!((0..10).any(|number| elsewhere(number) == 429));
    for _ in 0..25 {
        let bad = format!("fwe_{}.{}", "A".repeat(43), "0".repeat(64));
        let told = enroll_in_vain(&fleet, &bad);
        assert!(told.starts_with("401") || told.starts_with("429"), "{told}");
    }
    fleet.add_agent_with("one.example", &enrollment, "");
}

/// Enrolls a host with a token that is none; what it is told.
fn enroll_in_vain(fleet: &TestFleet, token: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let enrolling = enroll_all(fleet.server.agent_listen, token, "nobody", 1);
    let enrolled = runtime.block_on(enrolling);
    enrolled.err().expect("it was let in").to_string()
}

#[test]
fn a_proxy_is_believed_and_one_name_is_guessed_slowly_from_wherever() {
    let fleet = strict(Setup::community().with("trusted_proxies = [\"127.0.0.0/8\"]"));
    let nobody = Client::anonymous(fleet.server.listen);
    let home = "198.51.100.7";
    assert_eq!(log_in_from(&nobody, home, ADMIN, ADMIN_PASSWORD), 200);
    let guesses = (1..=20).map(|last| {
        let address = format!("203.0.113.{last}");
        log_in_from(&nobody, &address, ADMIN, "x")
    });
    let tried = guesses.filter(|status| *status == 401).count();
    assert!((3..=4).contains(&tried), "{tried} guesses of one name");
    assert_eq!(log_in_from(&nobody, home, ADMIN, ADMIN_PASSWORD), 200);
    // The left of the list is the client's own work.
    let made_up = format!("{home}, 203.0.113.30");
    assert_eq!(log_in_from(&nobody, &made_up, ADMIN, ADMIN_PASSWORD), 429);
    let subscriber = |host: usize| {
        let address = format!("2001:db8:1:2::{host:x}");
        log_in_from(&nobody, &address, "somebody", "x")
    };
    assert_eq!((subscriber(1), subscriber(2)), (401, 429), "one network");
    let entries = fleet.admin.all("/audit?action=session.create");
    let from_home = entries.iter().filter(|entry| entry["address"] == home);
    assert_eq!(from_home.count(), 2, "{entries:?}");
}
