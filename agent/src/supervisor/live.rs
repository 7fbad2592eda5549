//! Sends a run's output to the agent while it is printed: best effort, bounded, and never in the script's way.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fleetwright_protocol::frame::Stream;

use super::spec::SupervisorMessage;

/// Output is gathered this long, so that chatty scripts do not cost a frame per line; a script that ends sooner
/// sends none, because all of it is in its result.
pub const GATHER_MS: u64 = 100;
/// What is sent of one stream in that time; the rest is left out, which the offsets show.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

pub struct Live {
    /// Non-blocking; `None` once the agent is gone.
    channel: Option<UnixStream>,
    /// The rest of a message the channel did not take whole.
    pending: Vec<u8>,
    gathered: [Gathered; 2],
    /// When what was gathered is due, on the monotonic clock.
    due_at_ms: Option<u64>,
    /// All of it goes to the supervisor's own output, and nothing into the channel.
    passes_on: bool,
}

#[derive(Default)]
struct Gathered {
    offset: u64,
    data: Vec<u8>,
    /// Something was left out after `data`.
    full: bool,
}

impl Live {
    pub fn new(channel: UnixStream) -> Self {
        let channel = channel.set_nonblocking(true).ok().map(|()| channel);
        Self {
            channel,
            pending: Vec::new(),
            gathered: [Gathered::default(), Gathered::default()],
            due_at_ms: None,
            passes_on: false,
        }
    }

    /// Passes output on to this process's own, all of it and at once. Whoever reads there keeps up: it is a supervisor.
    #[must_use]
    pub fn passing_on(mut self, passes_on: bool) -> Self {
        self.passes_on = passes_on;
        self
    }

    /// When `flush` wants to be called next.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.due_at_ms
    }

    /// Takes note of bytes printed at `offset` of the stream.
    pub fn push(&mut self, stream: Stream, offset: u64, data: &[u8], now_ms: u64) {
        if self.passes_on {
            // It may have gone; then its supervisor ends us.
            let _ = match stream {
                Stream::Stdout => write_through(io::stdout().lock(), data),
                Stream::Stderr => write_through(io::stderr().lock(), data),
            };
            return;
        }
        if self.channel.is_none() {
            return;
        }
        let [stdout, stderr] = &mut self.gathered;
        let gathered = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        if gathered.data.is_empty() && !gathered.full {
            gathered.offset = offset;
        }
        if !gathered.full {
            let room = CHUNK_BYTES_MAX - gathered.data.len();
            gathered.full = data.len() > room;
            gathered
                .data
                .extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
        }
        self.due_at_ms.get_or_insert(now_ms + GATHER_MS);
    }

    /// Sends what was gathered, or drops it if the agent does not keep up.
    pub fn flush(&mut self) {
        self.due_at_ms = None;
        self.push_pending();
        let [stdout, stderr] = &mut self.gathered;
        let reports = [
            (Stream::Stdout, std::mem::take(stdout)),
            (Stream::Stderr, std::mem::take(stderr)),
        ];
        for (stream, gathered) in reports {
            if !gathered.data.is_empty() && self.pending.is_empty() && self.channel.is_some() {
                let report = SupervisorMessage::Output {
                    stream,
                    offset: gathered.offset,
                    data: gathered.data,
                };
                // A chunk of this size always has a length that fits.
                self.pending = report.encode().unwrap_or_default();
                self.push_pending();
            }
        }
    }

    /// Sends the last message, after whatever is half sent. Waits for a slow agent, but not for one that is stuck: the
    /// record is on disk too.
    pub fn end(mut self, record: Vec<u8>) {
        let Some(mut channel) = self.channel.take() else {
            return;
        };
        let Ok(report) = SupervisorMessage::Ended(record).encode() else {
            return;
        };
        let patient = channel
            .set_nonblocking(false)
            .and_then(|()| channel.set_write_timeout(Some(Duration::from_secs(5))));
        if patient.is_ok() {
            // The agent may be gone; it will read the record.
            let _ = channel
                .write_all(&self.pending)
                .and_then(|()| channel.write_all(&report));
        }
    }

    fn push_pending(&mut self) {
        while let Some(channel) = self.channel.as_mut().filter(|_| !self.pending.is_empty()) {
            match channel.write(&self.pending) {
                Ok(sent) => drop(self.pending.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.channel = None;
                    self.pending.clear();
                }
            }
        }
    }
}

fn write_through(mut to: impl Write, data: &[u8]) -> io::Result<()> {
    to.write_all(data)?;
    to.flush()
}

/// Says that the supervisor is there.
pub fn announce(channel: &mut UnixStream) -> io::Result<()> {
    let pid = std::process::id();
    channel.write_all(&SupervisorMessage::Ready { pid }.encode()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stuck_agent_costs_bounded_memory_and_no_time() {
        let (mine, _theirs) = UnixStream::pair().unwrap();
        let mut live = Live::new(mine);
        for turn in 0..200u64 {
            live.push(Stream::Stdout, turn << 20, &[7; 1 << 20], turn);
            live.flush();
        }
        assert!(live.pending.len() <= CHUNK_BYTES_MAX + 64);
    }

    #[test]
    fn what_was_left_out_shows_in_the_offsets() {
        let (mine, mut theirs) = UnixStream::pair().unwrap();
        let mut live = Live::new(mine);
        live.push(Stream::Stderr, 0, &[1; CHUNK_BYTES_MAX + 5], 0);
        live.push(Stream::Stderr, CHUNK_BYTES_MAX as u64 + 5, b"lost", 0);
        live.flush();
        live.push(Stream::Stderr, 90_000, b"next", 200);
        live.flush();
        drop(live);
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).unwrap();
        let first = 5 + 8 + CHUNK_BYTES_MAX;
        let report = SupervisorMessage::decode(bytes[first], bytes[first + 5..].to_vec());
        assert_eq!(
            report,
            Some(SupervisorMessage::Output {
                stream: Stream::Stderr,
                offset: 90_000,
                data: b"next".to_vec()
            })
        );
    }
}
