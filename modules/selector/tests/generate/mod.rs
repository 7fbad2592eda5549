//! Random hosts, criteria and groups for the property tests. Small alphabets, so that values collide and every truth value occurs.

use std::collections::BTreeMap;

use fleetwright_selector::{HostFields, Selector, ValidSelector};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// Names few hosts, so that an update meets a host that is there.
pub fn host_id() -> impl Strategy<Value = Uuid> {
    (0_u128..24).prop_map(|number| Uuid::from_u128(number << 120 | 0x0190_7000_8000 << 16 | number))
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "web",
        "WEB",
        "db",
        "web-01.test.example",
        "größe",
        "",
        "10.0.0.1",
        "1.2.10",
        "1.9",
        "v2",
        "and",
        "a \"b\\ 'c'",
    ])
    .prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        0_i64..5,
        Just(1_700_000_000_000_000),
        Just(1_700_000_000_000_001)
    ]
}

pub fn host() -> impl Strategy<Value = HostFields> {
    let texts = prop::collection::vec(prop::option::of(word()), 7);
    let words = (
        prop::option::of(prop::sample::select(vec!["online", "offline"])),
        prop::option::of(prop::sample::select(vec!["pending", "approved"])),
    );
    let lists = prop::collection::vec(prop::collection::vec(word(), 0..3), 4);
    let attributes = || {
        prop::collection::btree_map(
            prop::sample::select(vec!["rack", "my key"]).prop_map(str::to_owned),
            word(),
            0..3,
        )
    };
    let attributes = (attributes(), attributes());
    let numbers = prop::collection::vec(prop::option::of(number()), 4);
    let truths = (any::<Option<bool>>(), any::<Option<bool>>());
    (host_id(), texts, words, lists, attributes, numbers, truths).prop_map(
        |(id, texts, words, lists, attributes, numbers, truths)| HostFields {
            id,
            fqdn: texts[0].clone(),
            hostname: texts[1].clone(),
            platform: texts[2].clone(),
            platform_release: texts[3].clone(),
            platform_version: texts[4].clone(),
            architecture: texts[5].clone(),
            agent_version: texts[6].clone(),
            status: words.0.map(str::to_owned),
            approval_status: words.1.map(str::to_owned),
            tags: lists[0].clone(),
            ipv4: lists[1].clone(),
            ipv6: lists[2].clone(),
            agent_tags: lists[3].clone(),
            attributes: attributes.0,
            agent_attributes: attributes.1,
            cpu_count: numbers[0],
            memory_total_mb: numbers[1],
            created_at_us: numbers[2],
            last_seen_at_us: numbers[3],
            kvm_available: truths.0,
            reserved: truths.1,
        },
    )
}

/// The groups that exist, and their members. Criteria may also name `gone`, which does not.
pub fn groups() -> impl Strategy<Value = BTreeMap<String, Vec<Uuid>>> {
    let members = || prop::collection::vec(host_id(), 0..12);
    (members(), members()).prop_map(|(canary, edge)| {
        BTreeMap::from([("canary".to_owned(), canary), ("edge".to_owned(), edge)])
    })
}

fn text_field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "fqdn",
        "hostname",
        "platform",
        "platform_release",
        "platform_version",
        "architecture",
        "agent_version",
        "attributes.rack",
        "attributes.my key",
        "attributes.none",
        "agent_attributes.rack",
        "agent_attributes.my key",
    ])
}

fn leaf() -> impl Strategy<Value = Json> {
    let filled = || word().prop_filter("not empty", |word| !word.is_empty());
    let many = |word: BoxedStrategy<String>| prop::collection::vec(word, 1..4);
    let equality = || prop::sample::select(vec!["equals", "not_equals"]);
    let membership = || prop::sample::select(vec!["in", "not_in"]);
    let part = || prop::sample::select(vec!["contains", "starts_with", "ends_with"]);
    let pattern = || prop::sample::select(vec!["^web", "b$", "[0-9]+\\.", "(?-i)WEB", "^$", "ö"]);
    let list_field = || prop::sample::select(vec!["tags", "ipv4", "ipv6"]);
    let number_field = || prop::sample::select(vec!["cpu_count", "memory_total_mb"]);
    let time_field = || prop::sample::select(vec!["created_at", "last_seen_at"]);
    let compare = || prop::sample::select(vec!["equals", "not_equals", "gt", "gte", "lt", "lte"]);
    let time = || number().prop_map(fleetwright_selector::format_rfc3339_us);
    let group = || prop::sample::select(vec!["canary", "edge", "gone"]);
    let leaf =
        |field: &str, op: &str, value: Json| json!({"field": field, "op": op, "value": value});
    let any_field = prop_oneof![
        text_field(),
        list_field(),
        number_field(),
        time_field(),
        Just("reserved"),
        Just("id")
    ];
    prop_oneof![
        (text_field(), equality(), word()).prop_map(move |(field, op, value)| leaf(
            field,
            op,
            json!(value)
        )),
        (text_field(), membership(), many(word().boxed()))
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (text_field(), part(), filled()).prop_map(move |(field, op, value)| leaf(
            field,
            op,
            json!(value)
        )),
        (
            prop_oneof![text_field(), list_field(), Just("id")],
            pattern()
        )
            .prop_map(move |(field, value)| leaf(field, "matches", json!(value))),
        (
            text_field(),
            prop::sample::select(vec![
                "version_gt",
                "version_gte",
                "version_lt",
                "version_lte"
            ]),
            prop::sample::select(vec!["1.9", "v1.2", "2"])
        )
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (list_field(), prop_oneof![equality(), part()], filled())
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (list_field(), membership(), many(filled().boxed()))
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (prop_oneof![equality(), Just("contains")], group()).prop_map(move |(op, value)| leaf(
            "group",
            op,
            json!(value)
        )),
        (membership(), prop::collection::vec(group(), 1..3)).prop_map(move |(op, value)| leaf(
            "group",
            op,
            json!(value)
        )),
        (number_field(), compare(), number()).prop_map(move |(field, op, value)| leaf(
            field,
            op,
            json!(value)
        )),
        (
            number_field(),
            membership(),
            prop::collection::vec(number(), 1..3)
        )
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (time_field(), compare(), time()).prop_map(move |(field, op, value)| leaf(
            field,
            op,
            json!(value)
        )),
        (
            time_field(),
            membership(),
            prop::collection::vec(time(), 1..3)
        )
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (
            prop::sample::select(vec!["kvm_available", "reserved"]),
            equality(),
            any::<bool>()
        )
            .prop_map(move |(field, op, value)| leaf(field, op, json!(value))),
        (any_field, any::<bool>()).prop_map(move |(field, value)| leaf(
            field,
            "exists",
            json!(value)
        )),
        (equality(), host_id()).prop_map(move |(op, value)| leaf("id", op, json!(value))),
        (membership(), prop::collection::vec(host_id(), 1..4)).prop_map(move |(op, value)| leaf(
            "id",
            op,
            json!(value)
        )),
        (
            part(),
            prop::sample::select(vec!["0", "01", "9070", "7000-8000"])
        )
            .prop_map(move |(op, value)| leaf("id", op, json!(value))),
        (
            prop::sample::select(vec!["equals", "not_equals"]),
            prop::sample::select(vec!["online", "OFFLINE"])
        )
            .prop_map(move |(op, value)| leaf("status", op, json!(value))),
    ]
}

fn criterion() -> impl Strategy<Value = Json> {
    leaf().prop_recursive(5, 24, 4, |part| {
        prop_oneof![
            prop::collection::vec(part.clone(), 1..4).prop_map(|parts| json!({"all": parts})),
            prop::collection::vec(part.clone(), 1..4).prop_map(|parts| json!({"any": parts})),
            part.prop_map(|part| json!({"not": part})),
        ]
    })
}

pub fn selector() -> impl Strategy<Value = ValidSelector> {
    (
        prop::collection::vec(criterion(), 1..4),
        prop::collection::vec(host_id(), 0..3),
    )
        .prop_map(|(criteria, ids)| {
            let selector = json!({"criteria": criteria, "explicit_host_ids": ids});
            Selector::parse(&selector)
                .unwrap_or_else(|violations| panic!("{selector}: {violations:?}"))
        })
}
