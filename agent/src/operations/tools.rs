//! Running the system's own tools for an operation: an argument vector, never a shell; from where root alone put them, with
//! an environment and in a folder that no operation chooses. What a tool prints is read by us and passed on to our own
//! output, so that a person sees it too.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use super::surroundings;

/// A tool that prints more than this is cut off for reading; all of it is passed on.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a tool ended and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolOutput {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl ToolOutput {
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The last line that says something, for a message to a person.
    pub fn last_words(&self) -> &str {
        let said = |text: &'_ str| text.lines().rev().any(|line| !line.trim().is_empty());
        let text = if said(&self.stderr) {
            &self.stderr
        } else {
            &self.stdout
        };
        text.lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("it said nothing")
    }
}

/// A tool that has ended like this.
#[cfg(test)]
pub fn said(code: impl Into<Option<i32>>, stdout: &str, stderr: &str) -> ToolOutput {
    ToolOutput {
        code: code.into(),
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    }
}

/// Where tools are run: the system itself, or a table in tests.
pub trait Tools {
    /// Runs `argv[0]` with the other elements as arguments and waits for it.
    fn run(&mut self, argv: &[String]) -> io::Result<ToolOutput>;
}

/// The machine this agent runs on.
pub struct SystemTools;

impl Tools for SystemTools {
    fn run(&mut self, argv: &[String]) -> io::Result<ToolOutput> {
        let argv = located(argv)?;
        let Some((program, arguments)) = argv.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(surroundings::of_tools())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take();
        let beside = std::thread::spawn(move || errors.map(|pipe| pass_on(pipe, io::stderr())));
        let stdout = child.stdout.take().map(|pipe| pass_on(pipe, io::stdout()));
        let stderr = beside.join().unwrap_or_default();
        let status = child.wait()?;
        Ok(ToolOutput {
            code: status.code(),
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        })
    }
}

/// The words with the paths of the tools they name: of the first, and of the one that `env` is to run. A path that the
/// host's owner has written into the settings stays as it is.
pub fn located(argv: &[String]) -> io::Result<Vec<String>> {
    let mut located = argv.to_vec();
    let sets = |word: &&mut String| word.contains('=');
    let mut words = located.iter_mut();
    let mut next = words.next();
    while let Some(word) = next {
        let is_env = word == "env";
        if !word.starts_with('/') {
            let path =
                surroundings::tool(word).and_then(|path| path.into_os_string().into_string().ok());
            *word = path.ok_or_else(|| {
                let why = format!(
                    "there is no {word} in a folder that only root and this account may change"
                );
                io::Error::new(io::ErrorKind::NotFound, why)
            })?;
        }
        next = if is_env {
            words.find(|word| !sets(word))
        } else {
            None
        };
    }
    Ok(located)
}

/// Reads to the end. What cannot be passed on is still read.
fn pass_on(mut from: impl Read, mut to: impl Write) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 8 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let data = buffer.get(..count).unwrap_or_default();
        let room = READ_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(data.get(..count.min(room)).unwrap_or_default());
        // Nobody may be listening any more; the tool must not stop because of it.
        let _ = to.write_all(data).and_then(|()| to.flush());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_run_without_a_shell_and_heard() {
        let argv = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let said = SystemTools
            .run(&argv(&["printf", "%s\n", "$HOME; a"]))
            .unwrap();
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "$HOME; a\n"));
        let failed = SystemTools.run(&argv(&["ls", "/nowhere-at-all"])).unwrap();
        assert!(!failed.succeeded() && failed.last_words().contains("nowhere-at-all"));
        assert!(SystemTools.run(&argv(&["/no/such/tool"])).is_err());
        assert!(SystemTools.run(&argv(&["no-such-tool"])).is_err());
    }

    #[test]
    fn a_tool_runs_from_its_own_folder_and_with_nothing_that_others_set() {
        let argv = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let words = located(&argv(&["env", "A=b", "C=d/e", "sh", "-c", "printf"])).unwrap();
        assert!(
            words[0].ends_with("/env") && words[0].starts_with('/'),
            "{words:?}"
        );
        assert!(
            words[3].ends_with("/sh") && words[3].starts_with('/'),
            "{words:?}"
        );
        assert_eq!(words[5], "printf", "what a tool is told is its own matter");
        assert_eq!(
            located(&argv(&["/opt/x", "env"])).unwrap(),
            argv(&["/opt/x", "env"])
        );
        let said = SystemTools
            .run(&argv(&["env", "A=b", "sh", "-c", "pwd; env"]))
            .unwrap();
        let lines: Vec<&str> = said.stdout.lines().collect();
        assert_eq!(lines[0], "/");
        // A test of this crate is run by cargo, which sets many.
        assert!(
            lines.contains(&"A=b") && !said.stdout.contains("CARGO"),
            "{}",
            said.stdout
        );
    }
}
