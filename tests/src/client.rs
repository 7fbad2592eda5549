//! The public API as tests speak it: one typed call per thing a test says, each on a fresh connection so that an
//! answer lost to a fault is seen as lost.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{self, Answer, Connection, Events, Request};
use crate::wait::{PATIENCE, wait_for};

pub const BASE: &str = "/api/v1";

#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Client {
    pub fn anonymous(address: SocketAddr) -> Self {
        Self {
            address,
            token: None,
        }
    }

    pub fn login(address: SocketAddr, user: &str, password: &str) -> Self {
        let body = json!({"username": user, "password": password});
        let answer = Self::anonymous(address)
            .post("/auth/login", &body)
            .expect(200);
        let token = answer["access_token"].as_str();
        Self {
            address,
            token: Some(token.expect("a login yields a token").to_owned()),
        }
    }

    /// The same caller towards another address (after a move).
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            address: self.address,
            token: Some(token.to_owned()),
        }
    }

    /// A caller of this role, by an API token made for it.
    #[must_use]
    pub fn token_of_role(&self, role: &str) -> Self {
        let body = json!({"name": format!("test {role}"), "role": role});
        let made = self.post("/tokens", &body).expect(201);
        self.with_token(made["token"].as_str().expect("a token is shown once"))
    }

    /// Below `/api/v1`, with the caller's token.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, &format!("{BASE}{path}"));
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// The answer, or why there is none.
    pub fn try_send(&self, request: &Request) -> std::io::Result<Answer> {
        http::once(self.address, request)
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        self.try_send(request)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(&self.request("GET", path))
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.request("POST", path).json(body))
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.request("PUT", path).json(body))
    }

    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.request("PATCH", path).json(body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send(&self.request("DELETE", path))
    }

    pub fn events(&self, path: &str) -> Events {
        let request = self
            .request("GET", path)
            .header("accept", "text/event-stream");
        Connection::open(self.address)
            .and_then(|connection| connection.into_events(&request))
            .unwrap_or_else(|error| panic!("events of {path}: {error}"))
    }

    /// Every item of a paged list.
    #[track_caller]
    pub fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = match &cursor {
                None => format!("{path}{join}limit=500"),
                Some(cursor) => format!("{path}{join}limit=500&cursor={cursor}"),
            };
            let answer = self.get(&page).expect(200);
            let found = answer["items"].as_array().expect("a page has items");
            items.extend(found.iter().cloned());
            match answer["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return items,
            }
        }
    }

    /// A token that this many agents may enroll with.
    pub fn enrollment_token(&self, uses: u64, auto_approve: bool, tags: &[&str]) -> String {
        let body = json!({
            "uses": uses, "expires_in_seconds": 3600, "auto_approve": auto_approve, "tags": tags,
        });
        let made = self.post("/enrollment-tokens", &body).expect(201);
        text(&made, "token")
    }

    pub fn hosts(&self) -> Vec<Value> {
        self.all("/hosts")
    }

    pub fn host_named(&self, fqdn: &str) -> Option<Value> {
        self.hosts().into_iter().find(|host| host["fqdn"] == fqdn)
    }

    pub fn wait_online(&self, host_id: &str) {
        wait_for(&format!("host {host_id} to be online"), PATIENCE, || {
            let host = self.get(&format!("/hosts/{host_id}")).expect(200);
            (host["status"] == "online").then_some(())
        });
    }

    pub fn approve(&self, host_id: &str) {
        self.post(&format!("/hosts/{host_id}/approve"), &json!({}))
            .expect(200);
    }

    /// Starts one operation on one host and returns the command's id.
    #[track_caller]
    pub fn run_on_host(&self, host_id: &str, body: &Value) -> String {
        let answer = self.post(&format!("/hosts/{host_id}/commands"), body);
        assert!(
            matches!(answer.status, 201 | 202),
            "{}: {}",
            answer.status,
            answer.text()
        );
        text(&answer.json(), "id")
    }

    #[track_caller]
    pub fn wait_command(&self, id: &str) -> Value {
        self.wait_terminal(&format!("/commands/{id}"), PATIENCE)
    }

    /// A bulk operation that must be accepted; its id.
    #[track_caller]
    pub fn bulk(&self, body: &Value) -> String {
        text(&self.post("/fleet/bulk", body).expect(202), "id")
    }

    #[track_caller]
    pub fn wait_bulk(&self, id: &str) -> Value {
        self.wait_terminal(&format!("/fleet/bulk/{id}"), PATIENCE)
    }

    pub fn bulk_hosts(&self, id: &str) -> Vec<Value> {
        self.all(&format!("/fleet/bulk/{id}/hosts"))
    }

    #[track_caller]
    fn wait_terminal(&self, path: &str, patience: Duration) -> Value {
        wait_for(&format!("{path} to end"), patience, || {
            let found = self.get(path).expect(200);
            is_terminal(&found).then_some(found)
        })
    }
}

pub fn is_terminal(view: &Value) -> bool {
    !matches!(view["status"].as_str(), Some("queued" | "running"))
}

/// A text field that must be there.
#[track_caller]
pub fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
        .to_owned()
}

/// A number field that must be there.
#[track_caller]
pub fn number(value: &Value, name: &str) -> u64 {
    value[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// `run_script` as the API takes it, to be merged with a selector or sent to a host.
pub fn script(text: &str) -> Value {
    json!({"operation_type": "run_script", "parameters": {"script": text}})
}
