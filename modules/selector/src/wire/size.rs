//! The size of a selector as its limit counts it. Not the size of the request: white space and key order are the client's affair.

use std::io::{self, Write};

use serde_json::Value as Json;

/// Bytes of the selector as compact JSON without its `explicit_host_ids`, without writing it out.
pub(super) fn compact_bytes_without_ids(selector: &Json) -> usize {
    let Some(object) = selector.as_object() else {
        return compact_bytes(selector);
    };
    let entry_bytes =
        |(key, value): (&String, &Json)| key.len() + "\"\":,".len() + compact_bytes(value);
    object
        .iter()
        .filter(|(key, _)| *key != "explicit_host_ids")
        .map(entry_bytes)
        .sum()
}

fn compact_bytes(value: &Json) -> usize {
    let mut counter = Counter { bytes: 0 };
    // Counting cannot fail, and a `Value` always has a JSON form; were it otherwise, the value must not pass as small.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.bytes,
        Err(_) => usize::MAX / 2,
    }
}

struct Counter {
    bytes: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
