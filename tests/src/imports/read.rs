//! One file's modules: what each defines, declares, imports and names.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// A module of a file: the file's own, or one that is written out inside it.
#[derive(Debug, Default)]
pub struct Module {
    /// Below the file's own module; empty for that one.
    pub inside: Vec<String>,
    /// Names of what is defined here, modules aside.
    pub items: BTreeSet<String>,
    /// `mod name;`
    pub declared: Vec<String>,
    pub uses: Vec<Use>,
    /// Every path in code, also of one word.
    pub paths: Vec<Path>,
}

/// One leaf of a `use`.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    pub path: Path,
    /// `None` for `*`.
    pub alias: Option<String>,
    /// Passed on: `pub`, `pub(crate)`, …
    pub passed_on: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub words: Vec<String>,
    pub line: usize,
}

/// The file's own module first.
pub fn modules(code: &str) -> Vec<Module> {
    let tokens = tokens(code);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        depth: 0,
        open: vec![Open {
            module: 0,
            depth: 0,
        }],
        modules: vec![Module::default()],
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.modules
}

struct Open {
    module: usize,
    /// Of braces, directly inside the module.
    depth: usize,
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    depth: usize,
    open: Vec<Open>,
    modules: Vec<Module>,
}

/// What an item begins with; the name follows.
const ITEMS: [&str; 8] = [
    "fn", "struct", "enum", "trait", "type", "const", "static", "union",
];

impl Reader<'_> {
    fn step(&mut self) {
        match self.text(0) {
            "{" => {
                self.depth += 1;
                self.at += 1;
            }
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.open.len() > 1
                    && self.open.last().is_some_and(|open| open.depth > self.depth)
                {
                    self.open.pop();
                }
                self.at += 1;
            }
            "use" if self.text(1) != "<" => self.read_use(),
            "mod" if self.text(2) == ";" => {
                let name = self.text(1).to_owned();
                self.module().declared.push(name);
                self.at += 3;
            }
            "mod" if self.text(2) == "{" => self.enter_module(),
            "macro_rules" => {
                let name = self.text(2).to_owned();
                self.module().items.insert(name);
                self.at += 3;
            }
            _ if self.is_word(0) => self.read_word(),
            _ => self.at += 1,
        }
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text)
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    fn before(&self) -> &str {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.map_or("", |token| token.text)
    }

    fn module(&mut self) -> &mut Module {
        let index = self.open.last().map_or(0, |open| open.module);
        &mut self.modules[index]
    }

    fn enter_module(&mut self) {
        let mut inside = self.module().inside.clone();
        inside.push(self.text(1).to_owned());
        self.modules.push(Module {
            inside,
            ..Module::default()
        });
        self.depth += 1;
        self.open.push(Open {
            module: self.modules.len() - 1,
            depth: self.depth,
        });
        self.at += 3;
    }

    /// An item's head, or a path.
    fn read_word(&mut self) {
        let directly_inside = self
            .open
            .last()
            .is_some_and(|open| open.depth == self.depth);
        if directly_inside && ITEMS.contains(&self.text(0)) && self.is_word(1) {
            let is_name = !["fn", "unsafe", "extern", "mut", "_"].contains(&self.text(1));
            if is_name {
                let name = self.text(1).to_owned();
                self.module().items.insert(name);
                self.at += 1;
            }
            self.at += 1;
            return;
        }
        // A method, or the rest of a path that began outside: `::std::…`, `<T as A>::b`.
        let is_start = ![".", "::"].contains(&self.before());
        let line = self.line();
        let mut words = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && self.is_word(1) {
            words.push(self.text(1).to_owned());
            self.at += 2;
        }
        if is_start {
            self.module().paths.push(Path { words, line });
        }
    }

    fn read_use(&mut self) {
        let passed_on = ["pub", ")"].contains(&self.before());
        let line = self.line();
        self.at += 1;
        let mut leaves = Vec::new();
        self.read_tree(&[], &mut leaves);
        for (words, alias) in leaves {
            self.module().uses.push(Use {
                path: Path { words, line },
                alias,
                passed_on,
            });
        }
    }

    /// `a::b`, `a::{…}`, `a as b`, `*`, `self`: one branch of the tree, up to the sign that ends it.
    fn read_tree(&mut self, prefix: &[String], leaves: &mut Vec<(Vec<String>, Option<String>)>) {
        let mut words = prefix.to_vec();
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while !["}", ";", ""].contains(&self.text(0)) {
                        self.read_tree(&words, leaves);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    leaves.push((words, None));
                    return;
                }
                "::" => self.at += 1,
                "as" => {
                    let alias = self.text(1).to_owned();
                    self.at += 2;
                    leaves.push((words, Some(alias)));
                    return;
                }
                "self" if !words.is_empty() => self.at += 1,
                _ if self.is_word(0) => {
                    words.push(self.text(0).to_owned());
                    self.at += 1;
                }
                _ => {
                    let alias = words.last().cloned();
                    leaves.push((words, alias));
                    return;
                }
            }
        }
    }
}
