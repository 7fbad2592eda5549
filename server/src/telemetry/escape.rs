//! Keeps a log line one line: control characters that came with somebody's input are written as escapes.

use std::io::{self, Write};

/// A line writer to standard error.
pub(super) fn stderr() -> Escaping<io::Stderr> {
    Escaping {
        inner: io::stderr(),
    }
}

/// Escapes control characters in what passes, but for the line's own end. The subscriber writes each line at
/// once.
pub(super) struct Escaping<W> {
    inner: W,
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let body = text.strip_suffix('\n').unwrap_or(&text);
        if body.chars().any(is_control) {
            let ended = body.len() < text.len();
            let mut escaped = escape(body);
            if ended {
                escaped.push('\n');
            }
            self.inner.write_all(escaped.as_bytes())?;
        } else {
            self.inner.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Also the separators and direction marks that terminals and viewers obey.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_control(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let mut escaping = Escaping { inner: Vec::new() };
        escaping.write_all(line.as_bytes()).expect("written");
        String::from_utf8(escaping.inner).expect("text")
    }

    #[test]
    fn input_cannot_begin_a_line_or_colour_a_terminal() {
        assert_eq!(written("a\nb \u{1b}[31m\n"), "a\\u000ab \\u001b[31m\n");
        assert_eq!(written("\u{202e}x\n"), "\\u202ex\n");
        assert_eq!(written("plain ü\n"), "plain ü\n");
    }
}
