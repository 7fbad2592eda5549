//! What a worker tells of itself on standard output: a line for each thing that happens, as text or as JSON.

use serde_json::{Value, json};

use crate::output;
use crate::session::OutputFormat;
use crate::table;

#[derive(Clone, Copy, Debug)]
pub struct Journal {
    pub format: OutputFormat,
}

impl Journal {
    /// `event` is one word; `detail` is for people.
    pub fn tell(&self, event: &str, job_id: &str, detail: &str) {
        let line = match self.format {
            OutputFormat::Table => text(event, job_id, detail),
            OutputFormat::Json | OutputFormat::Yaml => {
                let id = Some(job_id).filter(|id| !id.is_empty());
                let mut told = json!({ "event": event, "job_id": id });
                if let (false, Value::Object(members)) = (detail.is_empty(), &mut told) {
                    members.insert("detail".to_owned(), json!(detail));
                }
                told.to_string()
            }
        };
        // A worker works on where nobody reads what it tells.
        let _ = output::line(&line);
    }
}

fn text(event: &str, job_id: &str, detail: &str) -> String {
    let words = [event, job_id, &table::printable(detail)];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_line() {
        assert_eq!(text("failed", "j", "a\nb"), "failed  j  a\\nb");
        assert_eq!(text("stopping", "", ""), "stopping");
    }
}
