//! A refusal of the server (`application/problem+json`) and how a person reads it.

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    pub title: String,
    pub detail: String,
    /// The request id, to be found again in the server's log.
    pub instance: String,
    pub errors: Vec<Violation>,
    /// Beside those that are listed.
    pub errors_omitted: u64,
    /// The three below are there with a 402 only.
    pub feature: String,
    pub module: String,
    pub reason: String,
    pub upgrade_url: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Violation {
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

impl Problem {
    /// From an answer's body; a body that is no problem document still yields its status.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let parsed: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { status, ..parsed }
    }

    pub fn for_people(&self) -> String {
        let mut lines = vec![self.headline()];
        if self.status == 402 {
            lines.extend(self.feature_lines());
        }
        for violation in &self.errors {
            let place = if violation.pointer.is_empty() {
                "the request"
            } else {
                &violation.pointer
            };
            lines.push(format!(
                "  {place}: {} ({})",
                violation.detail, violation.code
            ));
        }
        if self.errors_omitted > 0 {
            lines.push(format!("  and {} more", self.errors_omitted));
        }
        if self.status == 401 {
            lines.push(
                "  sign in with `fleetwright login`, or pass a token with --token".to_owned(),
            );
        }
        if !self.instance.is_empty() {
            lines.push(format!("  request {}", self.instance));
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let said = if self.detail.is_empty() {
            &self.title
        } else {
            &self.detail
        };
        match (said.is_empty(), self.code.is_empty()) {
            (false, false) => format!("error: {said} ({}, {})", self.status, self.code),
            (false, true) => format!("error: {said} ({})", self.status),
            (true, _) => format!("error: the server answered {}", self.status),
        }
    }

    fn feature_lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  feature  {}", self.feature)];
        if !self.module.is_empty() {
            lines.push(format!("  module   {}", self.module));
        }
        lines.push(format!("  reason   {}", explain_reason(&self.reason)));
        if !self.upgrade_url.is_empty() {
            lines.push(format!("  see      {}", self.upgrade_url));
        }
        lines
    }
}

/// The slug and what it means for the reader; an unknown slug is shown as it is.
fn explain_reason(reason: &str) -> String {
    let meaning = match reason {
        "module_not_installed" => "its module is not in the server's modules folder",
        "module_failed" => "its module is there and did not load: see `fleetwright modules list`",
        "not_licensed" => "the licence does not grant it: see `fleetwright license show`",
        "license_expired" => "the licence ran out: see `fleetwright license show`",
        "host_limit_exceeded" => "more hosts are approved than the licence allows",
        other => return other.to_owned(),
    };
    format!("{reason}: {meaning}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_402_names_feature_module_and_reason() {
        let body = br#"{"status":402,"code":"feature-not-available","title":"Feature not available",
            "detail":"Bulk operations need a module.","feature":"fleet_bulk_operations","module":"bulk",
            "reason":"module_not_installed","upgrade_url":"https://example.com/pro"}"#;
        let text = Problem::parse(402, body).for_people();
        for part in [
            "feature-not-available",
            "fleet_bulk_operations",
            "bulk",
            "module_not_installed",
            "/pro",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn every_violation_is_shown_with_its_place() {
        let body = br#"{"code":"validation","detail":"2 problems","errors":[
            {"pointer":"/selector/tags","code":"selector-empty","detail":"is empty"},
            {"pointer":"","code":"unknown-field","detail":"batch"}],"errors_omitted":7}"#;
        let text = Problem::parse(422, body).for_people();
        assert!(
            text.contains("/selector/tags: is empty (selector-empty)"),
            "{text}"
        );
        assert!(
            text.contains("the request: batch (unknown-field)"),
            "{text}"
        );
        assert!(text.contains("and 7 more"), "{text}");
    }

    #[test]
    fn a_body_that_is_no_problem_keeps_its_status() {
        assert_eq!(
            Problem::parse(502, b"<html>").for_people(),
            "error: the server answered 502"
        );
    }
}
