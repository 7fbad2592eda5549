//! Which characters a selector's texts may hold. Not a length check: the size of the whole selector bounds its parts.

/// The first character that could make a selector read as something else than it is: NUL and other control characters, and the
/// Unicode bidirectional controls that reorder what a person sees.
pub(crate) fn first_forbidden(text: &str) -> Option<char> {
    text.chars()
        .find(|&character| character.is_control() || is_bidirectional_control(character))
}

/// As [`first_forbidden`], for a whole expression, where a tab or a line break is white space.
pub(crate) fn first_forbidden_in_expression(text: &str) -> Option<(usize, char)> {
    text.chars().enumerate().find(|&(_, character)| {
        !matches!(character, '\t' | '\n' | '\r')
            && (character.is_control() || is_bidirectional_control(character))
    })
}

/// The text of the violation for a character found by the functions above.
pub(crate) fn forbidden_detail(character: char) -> String {
    format!(
        "the character U+{:04X} is not allowed (control or bidirectional control)",
        u32::from(character)
    )
}

/// What a caller wrote, safe and short enough to be repeated to them: 64 characters are more than any real name has.
pub(crate) fn shown(name: &str) -> String {
    name.chars()
        .take(64)
        .flat_map(|character| {
            let escaped = character.is_control() || is_bidirectional_control(character);
            escaped
                .then(|| character.escape_unicode())
                .into_iter()
                .flatten()
                .chain((!escaped).then_some(character))
        })
        .collect()
}

fn is_bidirectional_control(character: char) -> bool {
    matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidirectional_characters_are_found() {
        for text in [
            "a\0b",
            "a\u{1b}[31m",
            "a\u{202E}b",
            "\u{2066}",
            "\u{85}",
            "a\nb",
        ] {
            assert!(first_forbidden(text).is_some(), "{text:?}");
        }
        for text in ["", "web-01.example", "größe", "日本", "a b"] {
            assert_eq!(first_forbidden(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_expression_may_be_broken_into_lines() {
        assert_eq!(first_forbidden_in_expression("a = b\n\tand c = d"), None);
        assert_eq!(first_forbidden_in_expression("a = \0"), Some((4, '\0')));
    }
}
