//! The real program against a server that says what the test says: enrollment, connection, renewal.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use fleetwright_protocol::{AgentFrame, ServerFrame};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fake_server::{FakeServer, HOST_ID, Running, program};
use crate::harness::{Host, command, lives, pid_in, script_command, wait};

/// A day, as the server gives.
const DAY: i64 = 86_400;

pub fn within(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

pub async fn enroll(server: &FakeServer, host: &Host, seconds_left: i64) -> Value {
    let (url, token) = (server.url(), server.token());
    let mut enroll = program(host, &["enroll", "--server", &url, "--token", &token]);
    let client = tokio::task::spawn_blocking(move || enroll.output().unwrap());
    let asked = server.enroll(seconds_left).await;
    let output = client.await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    asked
}

fn status(host: &Host) -> Value {
    let output = program(host, &["status", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until `status` shows this state of the connection.
fn wait_for_state(host: &Host, state: &str) {
    wait(state, || status(host)["connection"]["state"] == state);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_agent_enrols_runs_reconnects_and_stops() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        let asked = enroll(&server, &host, DAY).await;
        assert_eq!(
            asked["token"], "fwe_secret",
            "the fingerprint is the agent's business"
        );
        let data = &host.config.data_dir;
        for file in ["agent.key", "agent.crt", "ca.crt", "identity.json"] {
            assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        }
        assert_eq!(status(&host)["host_id"], HOST_ID);
        let agent = Running::start(&host);
        let mut link = server.link().await;
        assert_eq!(link.generation, Some(1));
        let first = link.expect("hello", Some).await;
        let AgentFrame::Hello(hello) = first else {
            panic!("{first:?} came first")
        };
        assert_eq!(hello.boot_id, "first-boot");
        link.welcome().await;
        wait_for_state(&host, "connected");
        link.expect("a heartbeat", |frame| {
            matches!(frame, AgentFrame::Heartbeat(_)).then_some(())
        })
        .await;
        let run = script_command("echo over the wire");
        link.send(&ServerFrame::Command(run.clone())).await;
        let outcome = link
            .expect("the end", |frame| match frame {
                AgentFrame::CommandFinished { outcome, .. } => Some(outcome),
                _ => None,
            })
            .await;
        assert_eq!(outcome.stdout.head, b"over the wire\n");
        // Not acknowledged: said again on the next connection.
        link.close(1001, "restarting").await;
        let mut link = server.link().await;
        link.welcome().await;
        link.expect("the end again", |frame| {
            matches!(frame, AgentFrame::CommandFinished { .. }).then_some(())
        })
        .await;
        link.send(&ServerFrame::Ack {
            command_id: run.command_id,
            attempt: 1,
        })
        .await;
        let ended = tokio::task::spawn_blocking(move || agent.stop());
        link.closed().await;
        assert!(ended.await.unwrap(), "it ends well when asked to");
        assert_eq!(status(&host)["running"], false);
    });
}

#[test]
fn machines_have_their_memory_for_servers_that_read_it_and_names_for_others() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.pid");
        std::fs::write(file, std::process::id().to_string()).unwrap();
        let settings = format!(
            "vms = {{source = \"pid_dir\", pid_dir = {:?}}}",
            folder.path()
        );
        let (server, host) = (FakeServer::start().await, Host::with(&settings));
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let machines = |frame| match frame {
            AgentFrame::Heartbeat(heartbeat) => Some((heartbeat.vms?, heartbeat.vm_count)),
            _ => None,
        };
        for (protocol, is_known) in [("1.0", false), ("1.1", true), ("1.0", false), ("2.7", true)] {
            let mut link = server.link().await;
            link.welcome_with(protocol).await;
            // One before the welcome was read is for the oldest server.
            link.expect("a heartbeat", machines).await;
            let (vms, count) = link.expect("another", machines).await;
            assert_eq!((vms[0].id.as_str(), vms.len(), count), ("web", 1, Some(1)));
            let memory = vms[0].memory_resident_mb;
            assert_eq!(
                memory.is_some_and(|memory| memory > 0),
                is_known,
                "{protocol}: {memory:?}"
            );
            link.close(1001, "restarting").await;
        }
    });
}

/// `kill -9`: the supervisor (forked, not executed, in a running agent) outlives it, and the next agent finds it.
#[test]
fn an_agent_killed_under_a_script_finds_it_again() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let agent = Running::start(&host);
        let mut link = server.link().await;
        link.welcome().await;
        let folder = host.folder.path().display();
        let run = script_command(&format!(
            "echo $$ > {folder}/pid; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo run >> {folder}/runs"
        ));
        link.send(&ServerFrame::Command(run.clone())).await;
        link.expect("the start", |frame| {
            matches!(frame, AgentFrame::CommandStarted { .. }).then_some(())
        })
        .await;
        let pid = pid_in(&host.path("pid"));
        drop((agent, link));
        assert!(lives(pid));
        let _agent = Running::start(&host);
        let mut link = server.link().await;
        link.welcome().await;
        link.send(&ServerFrame::Command(run)).await;
        std::fs::write(host.path("go"), "").unwrap();
        let outcome = link
            .expect("the end", |frame| match frame {
                AgentFrame::CommandFinished { outcome, .. } => Some(outcome),
                _ => None,
            })
            .await;
        assert_eq!(outcome.exit_code, Some(0), "{}", outcome.message);
        assert_eq!(std::fs::read_to_string(host.path("runs")).unwrap(), "run\n");
    });
}

#[test]
fn blobs_come_over_the_agents_own_identity_and_are_verified() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let mut link = server.link().await;
        link.welcome().await;
        let blob = vec![7; 2_000_000];
        let sha256 = hex::encode(Sha256::digest(&blob));
        for (sent, succeeds) in [(blob.as_slice(), true), (&blob[1..], false)] {
            let path = host.path(if succeeds { "good" } else { "bad" });
            let parameters = json!({"path": path, "blob_sha256": sha256});
            let deploy =
                command(json!({"operation_type": "deploy_file", "parameters": parameters}));
            link.send(&ServerFrame::Command(deploy)).await;
            let asked = server.asked().await;
            assert_eq!(
                asked.line,
                format!("GET /api/v1/agent/blobs/{sha256} HTTP/1.1")
            );
            assert_eq!(asked.generation, Some(1), "asked with the certificate");
            asked.answer("200 OK", sent).await;
            let outcome = link
                .expect("the end", |frame| match frame {
                    AgentFrame::CommandFinished { outcome, .. } => Some(outcome),
                    _ => None,
                })
                .await;
            assert_eq!(outcome.changed, succeeds, "{}", outcome.message);
            assert_eq!(path.exists(), succeeds);
        }
        assert_eq!(std::fs::read(host.path("good")).unwrap(), blob);
    });
}

#[test]
fn a_server_without_the_pinned_authority_is_told_nothing() {
    within(async {
        let (server, other, host) = (
            FakeServer::start().await,
            FakeServer::start().await,
            Host::new(),
        );
        let (url, token) = (server.url(), other.token());
        let mut enroll = program(&host, &["enroll", "--server", &url, "--token", &token]);
        let client = tokio::task::spawn_blocking(move || enroll.output().unwrap());
        server.refused_by_client().await;
        let output: Output = client.await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let bare = program(
            &host,
            &["enroll", "--server", &url, "--token", "fwe_secret"],
        )
        .output()
        .unwrap();
        assert_eq!(bare.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&bare.stderr).contains("--ca"),
            "it says what is missing"
        );
        assert_eq!(status(&host)["enrolled"], false);
    });
}

#[test]
fn a_refused_enrollment_shows_the_servers_reason() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        std::fs::write(host.path("ca.pem"), server.ca_pem()).unwrap();
        let ca = host.path("ca.pem").display().to_string();
        let url = server.url();
        let mut enroll = program(
            &host,
            &[
                "enroll", "--server", &url, "--token", "fwe_old", "--ca", &ca,
            ],
        );
        let client = tokio::task::spawn_blocking(move || enroll.output().unwrap());
        let problem =
            json!({"code": "enrollment-token-invalid", "detail": "The token has expired."});
        server
            .asked()
            .await
            .answer("401 Unauthorized", problem.to_string().as_bytes())
            .await;
        let output = client.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains("enrollment-token-invalid") && said.contains("has expired"),
            "{said}"
        );
    });
}

#[test]
fn a_machine_that_becomes_a_host_of_its_own_keeps_what_it_has_until_a_server_takes_it() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let data = host.config.data_dir.clone();
        let files = ["agent.key", "agent.crt", "identity.json", "journal"];
        let read = || files.map(|name| std::fs::read(data.join(name)).ok());
        for name in ["identity-conflict", "journal"] {
            std::fs::write(data.join(name), "").unwrap();
        }
        let before = read();
        let (url, token) = (server.url(), server.token());
        let words = ["enroll", "--force", "--server", &url, "--token", &token];
        let run = || {
            let mut enroll = program(&host, &words);
            tokio::task::spawn_blocking(move || enroll.output().unwrap())
        };

        let refused = run();
        let problem = json!({"code": "enrollment-token-invalid", "detail": "It has expired."});
        let asked = server.asked().await;
        asked
            .answer("401 Unauthorized", problem.to_string().as_bytes())
            .await;
        assert_eq!(refused.await.unwrap().status.code(), Some(1));
        assert_eq!(read(), before);
        assert!(data.join("identity-conflict").exists());
        let next = std::fs::read(data.join("agent.key.next")).unwrap();
        assert_ne!(Some(&next), before[0].as_ref());

        let taken = run();
        server.enroll(DAY).await;
        assert!(taken.await.unwrap().status.success());
        let [key, certificate, _, journal] = read();
        assert_eq!((key, journal), (Some(next), None));
        assert_ne!(certificate, before[1]);
        for name in ["identity-conflict", "agent.key.next"] {
            assert!(!data.join(name).exists(), "{name}");
        }
    });
}

#[test]
fn a_host_that_is_not_approved_keeps_asking_and_a_wrong_protocol_is_named() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let problem = json!({"code": "forbidden", "detail": "This host waits for approval."});
        for _ in 0..2 {
            let asked = server.asked().await;
            assert!(asked.line.starts_with("GET /api/v1/agent/connect "));
            asked
                .answer("403 Forbidden", problem.to_string().as_bytes())
                .await;
        }
        wait("the refusal is noted", || {
            let connection = status(&host)["connection"].clone();
            connection["state"] == "not_approved"
                && connection["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.contains("waits for approval"))
        });
        let mut link = server.link().await;
        link.expect("hello", |frame| {
            matches!(frame, AgentFrame::Hello(_)).then_some(())
        })
        .await;
        assert_eq!(
            status(&host)["connection"]["state"],
            "not_approved",
            "a new attempt leaves standing what the last one found"
        );
        link.close(1002, "this server speaks 2.0").await;
        wait_for_state(&host, "wrong_protocol");
    });
}

#[test]
fn a_certificate_past_two_thirds_of_its_life_is_renewed_before_connecting() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, 3_600).await;
        let agent = Running::start(&host);
        let asked = server.asked().await;
        assert!(
            asked.line.starts_with("POST /api/v1/agent/renew "),
            "{}",
            asked.line
        );
        assert_eq!(asked.generation, Some(1));
        let certificate_pem = server.sign(asked.body["csr_pem"].as_str().unwrap(), 2, DAY);
        let answer =
            json!({"certificate_pem": certificate_pem, "ca_pem": server.ca_pem(), "generation": 2});
        asked.answer("200 OK", answer.to_string().as_bytes()).await;
        let mut link = server.link().await;
        assert_eq!(
            link.generation,
            Some(2),
            "the new certificate is used at once"
        );
        link.welcome().await;
        wait_for_state(&host, "connected");
        assert_eq!(status(&host)["generation"], 2);
        drop(agent);
    });
}

#[test]
fn a_renewal_that_names_another_authority_is_refused_and_the_old_trust_serves_on() {
    within(async {
        let (server, stranger, host) = (
            FakeServer::start().await,
            FakeServer::start().await,
            Host::new(),
        );
        enroll(&server, &host, 1_000).await;
        let kept = |name: &str| std::fs::read_to_string(host.path("data").join(name)).unwrap();
        let before = (kept("ca.crt"), kept("agent.crt"), kept("identity.json"));
        let agent = Running::start(&host);
        let asked = server.asked().await;
        assert!(
            asked.line.starts_with("POST /api/v1/agent/renew "),
            "{}",
            asked.line
        );
        let certificate_pem = stranger.sign(asked.body["csr_pem"].as_str().unwrap(), 2, DAY);
        let answer = json!({
            "certificate_pem": certificate_pem, "ca_pem": stranger.ca_pem(), "generation": 2,
        });
        asked.answer("200 OK", answer.to_string().as_bytes()).await;
        let mut link = server.link().await;
        assert_eq!(link.generation, Some(1), "it connects as before");
        link.welcome().await;
        assert_eq!(
            (kept("ca.crt"), kept("agent.crt"), kept("identity.json")),
            before
        );
        assert!(agent.stop());
        let log = std::fs::read_to_string(host.path("log")).unwrap();
        assert!(
            log.contains("NOT renewed") && log.contains("has not signed"),
            "{log}"
        );
    });
}

#[test]
fn the_token_of_an_enrollment_need_not_be_an_argument() {
    within(async {
        let server = FakeServer::start().await;
        for way in ["file", "stdin", "variable"] {
            let host = Host::new();
            let url = server.url();
            let mut enroll = program(&host, &["enroll", "--server", &url]);
            std::fs::write(host.path("token"), format!("{}\n", server.token())).unwrap();
            match way {
                "file" => enroll.arg("--token-file").arg(host.path("token")),
                "stdin" => enroll.args(["--token-file", "-"]),
                _ => enroll.env("FLEETWRIGHT_AGENT_TOKEN", server.token()),
            };
            let stdin = std::fs::File::open(host.path("token")).unwrap();
            let mut child = enroll.stdin(stdin).stdout(Stdio::null()).spawn().unwrap();
            let body = server.enroll(DAY).await;
            assert_eq!(body["token"], "fwe_secret", "{way}");
            let done = tokio::task::spawn_blocking(move || child.wait())
                .await
                .unwrap();
            assert!(done.unwrap().success(), "{way}");
        }
    });
    let host = Host::new();
    let mut without = program(&host, &["enroll", "--server", "https://127.0.0.1:1"]);
    let output = without.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--token-file"),
        "{said}"
    );
}

/// Answers a renewal with a certificate of the next generation.
async fn renew(server: &FakeServer, generation: u64, seconds_left: i64) {
    let asked = server.asked().await;
    let line = &asked.line;
    assert!(line.starts_with("POST /api/v1/agent/renew "), "{line}");
    let csr = asked.body["csr_pem"].as_str().unwrap();
    let certificate_pem = server.sign(csr, generation, seconds_left);
    let answer = json!({
        "certificate_pem": certificate_pem, "ca_pem": server.ca_pem(), "generation": generation,
    });
    asked.answer("200 OK", answer.to_string().as_bytes()).await;
}

#[test]
fn an_agent_whose_clock_is_behind_renews_when_the_server_says_it_is_time() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        // By this agent's clock there is no hurry.
        enroll(&server, &host, DAY).await;
        let _agent = Running::start(&host);
        let mut link = server.link().await;
        link.welcome().await;
        link.close(1008, "the certificate has expired").await;
        let asked = server.asked().await;
        assert!(
            asked.line.starts_with("GET /api/v1/agent/connect "),
            "{}",
            asked.line
        );
        let problem =
            json!({"code": "certificate-expired", "detail": "The certificate has expired."});
        asked
            .answer("401 Unauthorized", problem.to_string().as_bytes())
            .await;
        renew(&server, 2, DAY).await;
        assert_eq!(server.link().await.generation, Some(2));
    });
}

#[test]
fn an_agent_whose_clock_is_ahead_renews_once_and_not_for_ever() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        // By this agent's clock every new certificate is old already.
        enroll(&server, &host, 3_600).await;
        let _agent = Running::start(&host);
        renew(&server, 2, 3_600).await;
        for _ in 0..3 {
            let mut link = server.link().await;
            assert_eq!(link.generation, Some(2));
            link.welcome().await;
            link.close(1001, "the server is stopping").await;
        }
    });
}

#[test]
fn a_certificate_that_ended_too_long_ago_asks_for_a_new_enrollment() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, -31 * DAY).await;
        let _agent = Running::start(&host);
        wait_for_state(&host, "must_enroll_again");
    });
}

#[test]
fn unenrolling_forgets_and_a_second_agent_is_refused() {
    within(async {
        let (server, host) = (FakeServer::start().await, Host::new());
        enroll(&server, &host, DAY).await;
        let again = program(
            &host,
            &[
                "enroll",
                "--server",
                &server.url(),
                "--token",
                &server.token(),
            ],
        )
        .output()
        .unwrap();
        assert_eq!(again.status.code(), Some(1), "it has an identity");
        let agent = Running::start(&host);
        let link = server.link().await;
        for words in [["run", ""], ["unenroll", "--yes"]] {
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let output = program(&host, &words).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&output.stderr).contains("another agent runs"));
        }
        drop((agent, link));
        assert!(
            program(&host, &["unenroll", "--yes"])
                .output()
                .unwrap()
                .status
                .success()
        );
        assert!(!host.config.data_dir.join("agent.key").exists());
        let run = program(&host, &["run"]).output().unwrap();
        assert!(String::from_utf8_lossy(&run.stderr).contains("not enrolled"));
    });
}
