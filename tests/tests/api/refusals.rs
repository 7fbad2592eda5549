//! Connections that are kept: a request that is refused before its body is read spoils nothing for the next one, or the
//! answer says that the connection ends.

use fleetwright_tests::client::Client;
use fleetwright_tests::http::{Answer, Connection, Request};

use super::community;

/// More than is read away for the sake of a connection.
const LARGE: usize = 2 * 1024 * 1024;

/// What is refused without a look at its body, and as what.
fn refusals(admin: &Client, viewer: &Client) -> Vec<(u16, Request)> {
    let anonymous = Client::anonymous(admin.address);
    vec![
        (401, anonymous.request("POST", "/tokens")),
        (402, admin.request("POST", "/fleet/bulk")),
        (403, viewer.request("POST", "/tokens")),
        (404, admin.request("POST", "/nonsense")),
        (405, admin.request("PATCH", "/tokens")),
    ]
}

fn refused(connection: &mut Connection, request: &Request, bytes: usize) -> Answer {
    let body = vec![b' '; bytes];
    let request = request.clone().header("content-type", "application/json");
    connection
        .exchange(&request.bytes(body))
        .expect("an answer, whatever is refused")
}

#[test]
fn twenty_kept_connections_survive_a_refusal_or_are_told_that_they_end() {
    let fleet = community();
    let viewer = fleet.admin.token_of_role("viewer");
    let next = fleet.admin.request("GET", "/auth/me");
    let mut ended = 0;
    for (status, request) in refusals(&fleet.admin, &viewer) {
        for (bytes, is_small) in [(100, true), (LARGE, false)] {
            for _ in 0..20 {
                let mut connection = Connection::open(fleet.admin.address).expect("open");
                let answer = refused(&mut connection, &request, bytes);
                assert_eq!(answer.status, status, "{}", answer.text());
                if answer.header("connection") == Some("close") {
                    assert!(!is_small, "{status}: a small body was not read away");
                    ended += 1;
                    continue;
                }
                let again = connection.exchange(&next).expect("the connection is kept");
                assert_eq!(again.status, 200, "after {status}: {}", again.text());
            }
        }
    }
    assert_eq!(ended, 100, "large bodies end their connections");
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked_by_a_refusal() {
    let fleet = community();
    let request = Client::anonymous(fleet.admin.address).request("POST", "/tokens");
    let mut connection = Connection::open(fleet.admin.address).expect("open");
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n",
        request.path
    );
    connection.send_raw(head.as_bytes()).expect("sent");
    let (status, headers) = connection.read_head().expect("an answer");
    assert_eq!(status, 401, "it was asked for its body");
    assert!(headers.contains(&("connection".to_owned(), "close".to_owned())));
}
