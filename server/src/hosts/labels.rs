//! What may stand in tags, attributes and facts. Operators' input is refused with every reason; what agents say is
//! made harmless instead, because a host with odd facts must still be reachable. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_protocol::facts::{cap_list, cap_map};
use fleetwright_protocol::limits::{FACT_CHARS_MAX, FACT_ENTRIES_MAX};
use fleetwright_protocol::{Facts, Violation};

use super::host::Reported;

/// Longest tag and attribute name: selectors accept names of at most 256 bytes, and four bytes a character are 512, so
/// this leaves room for any script but still fits a table column.
const NAME_CHARS_MAX: usize = 128;
/// The selector language reads no longer attribute name than this.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;

/// Checks an operator's tags; returns them sorted, each once.
pub fn tags(pointer: &str, tags: Vec<String>) -> Result<Vec<String>, Vec<Violation>> {
    let invalid = |pointer: String, detail: &str| Violation::new(pointer, "tag-invalid", detail);
    let mut found = Vec::new();
    if tags.len() > FACT_ENTRIES_MAX {
        let detail = format!("at most {FACT_ENTRIES_MAX} tags");
        found.push(invalid(pointer.to_owned(), &detail));
    }
    for (index, tag) in tags.iter().enumerate().take(FACT_ENTRIES_MAX) {
        if let Some(reason) = bad_name(tag) {
            found.push(invalid(format!("{pointer}/{index}"), &reason));
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let sorted: BTreeSet<String> = tags.into_iter().collect();
    Ok(sorted.into_iter().collect())
}

/// Checks an operator's attributes.
pub fn attributes(
    pointer: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<(), Vec<Violation>> {
    let invalid =
        |pointer: String, detail: &str| Violation::new(pointer, "attribute-invalid", detail);
    let mut found = Vec::new();
    if attributes.len() > FACT_ENTRIES_MAX {
        let detail = format!("at most {FACT_ENTRIES_MAX} attributes");
        found.push(invalid(pointer.to_owned(), &detail));
    }
    for (name, value) in attributes.iter().take(FACT_ENTRIES_MAX) {
        let place = format!("{pointer}/{}", pointer_token(name));
        if let Some(reason) = bad_name(name) {
            found.push(invalid(place.clone(), &format!("the name {reason}")));
        } else if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
            let detail = format!("the name is longer than {ATTRIBUTE_NAME_BYTES_MAX} bytes");
            found.push(invalid(place.clone(), &detail));
        }
        if value.chars().count() > FACT_CHARS_MAX {
            let detail = format!("is longer than {FACT_CHARS_MAX} characters");
            found.push(invalid(place.clone(), &detail));
        }
        if let Some(reason) = bad_character(value) {
            found.push(invalid(place, &reason));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What an agent says, within the limits and without a character that could fool a terminal or a reader. What is more than
/// that is cut, and `cut` says where.
pub fn harmless(facts: Facts, tags: Vec<String>, attributes: BTreeMap<String, String>) -> Reported {
    let cut = cut(&facts, &tags, &attributes);
    let mut tags: Vec<String> = tags.iter().map(|tag| escaped(tag.trim())).collect();
    cap_list(&mut tags);
    // Cutting may have left a space at the end.
    let mut tags: Vec<String> = tags.iter().map(|tag| tag.trim().to_owned()).collect();
    tags.retain(|tag| !tag.is_empty());
    tags.sort_unstable();
    tags.dedup();
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (escaped(name.trim()), escaped(&value)))
        .filter(|(name, _)| !name.is_empty() && name.len() <= ATTRIBUTE_NAME_BYTES_MAX)
        .collect();
    Reported {
        facts: harmless_facts(facts),
        tags,
        attributes: cap_map(attributes),
        cut,
    }
}

/// Where an agent says more than is kept.
fn cut(facts: &Facts, tags: &[String], attributes: &BTreeMap<String, String>) -> Vec<String> {
    let is_long = |text: &String| text.chars().nth(FACT_CHARS_MAX).is_some();
    let tags_cut = tags.len() > FACT_ENTRIES_MAX || tags.iter().any(is_long);
    let attribute_cut = |(name, value): (&String, &String)| {
        is_long(name) || is_long(value) || name.trim().len() > ATTRIBUTE_NAME_BYTES_MAX
    };
    let attributes_cut =
        attributes.len() > FACT_ENTRIES_MAX || attributes.iter().any(attribute_cut);
    let cut = [
        ("tags", tags_cut),
        ("attributes", attributes_cut),
        ("facts", facts.clone().capped() != *facts),
    ];
    let cut = cut.into_iter().filter(|(_, is_cut)| *is_cut);
    cut.map(|(what, _)| what.to_owned()).collect()
}

pub fn harmless_facts(facts: Facts) -> Facts {
    // Cut first: an escape is longer than its character, and escaping a megabyte would be wasted.
    let mut facts = facts.capped();
    for text in [
        &mut facts.fqdn,
        &mut facts.hostname,
        &mut facts.platform,
        &mut facts.platform_release,
        &mut facts.platform_version,
        &mut facts.architecture,
        &mut facts.agent_version,
    ] {
        *text = text.take().map(|text| escaped(&text));
    }
    for list in [&mut facts.ipv4, &mut facts.ipv6] {
        list.iter_mut().for_each(|text| *text = escaped(text));
    }
    facts.capped()
}

/// Control and bidirectional characters written out (`\u{1b}`).
pub fn escaped(text: &str) -> String {
    if !text.chars().any(is_forbidden) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if is_forbidden(character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// Why this is no name for a person to read and type, if it is not.
pub fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Some(format!("is longer than {NAME_CHARS_MAX} characters"));
    }
    if name.trim() != name {
        return Some("starts or ends with white space".to_owned());
    }
    bad_character(name)
}

/// Why this text holds what a person cannot see, if it does.
pub fn bad_character(text: &str) -> Option<String> {
    let character = text.chars().find(|&character| is_forbidden(character))?;
    Some(format!(
        "holds the control character U+{:04X}",
        u32::from(character)
    ))
}

fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A name as one token of a JSON pointer.
fn pointer_token(name: &str) -> String {
    let short: String = name.chars().take(NAME_CHARS_MAX).collect();
    short.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_tags_are_sorted_and_deduplicated() {
        let given = ["web", "db", "web", "größe"].map(str::to_owned).to_vec();
        assert_eq!(tags("/tags", given).unwrap(), ["db", "größe", "web"]);
    }

    #[test]
    fn every_bad_tag_is_reported_with_its_place() {
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        let given = ["", " web", "a\0b", "ok", "\u{202E}x", &long]
            .map(str::to_owned)
            .to_vec();
        let found = tags("/tags", given).unwrap_err();
        let places: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(
            places,
            ["/tags/0", "/tags/1", "/tags/2", "/tags/4", "/tags/5"]
        );
        let many = vec!["t".to_owned(); FACT_ENTRIES_MAX + 1];
        assert_eq!(tags("/tags", many).unwrap_err().len(), 1);
    }

    #[test]
    fn bad_attributes_are_reported_by_an_escaped_pointer() {
        let given = BTreeMap::from([
            ("a/b~c".to_owned(), "x\u{7}".to_owned()),
            ("fine".to_owned(), String::new()),
            ("long".to_owned(), "v".repeat(FACT_CHARS_MAX + 1)),
        ]);
        let found = attributes("/attributes", &given).unwrap_err();
        let places: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(places, ["/attributes/a~1b~0c", "/attributes/long"]);
    }

    #[test]
    fn an_agents_escape_sequences_are_written_out() {
        let facts = Facts {
            fqdn: Some("web\u{1b}[31m\0".into()),
            ..Facts::default()
        };
        let reported = harmless(
            facts,
            vec!["  ".into(), "b".into(), "a".into()],
            BTreeMap::new(),
        );
        assert_eq!(reported.facts.fqdn.as_deref(), Some("web\\u{1b}[31m\\u{0}"));
        assert_eq!(reported.tags, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn whatever_an_agent_says_ends_up_harmless_and_small(name in ".{0,40}", value in prop::collection::vec(any::<char>(), 0..700)) {
            let value: String = value.into_iter().collect();
            let facts = Facts { hostname: Some(value.clone()), ..Facts::default() };
            let reported = harmless(facts, vec![value.clone()], BTreeMap::from([(name, value)]));
            let mut texts = vec![reported.facts.hostname.clone().unwrap_or_default()];
            texts.extend(reported.tags.clone());
            texts.extend(reported.attributes.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
            for text in texts {
                prop_assert!(!text.chars().any(is_forbidden));
                prop_assert!(text.chars().count() <= FACT_CHARS_MAX);
            }
            // Saying the same again changes nothing.
            let again = harmless(reported.facts.clone(), reported.tags.clone(), reported.attributes.clone());
            prop_assert_eq!(Reported { cut: reported.cut.clone(), ..again }, reported);
        }
    }
}
