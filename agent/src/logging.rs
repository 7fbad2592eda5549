//! Logs to standard error. What a server or a script says may end up in a line, so control characters are escaped: a
//! log is read in terminals.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogSettings};

#[derive(Debug, thiserror::Error)]
#[error("log.level: `{0}` is not error, warn, info, debug, trace or off")]
pub struct BadLevel(String);

/// Logs from now on, for the whole process.
pub fn start(settings: &LogSettings) -> Result<(), BadLevel> {
    let level = settings.level.as_deref().unwrap_or("info");
    let level: LevelFilter = level.parse().map_err(|_| BadLevel(level.to_owned()))?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(Escaped);
    match settings.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

struct Escaped;

/// Writes one event: the subscriber hands over whole lines.
struct Line;

impl<'a> MakeWriter<'a> for Escaped {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr()
            .lock()
            .write_all(escape(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn escape(line: &str) -> String {
    let (text, end) = match line.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (line, ""),
    };
    let mut escaped = String::with_capacity(line.len());
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_forge_lines_or_move_cursors() {
        assert_eq!(
            escape("a\u{1b}[2Jb\nfake\r\u{9b}x\n"),
            "a\\u{1b}[2Jb\\nfake\\r\\u{9b}x\n"
        );
        assert_eq!(escape("grün\n"), "grün\n");
    }
}
