//! Reads the workspace's own sources for the architecture checks: which text is code, which is a comment, which is
//! inside a string, where tests begin. A lexer for just that, not a parser.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One Rust file, split by what its characters are. The parts keep every line break, so line numbers agree.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the workspace, with forward slashes.
    pub path: String,
    pub text: String,
    /// Comments and the insides of strings blanked; `#[cfg(test)]` items blanked too.
    pub code: String,
    /// Only the insides of strings outside test items, everything else blanked.
    pub strings: String,
}

/// A function's place: first line (1-based), number of lines, name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpan {
    pub line: usize,
    pub lines: usize,
    pub name: String,
}

impl Source {
    pub fn from_text(path: &str, text: &str) -> Self {
        let (mut code, mut strings) = separate(text);
        for (start, end) in test_items(&code) {
            blank(&mut code, start, end);
            blank(&mut strings, start, end);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            strings,
        }
    }

    /// Lines (1-based) of the code that `needle` matches.
    pub fn code_lines(&self, needle: &regex::Regex) -> Vec<usize> {
        matching_lines(&self.code, needle)
    }

    pub fn string_lines(&self, needle: &regex::Regex) -> Vec<usize> {
        matching_lines(&self.strings, needle)
    }

    /// The functions outside tests, with bodies.
    pub fn functions(&self) -> Vec<FunctionSpan> {
        let bytes = self.code.as_bytes();
        let head = regex::Regex::new(r"\bfn\s+([A-Za-z_][A-Za-z0-9_]*)").expect("a fixed pattern");
        head.captures_iter(&self.code)
            .filter_map(|found| {
                let (whole, name) = (found.get(0)?, found.get(1)?);
                // A trait's method without a body ends at its semicolon, at no bracket depth.
                let body = body_start(bytes, whole.end())?;
                let end = matching_brace(bytes, body)?;
                let line = line_of(&self.code, whole.start());
                Some(FunctionSpan {
                    line,
                    lines: line_of(&self.code, end) - line + 1,
                    name: name.as_str().to_owned(),
                })
            })
            .collect()
    }
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package lies inside the workspace")
        .to_owned()
}

/// Every file of the workspace with one of these extensions, except built and fetched ones.
pub fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of the workspace can be read");
        for entry in entries {
            let path = entry.expect("a folder entry can be read").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                let skipped = ["target", "node_modules", "dist"].contains(&name.as_str());
                if !skipped && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether a file that goes into programs has changed since then, in these folders (or files) of the workspace.
pub fn has_changed_since(then: SystemTime, places: &[&str]) -> bool {
    let root = workspace();
    files(&["rs", "toml", "sql", "json", "lock"])
        .iter()
        .filter(|path| {
            let relative = path.strip_prefix(&root).unwrap_or(path);
            places.iter().any(|name| relative.starts_with(name))
        })
        .any(|path| modified(path).is_none_or(|time| time > then))
}

/// `None` if it is not there.
pub fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}

/// Relative to the workspace, with forward slashes.
pub fn relative(path: &Path) -> String {
    path.strip_prefix(workspace())
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

/// Every Rust file of the workspace, split.
pub fn rust_sources() -> Vec<Source> {
    files(&["rs"])
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Source::from_text(&relative(path), &text)
        })
        .collect()
}

fn matching_lines(text: &str, needle: &regex::Regex) -> Vec<usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| needle.is_match(line))
        .map(|(index, _)| index + 1)
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

fn blank(text: &mut String, start: usize, end: usize) {
    let blanked: String = text[start..end]
        .chars()
        .map(|character| if character == '\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(start..end, &blanked);
}

/// The code, and the insides of strings, each as long (in lines) as the text. Only ASCII is kept as it is: any
/// other character becomes a space, so that byte offsets are character offsets.
fn separate(text: &str) -> (String, String) {
    let characters: Vec<char> = text
        .chars()
        .map(|character| {
            if character.is_ascii() {
                character
            } else {
                '\u{1}'
            }
        })
        .collect();
    let mut splitter = Splitter {
        characters: &characters,
        at: 0,
        code: String::with_capacity(text.len()),
        strings: String::with_capacity(text.len()),
    };
    splitter.run();
    (splitter.code, splitter.strings)
}

struct Splitter<'a> {
    characters: &'a [char],
    at: usize,
    code: String,
    strings: String,
}

impl Splitter<'_> {
    fn run(&mut self) {
        while let Some(current) = self.peek(0) {
            match (current, self.peek(1)) {
                ('/', Some('/')) => {
                    while self.peek(0).is_some_and(|character| character != '\n') {
                        self.skip();
                    }
                }
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.quoted(),
                ('r', Some('"' | '#')) if !self.follows_word() && self.is_raw() => self.raw(),
                ('\'', _) => self.quote_or_lifetime(),
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn put(&mut self, code: char, string: char) {
        let newline = self.peek(0) == Some('\n');
        self.code.push(if newline { '\n' } else { code });
        self.strings.push(if newline { '\n' } else { string });
        self.at += 1;
    }

    fn keep(&mut self) {
        let character = self.peek(0).unwrap_or(' ');
        self.put(character, ' ');
    }

    fn skip(&mut self) {
        self.put(' ', ' ');
    }

    fn inside(&mut self) {
        let character = self.peek(0).unwrap_or(' ');
        self.put(' ', character);
    }

    fn follows_word(&self) -> bool {
        let before = self
            .at
            .checked_sub(1)
            .and_then(|at| self.characters.get(at));
        // `br"…"` is a raw string whose `r` follows a `b`.
        before.is_some_and(|character| {
            (character.is_ascii_alphanumeric() || *character == '_') && *character != 'b'
        })
    }

    fn is_raw(&self) -> bool {
        let hashes = (1..)
            .take_while(|ahead| self.peek(*ahead) == Some('#'))
            .count();
        self.peek(1 + hashes) == Some('"')
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.characters.len() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.skip();
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.skip();
                }
                _ => {}
            }
            self.skip();
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self) {
        self.keep();
        while let Some(current) = self.peek(0) {
            match current {
                '"' => return self.keep(),
                '\\' => {
                    self.inside();
                    self.inside();
                }
                _ => self.inside(),
            }
        }
    }

    fn raw(&mut self) {
        self.keep();
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            hashes += 1;
            self.keep();
        }
        self.keep();
        while self.at < self.characters.len() {
            let closes = self.peek(0) == Some('"')
                && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                (0..=hashes).for_each(|_| self.keep());
                return;
            }
            self.inside();
        }
    }

    /// `'a'` and `'\n'` are characters; `'a` is a lifetime.
    fn quote_or_lifetime(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        let length = if escaped {
            (3..12).find(|ahead| self.peek(*ahead) == Some('\'') && *ahead > 2)
        } else {
            (self.peek(2) == Some('\'')).then_some(2)
        };
        match length {
            None => self.keep(),
            Some(length) => {
                self.keep();
                (1..length).for_each(|_| self.skip());
                self.keep();
            }
        }
    }
}

/// Byte ranges of items under `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let bytes = code.as_bytes();
    let marker = "#[cfg(test)]";
    code.match_indices(marker)
        .filter_map(|(start, _)| {
            let after = start + marker.len();
            // `mod tests;` ends at its semicolon: the file itself is judged by its name.
            let end = match body_start(bytes, after) {
                Some(body) => matching_brace(bytes, body)?,
                None => after + bytes.get(after..)?.iter().position(|byte| *byte == b';')?,
            };
            Some((start, end + 1))
        })
        .collect()
}

/// Where the next `{` opens, unless a `;` outside brackets comes first.
fn body_start(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in bytes.get(from..)?.iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' => return Some(from + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in bytes.get(open..)?.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + offset);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> regex::Regex {
        regex::Regex::new(text).unwrap()
    }

    #[test]
    fn comments_strings_and_characters_are_told_from_code() {
        let source = Source::from_text(
            "a.rs",
            "let a = \"unsafe \\\" b\"; // unsafe\nlet c = '\"'; /* unsafe\n unsafe */ let d: &'static str = r#\"x \" unsafe\"#;\nunsafe {}\n",
        );
        assert_eq!(source.code_lines(&pattern(r"\bunsafe\b")), vec![4]);
        assert_eq!(source.string_lines(&pattern(r"\bunsafe\b")), vec![1, 3]);
        assert_eq!(source.code.lines().count(), source.text.lines().count());
    }

    #[test]
    fn test_items_are_not_code() {
        let source = Source::from_text(
            "a.rs",
            "fn a() { x.unwrap() }\n#[cfg(test)]\nmod tests {\n fn b() { x.unwrap() }\n}\nfn c() { x.unwrap() }\n",
        );
        assert_eq!(source.code_lines(&pattern(r"unwrap")), vec![1, 6]);
    }

    #[test]
    fn functions_are_measured_and_declarations_are_not() {
        let source = Source::from_text(
            "a.rs",
            "trait T { fn none(&self) -> [u8; 3]; }\nfn two(\n a: u8) {\n if a > 1 { \"}\"; }\n}\n",
        );
        let expected = FunctionSpan {
            line: 2,
            lines: 4,
            name: "two".to_owned(),
        };
        assert_eq!(source.functions(), vec![expected]);
    }
}
