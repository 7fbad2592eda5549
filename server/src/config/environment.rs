//! Overrides from `FLEETWRIGHT_*` variables. A variable's text becomes the type its key has.

use toml::{Table, Value};

use super::{Config, ConfigError};

const PREFIX: &str = "FLEETWRIGHT_";
/// Switches that have a variable of their own, which counts before the one with the prefix.
const SWITCHES: [(&str, &str); 2] = [
    ("FLEET_PREEMPTION", "preemption"),
    ("FLEET_BUDGETS", "budgets"),
];
/// The operators' command line shares the prefix with these.
const OF_THE_COMMAND_LINE: [&str; 4] = [
    "FLEETWRIGHT_SERVER",
    "FLEETWRIGHT_TOKEN",
    "FLEETWRIGHT_CA",
    "FLEETWRIGHT_CONFIG",
];
/// The agent's variables start with `FLEETWRIGHT_AGENT_`, as do two of our own.
const OWN_AGENT_KEYS: [&str; 2] = ["FLEETWRIGHT_AGENT_LISTEN", "FLEETWRIGHT_AGENT_NAMES"];

pub(super) fn apply(
    table: &mut Table,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut switches = Vec::new();
    for (variable, text) in variables {
        if let Some((_, key)) = SWITCHES.iter().find(|(name, _)| *name == variable) {
            switches.push((*key, switch(variable, &text)?));
            continue;
        }
        if !is_ours(&variable) {
            continue;
        }
        let key = variable
            .strip_prefix(PREFIX)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let path: Vec<&str> = key.split("__").collect();
        let candidates = candidates(&text);
        let mut last = String::new();
        let accepted = candidates.into_iter().find(|value| {
            let mut alone = Table::new();
            set(&mut alone, &path, value.clone());
            match alone.try_into::<Config>() {
                Ok(_) => true,
                Err(error) => {
                    last = error.to_string();
                    false
                }
            }
        });
        match accepted {
            Some(value) => set(table, &path, value),
            None => {
                let message = last.trim().to_owned();
                return Err(ConfigError::Environment { variable, message });
            }
        }
    }
    for (key, on) in switches {
        table.insert(key.to_owned(), on.into());
    }
    Ok(())
}

/// What a person writes who means yes or no; a variable that was left empty is no.
fn switch(variable: String, text: &str) -> Result<bool, ConfigError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err(ConfigError::Environment {
            variable,
            message: "expected one of 1, true, yes, on, 0, false, no, off".to_owned(),
        }),
    }
}

fn is_ours(variable: &str) -> bool {
    if OWN_AGENT_KEYS.contains(&variable) {
        return true;
    }
    let foreign =
        variable.starts_with("FLEETWRIGHT_AGENT_") || OF_THE_COMMAND_LINE.contains(&variable);
    variable.starts_with(PREFIX) && !foreign && !is_of_tests(variable)
}

#[cfg(debug_assertions)]
fn is_of_tests(variable: &str) -> bool {
    variable == crate::failpoints::VARIABLE
}

#[cfg(not(debug_assertions))]
fn is_of_tests(_variable: &str) -> bool {
    false
}

/// Readings of a text, the plainest first: which one fits is the key's to say.
fn candidates(text: &str) -> Vec<Value> {
    let mut found = vec![Value::String(text.to_owned())];
    if let Ok(flag) = text.parse() {
        found.push(Value::Boolean(flag));
    }
    if let Ok(number) = text.parse() {
        found.push(Value::Integer(number));
    }
    if let Ok(number) = text.parse() {
        found.push(Value::Float(number));
    }
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    found.push(Value::Array(
        items.map(|item| Value::String(item.to_owned())).collect(),
    ));
    found
}

fn set(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry((*first).to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                set(inner, rest, value);
            }
        }
    }
}
