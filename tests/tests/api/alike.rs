//! One table of inputs, each sent to a route of the server and to a route of a module that has the same shape: status,
//! code, places, details and the headers that matter are equal. Nobody who calls must know on which side a route is.

mod bodies;
mod bodiless;

use std::collections::BTreeSet;

use fleetwright_tests::client::{Client, text};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::{Answer, Request};
use serde_json::{Value, json};

/// One side: routes, and what their fields and things are called there.
struct Side {
    client: Client,
    /// Takes a POST with `name` (required), [`Side::list`] and [`Side::number`]; lists in pages.
    things: &'static str,
    /// An optional field of the body that is a list.
    list: &'static str,
    /// An optional field of the body that is a text.
    word: &'static str,
    /// What else a good body has.
    rest: Value,
    /// A list with a filter, and a filter that leaves two or more things in it.
    filtered: (&'static str, &'static str),
    /// A thing with a revision: where it is, and how it is changed.
    revised: String,
    change: (&'static str, Value),
    /// The noun of that thing, and the role that its routes ask for.
    noun: &'static str,
    role: &'static str,
}

/// Makes the requests of a row for one side.
type Made = Box<dyn Fn(&Side) -> Vec<Request>>;

/// What is sent, and what of the answer is compared beside status, headers, code and places.
struct Row {
    what: String,
    requests: Made,
}

/// A row of one request.
fn row(what: impl Into<String>, request: impl Fn(&Side) -> Request + 'static) -> Row {
    rows_of(what, move |side| vec![request(side)])
}

/// A row of several requests, of which the last answer counts.
fn rows_of(what: impl Into<String>, requests: impl Fn(&Side) -> Vec<Request> + 'static) -> Row {
    Row {
        what: what.into(),
        requests: Box::new(requests),
    }
}

impl Side {
    fn core(fleet: &TestFleet) -> Self {
        let admin = fleet.admin.clone();
        for number in 0..3 {
            let body = json!({"name": format!("t{number}"), "role": "viewer"});
            admin.post("/tokens", &body).expect(201);
        }
        let user =
            json!({"name": "revised", "password": "a long enough password", "role": "viewer"});
        let id = text(&admin.post("/users", &user).expect(201), "id");
        Self {
            client: admin,
            things: "/tokens",
            list: "scopes",
            word: "tenant",
            rest: json!({"role": "viewer"}),
            filtered: ("/audit", "since=2000-01-01T00:00:00Z"),
            revised: format!("/users/{id}"),
            change: ("PATCH", json!({"disabled": true})),
            noun: "user",
            role: "admin",
        }
    }

    fn module(fleet: &TestFleet) -> Self {
        let admin = fleet.admin.clone();
        let ids: Vec<String> = (0..3)
            .map(|number| {
                let body = json!({"name": format!("g{number}")});
                text(&admin.post("/fleet/groups", &body).expect(201), "id")
            })
            .collect();
        Self {
            client: admin,
            things: "/fleet/groups",
            list: "explicit_host_ids",
            word: "description",
            rest: json!({}),
            filtered: ("/fleet/groups", "parent_id=root"),
            revised: format!("/fleet/groups/{}", ids[0]),
            change: ("PUT", json!({"name": "g0"})),
            noun: "group",
            role: "operator",
        }
    }

    /// A good body with these members changed; null takes one away.
    fn body(&self, changes: Value) -> Value {
        let mut body = self.rest.clone();
        body["name"] = json!("n");
        for (name, value) in changes.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let members = body.as_object_mut().expect("an object");
        members.retain(|_, value| !value.is_null());
        body
    }

    fn post(&self, body: &Value) -> Request {
        self.client.request("POST", self.things).json(body)
    }

    fn post_bytes(&self, body: impl Into<Vec<u8>>) -> Request {
        let request = self.client.request("POST", self.things);
        request
            .header("content-type", "application/json")
            .bytes(body.into())
    }

    /// A key of this side: one key of one caller is for one request, wherever it goes. One character longer.
    fn key(&self, key: &str) -> String {
        format!("{}{key}", &self.noun[..1])
    }

    fn get(&self, path: &str) -> Request {
        self.client.request("GET", path)
    }

    fn cursor(&self, path: &str) -> String {
        text(&self.client.get(path).expect(200), "next_cursor")
    }

    /// The names of this side, as the other one has them; each only where it stands whole (`tenant` is not `tenant_id`).
    fn in_common_words(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (own, common) in [(self.list, "LIST"), (self.word, "WORD")] {
            for end in ["\"", ":"] {
                text = text.replace(&format!("/{own}{end}"), &format!("/{common}{end}"));
            }
        }
        text.replace(&format!("such {}.", self.noun), "such THING.")
            .replace(&format!("role {}.", self.role), "role ROLE.")
    }

    /// Everything of an answer that must not depend on the side.
    fn seen(&self, answer: &Answer) -> Value {
        let headers: Vec<Value> = [
            "content-type",
            "www-authenticate",
            "retry-after",
            "cache-control",
            "connection",
            "idempotent-replayed",
        ]
        .iter()
        .map(|name| json!([name, answer.header(name)]))
        .collect();
        let methods = answer.header("allow").unwrap_or_default();
        let methods: BTreeSet<&str> = methods.split(',').map(str::trim).collect();
        // Routes of one shape need not have the same methods; but each says which it has, where that is asked.
        let says_its_methods =
            answer.status == 405 && methods.contains("GET") && methods.contains("HEAD");
        let problem = answer.header("content-type") == Some("application/problem+json");
        let body = if problem { answer.json() } else { Value::Null };
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let errors: Vec<String> = errors
            .iter()
            .map(|error| self.in_common_words(&error.to_string()))
            .collect();
        let mut members: Vec<&String> = body
            .as_object()
            .into_iter()
            .flat_map(|body| body.keys())
            .collect();
        members.sort();
        json!({
            "status": answer.status,
            "headers": headers,
            // A new token has none: it is never changed.
            "has_etag": answer.status != 201 && answer.header("etag").is_some(),
            "has_location": answer.header("location").is_some(),
            "says_its_methods": says_its_methods,
            "members": members,
            "type": body["type"],
            "title": body["title"],
            "code": body["code"],
            "detail": self.in_common_words(body["detail"].as_str().unwrap_or_default()),
            "errors": errors,
            "errors_omitted": body["errors_omitted"],
        })
    }

    fn answer(&self, row: &Row) -> Value {
        let mut last = None;
        for request in (row.requests)(self) {
            last = Some(self.client.send(&request));
        }
        self.seen(&last.expect("a row sends something"))
    }
}

#[test]
fn core_and_module_answer_the_same_input_alike() {
    let fleet = Setup::pro().start();
    let (core, module) = (Side::core(&fleet), Side::module(&fleet));
    let mut rows = bodies::rows();
    rows.extend(bodiless::rows());
    let mut different = Vec::new();
    for row in &rows {
        let (of_core, of_module) = (core.answer(row), module.answer(row));
        if of_core != of_module {
            different.push(format!(
                "{}\n    core   {of_core}\n    module {of_module}",
                row.what
            ));
        }
    }
    let count = rows.len();
    assert!(count >= 100, "the table has {count} rows");
    println!("{count} rows");
    assert!(
        different.is_empty(),
        "{} of {count} rows differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
