//! What can be done about sessions, users and API tokens: each in one transaction with its audit row.

pub mod refusals;
pub mod sessions;
pub mod tokens;
pub mod users;

use fleetwright_protocol::Violation;

/// Names of users and tokens: what fits a table's column on a screen.
pub const NAME_CHARS_MAX: usize = 120;

/// What is wrong with a name, if anything.
pub fn check_name(pointer: &str, name: &str) -> Option<Violation> {
    let chars = name.chars().count();
    let valid = (1..=NAME_CHARS_MAX).contains(&chars)
        && !name.chars().any(is_unseen)
        && name.trim() == name;
    (!valid).then(|| {
        Violation::new(
            pointer,
            "invalid-field",
            format!(
                "A name has 1 to {NAME_CHARS_MAX} characters, none of them a control character, \
                 and no space at either end."
            ),
        )
    })
}

/// Control characters, and those that change the direction of what follows.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_text() {
        for good in ["a", "Ada Lovelace", "ci/deploy", &"ü".repeat(120)] {
            assert!(check_name("/name", good).is_none(), "{good}");
        }
        let long = "x".repeat(121);
        for bad in ["", " a", "a ", "a\u{0}b", "a\nb", "a\u{202e}b", &long] {
            assert!(check_name("/name", bad).is_some(), "{bad:?}");
        }
    }
}
