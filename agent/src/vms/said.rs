//! What an operator's command prints: a JSON list, or a line for each machine. Pure. One entry that makes no sense makes none of
//! the whole: a machine left out would be taken for one that has ended.

use fleetwright_protocol::VmReport;
use serde::Deserialize;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    #[error("it printed what is not UTF-8")]
    NotText,
    #[error("it printed a list that is not one of machines: {0}")]
    NotAList(String),
    #[error("line {0} is not `id megabytes`")]
    Line(usize),
    #[error("a machine's id is not 1 to 128 bytes without control characters: {0:?}")]
    Id(String),
}

/// As `[{"id": "a", "memory_resident_mb": 5}]`; a name alone is a machine of which nothing else is known.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Named(String),
    Whole {
        id: String,
        #[serde(default)]
        memory_resident_mb: Option<u64>,
    },
}

/// The machines; nothing printed is none.
pub fn machines(output: &[u8]) -> Result<Vec<VmReport>, Nonsense> {
    let text = str::from_utf8(output).map_err(|_| Nonsense::NotText)?;
    let text = text.trim();
    let vms = if text.starts_with('[') {
        listed(text)?
    } else {
        in_lines(text)?
    };
    match vms.iter().find(|vm| !vm.is_sound()) {
        Some(vm) => Err(Nonsense::Id(vm.id.chars().take(32).collect())),
        None => Ok(vms),
    }
}

fn listed(text: &str) -> Result<Vec<VmReport>, Nonsense> {
    let entries: Vec<Entry> =
        serde_json::from_str(text).map_err(|error| Nonsense::NotAList(error.to_string()))?;
    let vm = |entry| match entry {
        Entry::Named(id) => VmReport::named(id),
        Entry::Whole {
            id,
            memory_resident_mb,
        } => VmReport {
            id,
            memory_resident_mb,
        },
    };
    Ok(entries.into_iter().map(vm).collect())
}

fn in_lines(text: &str) -> Result<Vec<VmReport>, Nonsense> {
    let mut vms = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(id) = words.next() else { continue };
        let memory = words.next().and_then(|word| word.parse().ok());
        let (Some(memory), None) = (memory, words.next()) else {
            return Err(Nonsense::Line(number));
        };
        vms.push(VmReport {
            id: id.to_owned(),
            memory_resident_mb: Some(memory),
        });
    }
    Ok(vms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_lines_are_read_and_nonsense_is_never_a_shorter_list() {
        let vm = |id: &str, memory_resident_mb| VmReport {
            id: id.to_owned(),
            memory_resident_mb,
        };
        let both = vec![vm("a", Some(5)), vm("b-1", None)];
        for (text, expected) in [
            ("", vec![]),
            (" \n\n", vec![]),
            ("[]\n", vec![]),
            ("a 5\n", vec![vm("a", Some(5))]),
            (
                "\n  a\t5  \r\n\nb-1 0",
                vec![vm("a", Some(5)), vm("b-1", Some(0))],
            ),
            (
                r#"[{"id":"a","memory_resident_mb":5},{"id":"b-1"}]"#,
                both.clone(),
            ),
            (
                "\n[{\"id\":\"a\",\"memory_resident_mb\":5,\"state\":\"running\"},\n\"b-1\"]\n",
                both,
            ),
            (
                r#"[{"id":"a b","memory_resident_mb":null}]"#,
                vec![vm("a b", None)],
            ),
        ] {
            assert_eq!(machines(text.as_bytes()), Ok(expected), "{text}");
        }
        let long = format!("{} 5", "x".repeat(129));
        for text in [
            "a",
            "garbage\n",
            "a five",
            "a -5",
            "a 5 6",
            "a 5\nerror: no such domain\n",
            "[7]",
            "[{}]",
            "[{\"id\":\"a\",\"memory_resident_mb\":-1}]",
            "[{\"id\":\"a\",\"memory_resident_mb\":\"5\"}]",
            "[{\"id\":\"a\"}] and more",
            "[\"a\"",
            "[\"\"]",
            "[\"a\\nb\"]",
            "{\"vms\": []}",
            &long,
        ] {
            assert!(machines(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(machines(b"\xff\xfe a"), Err(Nonsense::NotText));
    }
}
