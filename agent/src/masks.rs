//! Keeps secrets out of what leaves this host: whatever a command prints or says, the values it was given are replaced in it,
//! also where one is cut by the end of a chunk. An Aho-Corasick automaton over the bytes, because there may be thousands of
//! lines to look for; what may be the beginning of one is held back until the next bytes tell. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fleetwright_protocol::SecretValues;
use serde_json::Value;

/// Shorter texts occur by chance, and hiding them would tell where they do.
const PATTERN_BYTES_MIN: usize = 8;
/// Of longer values base64 is not looked for: it would be most of the automaton.
const ENCODED_BYTES_MAX: usize = 8 * 1024;
/// Where `base64` breaks its lines.
const ENCODED_LINE_CHARS: usize = 76;

const ROOT: u32 = 0;

/// All that is to be hidden. Cheap to clone; of nothing, it costs nothing.
#[derive(Clone, Default)]
pub struct Masks {
    automaton: Option<Arc<Automaton>>,
}

/// One stream of output on its way through.
#[derive(Default)]
pub struct Masked {
    masks: Masks,
    state: u32,
    /// Came in and has not gone out.
    held: Vec<u8>,
    /// What of it is to be hidden, apart from each other and in order.
    spans: Vec<Span>,
    /// What went out last was hidden: more of it needs no words.
    open: bool,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    name: usize,
}

struct Automaton {
    names: Vec<String>,
    nodes: Vec<Node>,
    edges: HashMap<(u32, u8), u32>,
    /// Whether a byte begins anything.
    begins: [bool; 256],
}

struct Node {
    parent: u32,
    byte: u8,
    depth: usize,
    /// The longest other beginning that ends here.
    fail: u32,
    /// The longest pattern that ends here, and whose it is.
    ends: Option<(usize, usize)>,
    /// Whose pattern leads through here.
    name: usize,
}

impl Masks {
    pub fn of(secrets: &SecretValues) -> Self {
        let mut automaton = Automaton::new();
        for (key, value) in secrets {
            // Of whatever version.
            let name = key.split('@').next().unwrap_or_default();
            automaton.names.push(name.to_owned());
            for pattern in patterns(value.bytes()) {
                automaton.add(&pattern, automaton.names.len() - 1);
            }
        }
        if automaton.nodes.len() == 1 {
            return Self::default();
        }
        automaton.link();
        Self {
            automaton: Some(Arc::new(automaton)),
        }
    }

    pub fn stream(&self) -> Masked {
        Masked {
            masks: self.clone(),
            ..Masked::default()
        }
    }

    pub fn text(&self, text: String) -> String {
        if self.automaton.is_none() {
            return text;
        }
        let mut stream = self.stream();
        let mut hidden = stream.push(text.as_bytes()).to_vec();
        hidden.extend(stream.finish());
        String::from_utf8_lossy(&hidden).into_owned()
    }

    /// Every text in a document.
    pub fn document(&self, document: &mut Value) {
        match document {
            Value::String(text) => *text = self.text(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.document(item)),
            Value::Object(members) => members.values_mut().for_each(|one| self.document(one)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Masked {
    /// Takes the next bytes in. Returns what may go out.
    pub fn push<'a>(&mut self, data: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        let Some(automaton) = self.masks.automaton.clone() else {
            return data.into();
        };
        let mut rest = data;
        while let Some((&byte, after)) = rest.split_first() {
            if self.state == ROOT {
                let begins = |byte: &u8| automaton.begins[usize::from(*byte)]; // one for every byte
                let skipped = rest.iter().position(begins).unwrap_or(rest.len());
                if skipped > 0 {
                    let (plain, from) = rest.split_at(skipped);
                    self.held.extend_from_slice(plain);
                    rest = from;
                    continue;
                }
            }
            self.held.push(byte);
            self.state = automaton.next(self.state, byte);
            if let Some((bytes, name)) = automaton.node(self.state).ends {
                self.hide(bytes, name);
            }
            rest = after;
        }
        let may_begin = automaton.node(self.state).depth;
        let mut out = Vec::with_capacity(self.held.len());
        self.release(self.held.len() - may_begin, &automaton, &mut out);
        out.into()
    }

    /// The stream has ended: what was held back. Most of a value that was cut off is hidden too.
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(automaton) = self.masks.automaton.clone() {
            let node = automaton.node(self.state);
            if node.depth >= PATTERN_BYTES_MIN {
                self.hide(node.depth, node.name);
            }
            self.release(self.held.len(), &automaton, &mut out);
        }
        out
    }

    /// The last so many bytes.
    fn hide(&mut self, bytes: usize, mut name: usize) {
        let end = self.held.len();
        let mut start = end - bytes.min(end);
        while let Some(last) = self.spans.last().filter(|last| last.end >= start) {
            if last.start <= start {
                (start, name) = (last.start, last.name);
            }
            self.spans.pop();
        }
        self.spans.push(Span { start, end, name });
    }

    /// Lets the first `count` of the held bytes out.
    fn release(&mut self, count: usize, automaton: &Automaton, out: &mut Vec<u8>) {
        let mut at = 0;
        let mut left = Vec::new();
        for span in std::mem::take(&mut self.spans) {
            if span.start >= count {
                left.push(span);
                continue;
            }
            if span.start > at {
                out.extend_from_slice(self.held.get(at..span.start).unwrap_or_default());
                self.open = false;
            }
            if !self.open {
                let name = automaton.names.get(span.name).map_or("", String::as_str);
                out.extend_from_slice(format!("[secret {name}]").as_bytes());
                self.open = true;
            }
            at = span.end.min(count);
            if span.end > count {
                left.push(Span {
                    start: count,
                    ..span
                });
            }
        }
        if at < count {
            out.extend_from_slice(self.held.get(at..count).unwrap_or_default());
            self.open = false;
        }
        self.held.drain(..count);
        for span in &mut left {
            span.start -= count;
            span.end -= count;
        }
        self.spans = left;
    }
}

impl Automaton {
    fn new() -> Self {
        let root = Node {
            parent: ROOT,
            byte: 0,
            depth: 0,
            fail: ROOT,
            ends: None,
            name: 0,
        };
        Self {
            names: Vec::new(),
            nodes: vec![root],
            edges: HashMap::new(),
            begins: [false; 256],
        }
    }

    fn add(&mut self, pattern: &[u8], name: usize) {
        let mut at = ROOT;
        for (depth, byte) in pattern.iter().copied().enumerate() {
            // A command's secrets and their encodings are far below 4 G bytes.
            let fresh = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let next = *self.edges.entry((at, byte)).or_insert(fresh);
            if next == fresh {
                self.nodes.push(Node {
                    parent: at,
                    byte,
                    depth: depth + 1,
                    fail: ROOT,
                    ends: None,
                    name,
                });
            }
            at = next;
        }
        if let Some(&first) = pattern.first()
            && let Some(node) = self.nodes.get_mut(at as usize)
        {
            self.begins[usize::from(first)] = true; // one for every byte
            node.ends.get_or_insert((pattern.len(), name));
        }
    }

    /// Finds for every beginning the longest other one that it ends with, the short ones first.
    fn link(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.nodes.len()).collect();
        order.sort_by_key(|at| self.node(*at).depth);
        for at in order {
            let Node {
                parent,
                byte,
                depth,
                ..
            } = *self.node(at);
            if depth < 2 {
                continue;
            }
            let fail = self.next(self.node(parent).fail, byte);
            let inherited = self.node(fail).ends;
            if let Some(node) = self.nodes.get_mut(at as usize) {
                node.fail = fail;
                node.ends = node.ends.or(inherited);
            }
        }
    }

    fn next(&self, from: u32, byte: u8) -> u32 {
        let mut at = from;
        loop {
            if let Some(next) = self.edges.get(&(at, byte)) {
                return *next;
            }
            if at == ROOT {
                return ROOT;
            }
            at = self.node(at).fail;
        }
    }

    fn node(&self, at: u32) -> &Node {
        // Every number comes from an edge or a link, which lead to nodes that are there.
        &self.nodes[at as usize]
    }
}

/// In what forms a value may be printed: as it is, line by line, and in base64.
fn patterns(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![value.to_vec(), value.trim_ascii_end().to_vec()];
    let tells = |line: &[u8]| line.iter().any(u8::is_ascii_alphanumeric);
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    all.extend(lines.filter(|line| tells(line)).map(<[u8]>::to_vec));
    if (PATTERN_BYTES_MIN..=ENCODED_BYTES_MAX).contains(&value.len()) {
        for plain in [value, value.trim_ascii_end()] {
            // As far as it does not depend on what follows.
            let (whole, _) = plain.split_at(plain.len() - plain.len() % 3);
            for text in [plain, whole] {
                let encoded = STANDARD_NO_PAD.encode(text).into_bytes();
                if encoded.len() > ENCODED_LINE_CHARS {
                    all.extend(encoded.chunks(ENCODED_LINE_CHARS).map(<[u8]>::to_vec));
                }
                all.push(encoded);
                all.push(URL_SAFE_NO_PAD.encode(text).into_bytes());
            }
        }
    }
    all.retain(|pattern| pattern.len() >= PATTERN_BYTES_MIN);
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
