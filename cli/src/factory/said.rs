//! What a job's command says while it runs: lines of JSON, written to a named pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::{Map, Value, json};

/// Read at once. A command that says more waits until this was told to the server.
const CHUNK_BYTES: usize = 16 * 1024;
/// Checkpoints and the data of artifacts are at most 16 KiB each on the server.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The stages a command moves its job to; its first and its last ones are the worker's.
const STAGES: [&str; 3] = ["building", "review", "testing"];
const KNOWN: &str =
    "a line is an object of `stage`, `release`, `reason`, `checkpoint`, `artifact`, `spend_usd`";

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// `stage`, `release`, `reason` and `checkpoint`, as the server takes them.
    Report(Map<String, Value>),
    /// `name` and `data`, likewise.
    Artifact(Map<String, Value>),
    /// An amount in USD.
    Spend(String),
}

/// One line. What is wrong with it is for people.
pub fn parse(line: &str) -> Result<Vec<Said>, String> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(line) else {
        return Err(KNOWN.to_owned());
    };
    let artifact = members.remove("artifact").map(artifact).transpose()?;
    let spend = members.remove("spend_usd").map(amount).transpose()?;
    for (name, value) in &members {
        match (name.as_str(), value) {
            ("stage", Value::String(stage)) if STAGES.contains(&stage.as_str()) => {}
            ("stage", _) => return Err(format!("`stage` is one of {}", STAGES.join(", "))),
            ("release", Value::Bool(_)) | ("reason", Value::String(_)) | ("checkpoint", _) => {}
            _ => return Err(format!("`{name}`: {KNOWN}")),
        }
    }
    let report = Some(members).filter(|members| !members.is_empty());
    let said = [
        artifact.map(Said::Artifact),
        spend.map(Said::Spend),
        report.map(Said::Report),
    ];
    Ok(said.into_iter().flatten().collect())
}

/// What is beside the name is its data, unless there is `data`.
fn artifact(value: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(mut members) = value else {
        return Err("`artifact` is an object with a `name`".to_owned());
    };
    let name = members.remove("name").filter(Value::is_string);
    let name = name.ok_or("`artifact` has a `name`")?;
    let data = match members.remove("data") {
        Some(data) => data,
        None => Value::Object(members),
    };
    let mut artifact = Map::new();
    artifact.insert("name".to_owned(), name);
    artifact.insert("data".to_owned(), data);
    Ok(artifact)
}

fn amount(value: Value) -> Result<String, String> {
    match value {
        Value::String(amount) => Ok(amount),
        Value::Number(amount) => Ok(amount.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("`spend_usd` is an amount such as \"0.25\"".to_owned())
        }
    }
}

/// The end of the pipe at which one listens. A pipe and no file: `>` and `>>` then come to the same.
pub struct Listener {
    pipe: File,
    /// The beginning of a line.
    begun: Vec<u8>,
    /// The rest of the line is dropped: it is too long.
    is_dropping: bool,
}

impl Listener {
    /// Makes the pipe.
    pub fn at(path: &Path) -> io::Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Open for writing as well: there is no end of it while nobody writes.
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        Ok(Self {
            pipe,
            begun: Vec::new(),
            is_dropping: false,
        })
    }

    /// The lines that came since the last call, without waiting; not more of them than fit into one reading.
    pub fn lines(&mut self) -> io::Result<Vec<Result<String, String>>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = match self.pipe.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        chunk.truncate(count);
        let mut lines = Vec::new();
        for byte in chunk {
            match byte {
                b'\n' => lines.extend(self.line()),
                _ if self.begun.len() < LINE_BYTES_MAX => self.begun.push(byte),
                _ => self.is_dropping = true,
            }
        }
        Ok(lines)
    }

    /// What was begun and has no end: whoever wrote it has ended.
    pub fn line(&mut self) -> Option<Result<String, String>> {
        let line = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.is_dropping) {
            return Some(Err(format!("a line is at most {LINE_BYTES_MAX} bytes")));
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        (!line.is_empty()).then_some(Ok(line))
    }
}

/// The body of a spending. The key is the same however often this is sent.
pub fn spending(amount: &str, job_id: &str, epoch: i64, number: u64) -> Value {
    json!({
        "amount_usd": amount,
        "key": format!("{job_id}/{epoch}/{number}"),
        "job_id": job_id,
        "lease_epoch": epoch,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => panic!("no object: {other}"),
        }
    }

    #[test]
    fn a_line_says_any_of_what_there_is_to_say() {
        let report = |value| Said::Report(members(value));
        let artifact = |value| Said::Artifact(members(value));
        for (line, expected) in [
            (
                r#"{"stage":"testing"}"#,
                vec![report(json!({"stage": "testing"}))],
            ),
            (
                r#"{"stage":"review","release":true,"reason":"look"}"#,
                vec![report(
                    json!({"stage": "review", "release": true, "reason": "look"}),
                )],
            ),
            (
                r#"{"checkpoint":{"step":2}}"#,
                vec![report(json!({"checkpoint": {"step": 2}}))],
            ),
            (
                r#"{"artifact":{"name":"a.tar","bytes":7}}"#,
                vec![artifact(json!({"name": "a.tar", "data": {"bytes": 7}}))],
            ),
            (
                r#"{"artifact":{"name":"a","data":{"b":1}},"spend_usd":"0.25","checkpoint":"c"}"#,
                vec![
                    artifact(json!({"name": "a", "data": {"b": 1}})),
                    Said::Spend("0.25".into()),
                    report(json!({"checkpoint": "c"})),
                ],
            ),
            (r#"{"spend_usd":1.5}"#, vec![Said::Spend("1.5".into())]),
            ("{}", vec![]),
        ] {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_such_line_is_told() {
        for line in [
            "",
            "testing",
            "[]",
            r#"{"stage":"shipped"}"#,
            r#"{"stage":7}"#,
            r#"{"stages":"testing"}"#,
            r#"{"release":"yes"}"#,
            r#"{"artifact":"a"}"#,
            r#"{"artifact":{"bytes":1}}"#,
            r#"{"spend_usd":null}"#,
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_come_through_the_pipe_whole_and_too_long_ones_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report");
        let mut listener = Listener::at(&path).expect("a pipe");
        let all = |listener: &mut Listener| listener.lines().expect("it can be read");
        assert_eq!(all(&mut listener), []);
        // As a shell's `>` does it.
        let write = |text: &[u8]| {
            let mut writer = File::create(&path).expect("opened");
            writer.write_all(text).expect("written");
        };
        write(b"one\ntw");
        assert_eq!(all(&mut listener), [Ok("one".to_owned())]);
        write(b"o\n\n");
        assert_eq!(all(&mut listener), [Ok("two".to_owned())]);
        for _ in 0..5 {
            write(&[b'x'; CHUNK_BYTES]);
            assert_eq!(all(&mut listener), []);
        }
        write(b"\nlast");
        let told = all(&mut listener);
        assert!(matches!(told.as_slice(), [Err(_)]), "{told:?}");
        assert_eq!(listener.line(), Some(Ok("last".to_owned())));
        assert_eq!(listener.line(), None);
    }
}
