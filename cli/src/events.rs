//! Server-sent events: the text format only (WHATWG HTML, section 9.2). Connecting and reconnecting is `follow`'s.

use std::io::{self, BufRead};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: String,
}

/// No event of ours comes near this; a server that sends more is not ours.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The next event; `None` when the stream ended. Comments are skipped.
pub fn next(stream: &mut impl BufRead) -> io::Result<Option<Event>> {
    let mut event = Event::default();
    let mut has_data = false;
    loop {
        let mut bytes = Vec::new();
        if io::Read::take(&mut *stream, LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            if has_data {
                return Ok(Some(event));
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" if has_data => {
                event.data.push('\n');
                event.data.push_str(value);
            }
            "data" => {
                has_data = true;
                event.data = value.to_owned();
            }
            "event" => event.name = value.to_owned(),
            "id" => event.id = Some(value.to_owned()),
            // A comment (empty name), `retry`, or something newer than this program.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Event> {
        let mut stream = text.as_bytes();
        std::iter::from_fn(|| next(&mut stream).expect("reads")).collect()
    }

    #[test]
    fn events_have_id_name_and_joined_data() {
        let events =
            all(": hello\n\nid: 7\nevent: progress\ndata: {\"a\":\ndata: 1}\n\ndata: x\r\n\r\n");
        assert_eq!(
            events,
            [
                Event {
                    id: Some("7".into()),
                    name: "progress".into(),
                    data: "{\"a\":\n1}".into()
                },
                Event {
                    id: None,
                    name: String::new(),
                    data: "x".into()
                },
            ]
        );
    }

    #[test]
    fn an_event_cut_off_in_the_middle_is_dropped() {
        assert_eq!(all("data: half"), []);
        assert_eq!(all("data: half\n"), []);
    }
}
