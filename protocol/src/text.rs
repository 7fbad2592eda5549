//! Texts that people read: which characters may stand in one line of them. Pure.

/// Characters that a person does not see, or that make a text read as another one: control characters, and those that change
/// the direction of what follows.
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether this is one line that can be read as it is written, of at most so many characters.
pub fn is_line(text: &str, chars_max: usize) -> bool {
    // A character has at most four bytes: a text of megabytes is not counted through.
    text.len() <= chars_max.saturating_mul(4)
        && text.chars().count() <= chars_max
        && !text.chars().any(is_unseen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_shows_all_that_it_holds() {
        for good in ["", "x", "größe", "日本語", "a\u{200d}b", &"ü".repeat(8)] {
            assert!(is_line(good, 8), "{good:?}");
        }
        let long = "x".repeat(9);
        for bad in [
            "a\nb",
            "a\0",
            "\u{1b}[31m",
            "\u{202e}x",
            "x\u{2066}",
            "\u{200f}",
            "\u{61c}",
            "\u{9b}",
            &long,
        ] {
            assert!(!is_line(bad, 8), "{bad:?}");
        }
    }
}
