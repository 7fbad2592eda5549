//! Requests without a body: queries and cursors, ids in paths, preconditions, methods, and who is calling.

use fleetwright_tests::client::Client;

use super::{Row, Side, row, rows_of};

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000001";

pub fn rows() -> Vec<Row> {
    let mut rows = queries();
    rows.extend(cursors());
    rows.extend(ids());
    rows.extend(preconditions());
    rows.extend(methods());
    rows.extend(callers());
    rows
}

fn queries() -> Vec<Row> {
    let queries = [
        "",
        "limit=1",
        "limit=500",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit",
        "limit=1.5",
        "limit=1e2",
        "limit=01",
        "limit=%31",
        "limit=+1",
        "limit=1%20",
        "limit=99999999999999999999",
        "limit=null",
        "limit=true",
        "limit=[1]",
        "limit=1&limit=2",
        "limit=1&limit=1",
        "LIMIT=1",
        "limt=1",
        "limit[]=1",
        "x=1",
        "x",
        "x=1&y=2",
        "x=1&x=1",
        "a%2Fb=1",
        "a~b=1",
        "=1",
        "=",
        "&&",
        "limit=1&",
        "limit=0&x=1",
        "limit=x&y=1&z=2",
        "limit=%zz",
        "limit=%",
        "limit=%3",
        "x=%ff",
        "x=%c0%80",
        "limit=%00",
        "x=%00",
        "limit=1;x=2",
        "limit=%C3%BC",
        "offset=1",
        "page=2",
        "cursor=&limit=0",
    ];
    queries
        .into_iter()
        .map(|query| {
            row(format!("query {query:?}"), move |side| {
                side.get(&format!("{}?{query}", side.things))
            })
        })
        .collect()
}

fn cursors() -> Vec<Row> {
    let words = [
        "",
        "x",
        "null",
        "MTIz",
        "eyJpZCI6MX0",
        "!!!",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "%20",
        "a%2Bb",
        "%C3%BC",
    ];
    let mut rows: Vec<Row> = words
        .into_iter()
        .map(|word| {
            row(format!("a cursor {word:?}"), move |side| {
                side.get(&format!("{}?cursor={word}", side.things))
            })
        })
        .collect();
    let listed = |what: &str, change: fn(&Side, String) -> String| {
        row(what, move |side: &Side| {
            let cursor = side.cursor(&format!("{}?limit=1", side.things));
            side.get(&change(side, cursor))
        })
    };
    rows.push(row("a cursor of 10,000 characters", |side| {
        // Longer than any URI the server takes would be 414 on both; this one is under 8 KiB.
        side.get(&format!("{}?cursor={}", side.things, "A".repeat(7_000)))
    }));
    rows.push(row("a URI of 10,000 characters", |side| {
        side.get(&format!("{}?cursor={}", side.things, "A".repeat(10_000)))
    }));
    rows.push(listed("its own cursor", |side, cursor| {
        format!("{}?limit=1&cursor={cursor}", side.things)
    }));
    rows.push(listed(
        "its own cursor with another limit",
        |side, cursor| format!("{}?cursor={cursor}&limit=2", side.things),
    ));
    rows.push(listed("its own cursor, cut off", |side, cursor| {
        format!("{}?cursor={}", side.things, &cursor[..cursor.len() - 2])
    }));
    rows.push(listed("its own cursor, and a character", |side, cursor| {
        format!("{}?cursor={cursor}A", side.things)
    }));
    rows.push(listed("its own cursor, twice", |side, cursor| {
        format!("{}?cursor={cursor}&cursor={cursor}", side.things)
    }));
    rows.push(row("a cursor of another list", |side| {
        let cursor = side.cursor("/audit?limit=1");
        side.get(&format!("{}?cursor={cursor}", side.things))
    }));
    let filtered = |what: &str, change: fn(&str, &str, String) -> String| {
        row(what, move |side: &Side| {
            let (list, filter) = side.filtered;
            let cursor = side.cursor(&format!("{list}?{filter}&limit=1"));
            side.get(&change(list, filter, cursor))
        })
    };
    rows.push(filtered(
        "a cursor with its filter",
        |list, filter, cursor| format!("{list}?{filter}&cursor={cursor}"),
    ));
    rows.push(filtered(
        "a cursor before its filter",
        |list, filter, cursor| format!("{list}?cursor={cursor}&{filter}"),
    ));
    rows.push(filtered(
        "a cursor without its filter",
        |list, _, cursor| format!("{list}?cursor={cursor}"),
    ));
    rows.push(filtered(
        "a filter and an unknown one",
        |list, filter, _| format!("{list}?{filter}&x=1"),
    ));
    rows
}

fn ids() -> Vec<Row> {
    let ids = [
        "x",
        "1",
        "0",
        "-1",
        "null",
        "%20",
        "..%2F..",
        "%00",
        "%ff",
        "00000000-0000-7000-8000-00000000000",
        "00000000-0000-7000-8000-0000000000011",
        "00000000000070008000000000000001",
        "%7B00000000-0000-7000-8000-000000000001%7D",
        "urn:uuid:00000000-0000-7000-8000-000000000001",
        "0000000000-000-7000-8000-000000000001",
        "00000000-0000-7000-8000-00000000000g",
        UNKNOWN,
        "ABCDEF00-0000-7000-8000-000000000001",
        "00000000-0000-7000-8000-00000000000%31",
    ];
    let mut rows: Vec<Row> = ids
        .into_iter()
        .map(|id| {
            row(format!("id {id:?}"), move |side| {
                let (folder, _) = side.revised.rsplit_once('/').expect("a path");
                side.get(&format!("{folder}/{id}"))
            })
        })
        .collect();
    rows.push(row("an upper-case id of something", |side| {
        let (folder, id) = side.revised.rsplit_once('/').expect("a path");
        side.get(&format!("{folder}/{}", id.to_uppercase()))
    }));
    rows.push(row("a deleted id", |side| {
        let (folder, _) = side.revised.rsplit_once('/').expect("a path");
        side.client
            .request("DELETE", &format!("{folder}/{UNKNOWN}"))
    }));
    rows.push(row("a change of an unknown id", |side| {
        let (folder, _) = side.revised.rsplit_once('/').expect("a path");
        let (method, body) = &side.change;
        side.client
            .request(method, &format!("{folder}/{UNKNOWN}"))
            .json(body)
    }));
    rows
}

fn preconditions() -> Vec<Row> {
    let stale = [
        "\"0\"",
        "\"999999\"",
        "999999",
        "W/\"1\"",
        "\"x\"",
        "\"",
        "",
        "\"0\", \"999\"",
        "\"-1\"",
        "\"9223372036854775808\"",
    ];
    let mut rows: Vec<Row> = stale
        .into_iter()
        .map(|tag| {
            row(format!("If-Match {tag:?}"), move |side| {
                changed_if(side, tag)
            })
        })
        .collect();
    for tag in ["*", "\"999\", *"] {
        rows.push(row(format!("If-Match {tag:?}"), move |side| {
            changed_if(side, tag)
        }));
    }
    rows.push(rows_of("If-Match of the revision", |side| {
        let answer = side.client.get(&side.revised);
        vec![changed_if(side, answer.header("etag").expect("a tag"))]
    }));
    for tag in ["\"0\"", "*", "W/\"0\"", "x", ""] {
        rows.push(row(format!("If-None-Match {tag:?}"), move |side| {
            side.get(&side.revised).header("if-none-match", tag)
        }));
    }
    for prefix in ["", "W/", "\"7\", "] {
        rows.push(row(
            format!("If-None-Match {prefix}, the revision"),
            move |side| {
                let answer = side.client.get(&side.revised);
                let tag = format!("{prefix}{}", answer.header("etag").expect("a tag"));
                side.get(&side.revised).header("if-none-match", &tag)
            },
        ));
    }
    rows
}

fn changed_if(side: &Side, tag: &str) -> fleetwright_tests::http::Request {
    let (method, body) = &side.change;
    let request = side.client.request(method, &side.revised).json(body);
    request.header("if-match", tag)
}

fn methods() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X",
    ]
    .into_iter()
    .map(|method| {
        row(format!("{method} of a list"), move |side| {
            side.client.request(method, side.things)
        })
    })
    .collect();
    rows.push(row("HEAD of a list", |side| {
        side.client.request("HEAD", side.things)
    }));
    rows.push(row("a wrong method with a body", |side| {
        side.client
            .request("PATCH", side.things)
            .header("content-type", "application/json")
            .bytes(b"{}".to_vec())
    }));
    rows.push(row("POST of one thing", |side| {
        side.client.request("POST", &side.revised)
    }));
    rows.push(row("a path below one thing", |side| {
        side.get(&format!("{}/nonsense", side.revised))
    }));
    rows.push(row("a path with a slash at its end", |side| {
        side.get(&format!("{}/", side.things))
    }));
    rows.push(row("a path with two slashes", |side| {
        side.get(&format!("/{}", side.things))
    }));
    rows
}

fn callers() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic eDp5",
        "bearer x y",
        "Token x",
    ]
    .into_iter()
    .map(|authorization| {
        row(format!("authorization {authorization:?}"), move |side| {
            let anonymous = Client::anonymous(side.client.address);
            anonymous
                .request("GET", side.things)
                .header("authorization", authorization)
        })
    })
    .collect();
    let anonymous = |side: &Side| Client::anonymous(side.client.address);
    rows.push(row("nobody reads", move |side| {
        anonymous(side).request("GET", side.things)
    }));
    rows.push(row("nobody posts a wrong body", move |side| {
        anonymous(side)
            .request("POST", side.things)
            .bytes(b"{".to_vec())
    }));
    rows.push(row("nobody uses a wrong method", move |side| {
        anonymous(side).request("PATCH", side.things)
    }));
    rows.push(row("nobody asks for what is not there", move |side| {
        anonymous(side).request("GET", &format!("{}/nonsense", side.revised))
    }));
    rows.push(row("a viewer posts a wrong body", |side| {
        let viewer = side.client.token_of_role("viewer");
        viewer.request("POST", side.things).bytes(b"{".to_vec())
    }));
    rows
}
