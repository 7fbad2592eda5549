//! Bodies: what is no document, what is one and is wrong in one place or several, media types, sizes, keys of
//! idempotency.

use serde_json::{Value, json};

use super::{Row, row, rows_of};

pub fn rows() -> Vec<Row> {
    let mut rows = malformed();
    rows.extend(wrong());
    rows.extend(in_lists_and_places());
    rows.extend(declared());
    rows.extend(sizes());
    rows.extend(keys());
    rows
}

fn malformed() -> Vec<Row> {
    let deep = |depth: usize| format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("a space", b" ".to_vec()),
        ("truncated", b"{\"name\":".to_vec()),
        ("truncated in a text", b"{\"name\":\"a".to_vec()),
        ("an unquoted key", b"{name:1}".to_vec()),
        ("single quotes", b"{'name':'a'}".to_vec()),
        ("a comma too many", b"{\"name\":\"a\",}".to_vec()),
        ("a comment", b"{\"name\":\"a\"} // x".to_vec()),
        ("two documents", b"{} {}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"{\x00}\x00".to_vec()),
        ("no UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ("an overlong NUL", b"{\"name\":\"\xc0\x80\"}".to_vec()),
        ("half a surrogate", b"{\"name\":\"\\ud800\"}".to_vec()),
        ("a control character", b"{\"name\":\"\x01\"}".to_vec()),
        ("a key twice", b"{\"name\":\"a\",\"name\":\"b\"}".to_vec()),
        (
            "an unknown key twice",
            b"{\"name\":\"a\",\"x\":1,\"x\":1}".to_vec(),
        ),
        (
            "a key twice below",
            b"{\"name\":{\"a\":1,\"a\":1}}".to_vec(),
        ),
        ("too large a number", b"{\"name\":1e999}".to_vec()),
        ("NaN", b"{\"name\":NaN}".to_vec()),
        ("Infinity", b"{\"name\":-Infinity}".to_vec()),
        ("a leading zero", b"{\"name\":01}".to_vec()),
        ("a bare word", b"name".to_vec()),
        ("too deep by one", deep(64).into_bytes()),
        ("very deep", deep(10_000).into_bytes()),
        ("deep and open", "{\"a\":".repeat(10_000).into_bytes()),
        ("null", b"null".to_vec()),
        ("a text", b"\"name\"".to_vec()),
        ("a number", b"7".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a flag", b"true".to_vec()),
    ];
    let mut rows: Vec<Row> = bodies
        .into_iter()
        .map(|(what, body)| {
            row(format!("body: {what}"), move |side| {
                side.post_bytes(body.clone())
            })
        })
        .collect();
    rows.push(row("body: deep as allowed", move |side| {
        let name: Value = serde_json::from_str(&deep(63)).expect("deep, and whole");
        side.post(&side.body(name))
    }));
    rows
}

fn wrong() -> Vec<Row> {
    let of_name: Vec<(&str, Value)> = vec![
        ("a number", json!(7)),
        ("a fraction", json!(1.5)),
        ("a flag", json!(false)),
        ("a list", json!(["a"])),
        ("an object", json!({"a": 1})),
    ];
    let mut rows: Vec<Row> = of_name
        .into_iter()
        .map(|(what, value)| {
            row(format!("a required text is {what}"), move |side| {
                side.post(&side.body(json!({"name": value})))
            })
        })
        .collect();
    let of_word: Vec<(&str, Value)> = vec![
        ("a number", json!(7)),
        ("a flag", json!(true)),
        ("a list", json!([])),
        ("an object", json!({})),
    ];
    rows.extend(of_word.into_iter().map(|(what, value)| {
        row(format!("an optional text is {what}"), move |side| {
            side.post(&side.body(json!({side.word: value})))
        })
    }));
    let of_list: Vec<(&str, Value)> = vec![
        ("a text", json!("a")),
        ("a number", json!(-1)),
        ("a flag", json!(true)),
        ("an object", json!({"0": "a"})),
    ];
    rows.extend(of_list.into_iter().map(|(what, value)| {
        row(format!("an optional list is {what}"), move |side| {
            side.post(&side.body(json!({side.list: value})))
        })
    }));
    rows.push(row("a required field is missing", |side| {
        side.post(&side.body(json!({"name": null})))
    }));
    rows.push(row("a required field is null", |side| {
        let mut body = side.body(json!({}));
        body["name"] = Value::Null;
        side.post(&body)
    }));
    rows
}

fn in_lists_and_places() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "nmae",
        "created_by",
        "tenant_id",
        "a/b",
        "a~b",
        "",
        " name",
        "NAME",
        "ü",
        "\u{1}x",
    ]
    .into_iter()
    .map(|name| {
        row(format!("an unknown field {name:?}"), move |side| {
            side.post(&side.body(json!({name: 1})))
        })
    })
    .collect();
    rows.push(row("an unknown field with a very long name", |side| {
        side.post(&side.body(json!({"x".repeat(5_000): 1})))
    }));
    rows.push(row("an unknown field that is null", |side| {
        let mut body = side.body(json!({}));
        body["x"] = Value::Null;
        side.post(&body)
    }));
    rows.push(row("a typo of the required field", |side| {
        side.post(&side.body(json!({"name": null, "nmae": "n"})))
    }));
    rows.push(row("three unknown fields", |side| {
        side.post(&side.body(json!({"x": 1, "y": 2, "z": 3})))
    }));
    rows.push(row("unknown, missing and mistyped at once", |side| {
        side.post(&side.body(json!({"name": null, "x": 1, side.word: 7})))
    }));
    rows.push(row("everything is mistyped", |side| {
        side.post(&side.body(json!({"name": 1, side.word: 7})))
    }));
    for count in [99_usize, 100, 101, 5_000] {
        rows.push(row(format!("{count} unknown fields"), move |side| {
            let unknown: serde_json::Map<String, Value> = (0..count)
                .map(|number| (format!("x{number:05}"), json!(1)))
                .collect();
            side.post(&side.body(Value::Object(unknown)))
        }));
    }
    rows.push(row("five hundred unknown fields and two others", |side| {
        let unknown: serde_json::Map<String, Value> = (0..500)
            .map(|number| (format!("x{number:05}"), json!(1)))
            .collect();
        let mut body = side.body(Value::Object(unknown));
        body["name"] = json!(1);
        body[side.word] = json!(2);
        side.post(&body)
    }));
    rows
}

fn declared() -> Vec<Row> {
    let types = [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json-patch+json",
        "application/problem+json",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "*/*",
        "json",
        "",
        "application/json; charset=utf-8; charset=latin1",
    ];
    let mut rows: Vec<Row> = types
        .into_iter()
        .map(|kind| {
            row(format!("content type {kind:?}"), move |side| {
                let body = side.body(json!({"name": 1})).to_string().into_bytes();
                let request = side.client.request("POST", side.things);
                request.header("content-type", kind).bytes(body)
            })
        })
        .collect();
    for kind in [
        "APPLICATION/JSON",
        "application/json;charset=\"UTF-8\"",
        "application/json ; x=y",
    ] {
        rows.push(row(
            format!("content type {kind:?}, which is JSON"),
            move |side| {
                let body = side.body(json!({"name": 1})).to_string().into_bytes();
                let request = side.client.request("POST", side.things);
                request.header("content-type", kind).bytes(body)
            },
        ));
    }
    rows.push(row("no content type", |side| {
        side.client
            .request("POST", side.things)
            .bytes(b"{}".to_vec())
    }));
    rows.push(row("neither content type nor body", |side| {
        side.client.request("POST", side.things)
    }));
    for coding in ["gzip", "br", "deflate"] {
        rows.push(row(format!("content coding {coding}"), move |side| {
            side.post_bytes("{}").header("content-encoding", coding)
        }));
    }
    rows.push(row("content coding identity", |side| {
        let nameless = side.body(json!({"name": null}));
        side.post(&nameless).header("content-encoding", "identity")
    }));
    rows
}

fn sizes() -> Vec<Row> {
    // Over the limit of either: a route that takes host ids takes 8 MiB.
    let large = 8 * 1024 * 1024 + 10;
    vec![
        row("a body over every limit", move |side| {
            side.post_bytes(vec![b' '; large])
        }),
        row("a good body within spaces", |side| {
            let body = side.body(json!({"name": 1})).to_string();
            side.post_bytes(format!("{}{body}", " ".repeat(100_000)))
        }),
    ]
}

fn keys() -> Vec<Row> {
    let keyed = |key: &'static str, changes: Value| {
        move |side: &super::Side| {
            let body = side.body(changes.clone());
            side.post(&body).header("idempotency-key", &side.key(key))
        }
    };
    let mut rows: Vec<Row> = [
        ("empty", String::new()),
        ("of 256 characters", "k".repeat(256)),
        ("with an umlaut", "kü".to_owned()),
    ]
    .into_iter()
    .map(|(what, key)| {
        row(format!("an idempotency key that is {what}"), move |side| {
            side.post(&side.body(json!({"name": "key"})))
                .header("idempotency-key", &key)
        })
    })
    .collect();
    rows.push(row(
        "a new key",
        keyed("alike-1", json!({"name": "alike 1"})),
    ));
    rows.push(row(
        "the key and the body again",
        keyed("alike-1", json!({"name": "alike 1"})),
    ));
    rows.push(row(
        "the key and another body",
        keyed("alike-1", json!({"name": "alike 2"})),
    ));
    rows.push(row(
        "the key and a wrong body",
        keyed("alike-1", json!({"name": 1})),
    ));
    rows.push(row("a key of 255 characters", |side| {
        let key = side.key(&"k".repeat(254));
        side.post(&side.body(json!({"name": "alike 3"})))
            .header("idempotency-key", &key)
    }));
    rows.push(rows_of("a key of a refused request is free", |side| {
        let bad = side.post(&side.body(json!({"name": 1})));
        let good = side.post(&side.body(json!({"name": "alike 4"})));
        [bad, good]
            .map(|request| request.header("idempotency-key", &side.key("alike-5")))
            .into()
    }));
    rows.push(row("a key on a read", |side| {
        side.get(side.things).header("idempotency-key", "")
    }));
    rows
}
