//! From a path to the file that defines what it names: the modules of one library or program, and the names in each.

use std::collections::{BTreeMap, BTreeSet};

use super::edge::Edge;
use super::read::{self, Module, Path, Use};
use crate::source::Source;

/// How often a name may be passed on. Longer ones are circles of `pub use`, which the compiler refuses.
const HANDS_MAX: usize = 16;

type ModulePath = Vec<String>;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Module(ModulePath),
    /// Something that this file defines.
    Item(String),
}

struct Placed {
    file: String,
    module: Module,
}

/// All modules of one library or program.
pub struct Tree {
    modules: BTreeMap<ModulePath, Placed>,
}

impl Tree {
    /// Follows `mod name;` from the first file on.
    pub fn read(root: &str, sources: &BTreeMap<&str, &Source>) -> Self {
        let mut modules = BTreeMap::new();
        let mut waiting = vec![(ModulePath::new(), root.to_owned())];
        while let Some((path, file)) = waiting.pop() {
            let Some(source) = sources.get(file.as_str()) else {
                continue;
            };
            for module in read::modules(&source.code) {
                let mut inner = path.clone();
                inner.extend(module.inside.iter().cloned());
                for name in &module.declared {
                    let below = module.inside.iter().chain([name]);
                    let place =
                        below.fold(folder_of(&file), |place, word| format!("{place}/{word}"));
                    let found = [format!("{place}.rs"), format!("{place}/mod.rs")]
                        .into_iter()
                        .find(|candidate| sources.contains_key(candidate.as_str()));
                    let mut child = inner.clone();
                    child.push(name.clone());
                    waiting.extend(found.map(|file| (child, file)));
                }
                let file = file.clone();
                modules.insert(inner, Placed { file, module });
            }
        }
        Self { modules }
    }

    pub fn files(&self) -> BTreeSet<String> {
        self.modules
            .values()
            .map(|placed| placed.file.clone())
            .collect()
    }

    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (module, placed) in &self.modules {
            let imported = placed.module.uses.iter().filter(|found| !found.passed_on);
            let named = imported
                .map(|found| &found.path)
                .chain(&placed.module.paths);
            for path in named {
                let (to, name) = match self.find(module, path) {
                    Some(found) if found.0 != placed.file => found,
                    Some(_) | None => continue,
                };
                edges.push(Edge {
                    from: placed.file.clone(),
                    to,
                    line: path.line,
                    name,
                });
            }
        }
        edges
    }

    /// The file that defines what the path names, and that name.
    fn find(&self, module: &ModulePath, path: &Path) -> Option<(String, String)> {
        let targets = self.resolve(module, &path.words, 0);
        targets.into_iter().find_map(|target| match target {
            Target::Item(file) => Some((file, path.words.join("::"))),
            Target::Module(_) => None,
        })
    }

    /// Nothing, if the path leads outside.
    fn resolve(&self, module: &ModulePath, words: &[String], hands: usize) -> Vec<Target> {
        let Some((first, mut rest)) = words.split_first() else {
            return Vec::new();
        };
        let mut here = match first.as_str() {
            "crate" => vec![Target::Module(ModulePath::new())],
            "self" => vec![Target::Module(module.clone())],
            "super" => parent(module),
            name => self.look_up(module, name, hands),
        };
        while let Some((next, after)) = rest.split_first() {
            let inside = here.iter().find_map(|target| match target {
                Target::Module(path) => Some(path.clone()),
                Target::Item(_) => None,
            });
            // A variant, or a function of a type: what matters is where the type is.
            let Some(inside) = inside else {
                return here;
            };
            here = if next == "super" {
                parent(&inside)
            } else {
                self.look_up_below(&inside, next, hands)
            };
            rest = after;
        }
        here
    }

    /// What a module calls by that name. A name may stand for a module and for something else at once.
    fn look_up(&self, path: &ModulePath, name: &str, hands: usize) -> Vec<Target> {
        let Some(placed) = self.modules.get(path).filter(|_| hands < HANDS_MAX) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let child: ModulePath = path.iter().cloned().chain([name.to_owned()]).collect();
        if self.modules.contains_key(&child) {
            found.push(Target::Module(child));
        }
        if placed.module.items.contains(name) {
            found.push(Target::Item(placed.file.clone()));
        }
        let by_name = |used: &&Use| used.alias.as_deref() == Some(name);
        for used in placed.module.uses.iter().filter(by_name) {
            // `use self::a` inside `a`'s parent names the child, found already.
            found.extend(self.resolve_use(path, used, name, hands));
        }
        if found.is_empty() {
            for used in placed
                .module
                .uses
                .iter()
                .filter(|used| used.alias.is_none())
            {
                for target in self.resolve(path, &used.path.words, hands + 1) {
                    if let Target::Module(module) = target
                        && module != *path
                    {
                        found.extend(self.look_up(&module, name, hands + 1));
                    }
                }
            }
        }
        found
    }

    fn resolve_use(&self, path: &ModulePath, used: &Use, name: &str, hands: usize) -> Vec<Target> {
        // `use http::{self}` of an outside package: its first word is the name that is asked for.
        if used.path.words.first().is_some_and(|first| first == name) && used.path.words.len() == 1
        {
            return Vec::new();
        }
        self.resolve(path, &used.path.words, hands + 1)
    }

    /// Like `look_up`; what a macro has made there is not in the text, but it can only be there. A name that was
    /// imported from outside leads there.
    fn look_up_below(&self, path: &ModulePath, name: &str, hands: usize) -> Vec<Target> {
        let found = self.look_up(path, name, hands);
        let placed = self.modules.get(path).filter(|_| found.is_empty());
        let Some(placed) = placed else {
            return found;
        };
        let mut uses = placed.module.uses.iter();
        if uses.any(|used| used.alias.as_deref() == Some(name)) {
            return Vec::new();
        }
        vec![Target::Item(placed.file.clone())]
    }
}

fn parent(module: &ModulePath) -> Vec<Target> {
    let above = module.split_last().map(|(_, above)| above.to_vec());
    above.map(Target::Module).into_iter().collect()
}

/// Where the files of a file's children lie.
fn folder_of(file: &str) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    if ["lib", "main", "mod"].contains(&stem) || folder.ends_with("src/bin") {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    }
}
