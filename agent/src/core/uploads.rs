//! Which part of a long output is to be sent next. Stop and wait: one part is under way at a time, and the server's
//! acknowledgement says where to go on, also after a reconnect. Pure.

use std::collections::{BTreeMap, VecDeque};

use fleetwright_protocol::frame::{Section, Stream};
use fleetwright_protocol::limits::OUTPUT_PART_BYTES_MAX;
use fleetwright_protocol::{CommandId, Outcome};

#[derive(Debug, Default)]
pub struct Uploads {
    by_id: BTreeMap<CommandId, Upload>,
    /// The first is under way.
    order: VecDeque<CommandId>,
}

#[derive(Debug)]
struct Upload {
    attempt: u32,
    sections: Vec<SectionUpload>,
}

#[derive(Debug)]
struct SectionUpload {
    stream: Stream,
    section: Section,
    total_bytes: u64,
    acked_bytes: u64,
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Part(Part),
    /// All parts of this command's output are there: its end may be said.
    Complete {
        command_id: CommandId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub command_id: CommandId,
    pub attempt: u32,
    pub stream: Stream,
    pub section: Section,
    pub offset: u64,
    pub bytes: u64,
}

impl Uploads {
    /// Puts a command's output in line. Returns whether there is any to send.
    pub fn enqueue(&mut self, command_id: CommandId, attempt: u32, outcome: &Outcome) -> bool {
        let known = self
            .by_id
            .get(&command_id)
            .is_some_and(|upload| upload.attempt == attempt);
        if !known {
            let sections = sections(outcome);
            self.by_id.insert(command_id, Upload { attempt, sections });
        }
        let incomplete = self
            .by_id
            .get(&command_id)
            .is_some_and(|upload| upload.current().is_some());
        if incomplete && !self.order.contains(&command_id) {
            self.order.push_back(command_id);
        }
        incomplete
    }

    /// The part under way, also to send it once more.
    pub fn current(&self) -> Option<Part> {
        let command_id = *self.order.front()?;
        let upload = self.by_id.get(&command_id)?;
        let progress = upload.current()?;
        let left = progress.total_bytes - progress.acked_bytes;
        Some(Part {
            command_id,
            attempt: upload.attempt,
            stream: progress.stream,
            section: progress.section,
            offset: progress.acked_bytes,
            bytes: left.min(OUTPUT_PART_BYTES_MAX as u64),
        })
    }

    /// The server holds a section up to `offset` (which may be less than was sent, or more after a reconnect). `None`:
    /// this is not what is under way.
    pub fn acked(
        &mut self,
        command_id: CommandId,
        attempt: u32,
        stream: Stream,
        section: Section,
        offset: u64,
    ) -> Option<Next> {
        let under_way = self.current()?;
        let meant = (
            under_way.command_id,
            under_way.attempt,
            under_way.stream,
            under_way.section,
        );
        if meant != (command_id, attempt, stream, section) {
            return None;
        }
        let upload = self.by_id.get_mut(&command_id)?;
        let progress = upload
            .sections
            .iter_mut()
            .find(|progress| progress.acked_bytes < progress.total_bytes)?;
        progress.acked_bytes = offset.min(progress.total_bytes);
        if upload.current().is_none() {
            self.order.pop_front();
            return Some(Next::Complete { command_id });
        }
        self.current().map(Next::Part)
    }

    /// The connection is gone: nothing is under way, but what was acknowledged stays so.
    pub fn pause(&mut self) {
        self.order.clear();
    }

    /// Nothing more is to be sent of this command.
    pub fn forget(&mut self, command_id: CommandId) {
        self.by_id.remove(&command_id);
        self.order.retain(|waiting| *waiting != command_id);
    }
}

impl Upload {
    fn current(&self) -> Option<&SectionUpload> {
        self.sections
            .iter()
            .find(|progress| progress.acked_bytes < progress.total_bytes)
    }
}

fn sections(outcome: &Outcome) -> Vec<SectionUpload> {
    [
        (Stream::Stdout, &outcome.stdout),
        (Stream::Stderr, &outcome.stderr),
    ]
    .into_iter()
    .filter(|(_, summary)| summary.in_parts)
    .flat_map(|(stream, summary)| {
        [
            (Section::Head, summary.head_bytes),
            (Section::Tail, summary.tail_bytes),
        ]
        .map(|(section, total_bytes)| SectionUpload {
            stream,
            section,
            total_bytes,
            acked_bytes: 0,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetwright_protocol::OutputSummary;

    const PART: u64 = OUTPUT_PART_BYTES_MAX as u64;

    fn id(number: u8) -> CommandId {
        CommandId(uuid::Uuid::from_u128(u128::from(number)))
    }

    fn long(head_bytes: u64, tail_bytes: u64) -> Outcome {
        let stdout = OutputSummary {
            in_parts: true,
            head_bytes,
            tail_bytes,
            ..OutputSummary::default()
        };
        Outcome {
            stdout,
            ..Outcome::succeeded(true)
        }
    }

    fn ack(uploads: &mut Uploads, part: Part, offset: u64) -> Option<Next> {
        uploads.acked(
            part.command_id,
            part.attempt,
            part.stream,
            part.section,
            offset,
        )
    }

    #[test]
    fn parts_follow_acknowledgements_and_the_end_comes_last() {
        let mut uploads = Uploads::default();
        assert!(uploads.enqueue(id(1), 1, &long(PART + 10, 5)));
        assert!(uploads.enqueue(id(2), 1, &long(7, 0)));
        let first = uploads.current().unwrap();
        assert_eq!(
            (first.offset, first.bytes, first.section),
            (0, PART, Section::Head)
        );
        let Some(Next::Part(second)) = ack(&mut uploads, first, PART) else {
            panic!()
        };
        assert_eq!((second.offset, second.bytes), (PART, 10));
        let Some(Next::Part(tail)) = ack(&mut uploads, second, PART + 10) else {
            panic!()
        };
        assert_eq!(
            (tail.section, tail.offset, tail.bytes),
            (Section::Tail, 0, 5)
        );
        assert_eq!(
            ack(&mut uploads, second, PART + 10),
            None,
            "a late acknowledgement moves nothing"
        );
        assert_eq!(
            ack(&mut uploads, tail, 5),
            Some(Next::Complete { command_id: id(1) })
        );
        assert_eq!(uploads.current().unwrap().command_id, id(2));
    }

    #[test]
    fn after_a_reconnect_it_goes_on_where_the_server_says() {
        let mut uploads = Uploads::default();
        uploads.enqueue(id(1), 1, &long(3 * PART, 0));
        let first = uploads.current().unwrap();
        ack(&mut uploads, first, PART);
        uploads.pause();
        assert_eq!(uploads.current(), None);
        assert!(uploads.enqueue(id(1), 1, &long(3 * PART, 0)));
        let resumed = uploads.current().unwrap();
        assert_eq!(resumed.offset, PART);
        // The server lost it, or holds more than we know.
        let Some(Next::Part(back)) = ack(&mut uploads, resumed, 0) else {
            panic!()
        };
        assert_eq!(back.offset, 0);
        let Some(Next::Part(ahead)) = ack(&mut uploads, back, 2 * PART) else {
            panic!()
        };
        assert_eq!(ahead.offset, 2 * PART);
        assert_eq!(
            ack(&mut uploads, ahead, u64::MAX),
            Some(Next::Complete { command_id: id(1) })
        );
        assert!(
            !uploads.enqueue(id(1), 1, &long(3 * PART, 0)),
            "nothing is left to send"
        );
    }

    #[test]
    fn output_inside_the_result_needs_no_parts() {
        assert!(!Uploads::default().enqueue(id(1), 1, &Outcome::succeeded(true)));
    }
}
