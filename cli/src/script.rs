//! What to run on a host: words after `--`, or a file, as the parameters of `run_script`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::secrets;

#[derive(Args, Clone, Debug, Default)]
pub struct ScriptArgs {
    /// Run this local file instead of a command
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub script: Option<PathBuf>,
    /// What interprets the script on the host [default: /bin/sh]
    #[arg(long)]
    pub interpreter: Option<String>,
    /// Give up on a host after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Run as this user of the host
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Give the script, its health check and its rollback this secret as a variable (may be repeated)
    #[arg(long = "secret", value_name = "VARIABLE=NAME")]
    pub secrets: Vec<String>,
    /// Give the script this secret as its standard input
    #[arg(long, value_name = "NAME")]
    pub stdin_secret: Option<String>,
    /// Ask the agents what would change; nothing is touched
    #[arg(long)]
    pub dry_run: bool,
}

impl ScriptArgs {
    /// The fields that every request for a `run_script` operation has.
    pub fn request(&self, command: &[String]) -> Result<Map<String, Value>, Failure> {
        let mut parameters = json!({ "script": self.text(command)? });
        if let Some(interpreter) = &self.interpreter {
            parameters["interpreter"] = json!(interpreter);
        }
        if let Some(name) = &self.stdin_secret {
            parameters["stdin_secret"] = secrets::reference(name)?;
        }
        let mut request = Map::new();
        request.insert("operation_type".to_owned(), json!("run_script"));
        request.insert("parameters".to_owned(), parameters);
        if let Some(seconds) = self.timeout {
            request.insert("timeout_seconds".to_owned(), json!(seconds));
        }
        if let Some(user) = &self.run_as {
            request.insert("run_as".to_owned(), json!(user));
        }
        if !self.secrets.is_empty() {
            request.insert("environment".to_owned(), self.variables()?);
        }
        if self.dry_run {
            request.insert("dry_run".to_owned(), json!(true));
        }
        Ok(request)
    }

    fn variables(&self) -> Result<Value, Failure> {
        let mut variables = Map::new();
        for given in &self.secrets {
            let Some((variable, name)) = given.split_once('=') else {
                return Err(Failure::Input(format!(
                    "{given}: VARIABLE=NAME is expected, such as DB_PASSWORD=db/password"
                )));
            };
            variables.insert(variable.to_owned(), secrets::reference(name)?);
        }
        Ok(Value::Object(variables))
    }

    fn text(&self, command: &[String]) -> Result<String, Failure> {
        match (&self.script, command) {
            (Some(path), _) => {
                std::fs::read_to_string(path).map_err(Failure::file(path.display().to_string()))
            }
            (None, []) => Err(Failure::Input(
                "nothing to run: give a command after --, or --script FILE".to_owned(),
            )),
            (None, command) => Ok(script_of(command)),
        }
    }
}

/// One word is a script as it stands (`-- 'uptime; df'`); several are one command, each word kept whole.
fn script_of(command: &[String]) -> String {
    match command {
        [script] => script.clone(),
        words => words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> String {
        script_of(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn one_word_is_a_script_and_several_are_one_command() {
        assert_eq!(words(&["uptime; df -h"]), "uptime; df -h");
        assert_eq!(
            words(&["echo", "a b", "it's", "", "$HOME"]),
            r"echo 'a b' 'it'\''s' '' '$HOME'"
        );
    }

    #[test]
    fn nothing_to_run_is_refused() {
        assert!(ScriptArgs::default().request(&[]).is_err());
    }

    #[test]
    fn secrets_are_named_and_their_values_are_nowhere() {
        let args = ScriptArgs {
            secrets: vec!["A=db/a".to_owned(), "B=b@2".to_owned()],
            stdin_secret: Some("in".to_owned()),
            ..ScriptArgs::default()
        };
        let request = Value::from(args.request(&["cat".to_owned()]).expect("request"));
        let expected = json!({"A": {"secret": "db/a"}, "B": {"secret": "b", "version": 2}});
        assert_eq!(request["environment"], expected);
        assert_eq!(
            request["parameters"]["stdin_secret"],
            json!({"secret": "in"})
        );
        let bad = ScriptArgs {
            secrets: vec!["A".to_owned()],
            ..ScriptArgs::default()
        };
        assert!(bad.request(&["cat".to_owned()]).is_err());
    }

    #[test]
    fn unset_options_are_left_to_the_server() {
        let request = ScriptArgs::default()
            .request(&["true".to_owned()])
            .expect("request");
        assert_eq!(
            Value::from(request),
            json!({"operation_type": "run_script", "parameters": {"script": "true"}})
        );
    }
}
