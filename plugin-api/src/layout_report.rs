//! Turns the layout checker's report, hundreds of lines, into the one line an operator reads. Text in, text out.

/// `path: what: expected X, found Y` of the report's first error.
pub fn condense(report: &str) -> String {
    let lines: Vec<&str> = report.lines().map(str::trim).collect();
    let path = path_of(&lines);
    let after = |label: &str, from: usize| {
        lines
            .iter()
            .enumerate()
            .skip(from)
            .find(|(_, line)| line.starts_with(label))
            .map(|(at, line)| (at, value_after(&lines, at, line, label)))
    };
    let Some((error_at, error)) = after("Error:", 0) else {
        return format!("the layouts differ{path}");
    };
    let expected = after("Expected:", error_at)
        .map(|(_, value)| value)
        .unwrap_or_default();
    let found = after("Found:", error_at)
        .map(|(_, value)| value)
        .unwrap_or_default();
    format!("{error}{path}: expected {expected}, found {found}")
}

/// The value on the label's own line, or the first line with text after it.
fn value_after(lines: &[&str], at: usize, line: &str, label: &str) -> String {
    let here = line.get(label.len()..).unwrap_or_default().trim();
    let value = if here.is_empty() {
        lines
            .iter()
            .skip(at + 1)
            .find(|line| !line.is_empty())
            .copied()
            .unwrap_or_default()
    } else {
        here
    };
    // A type's full text can be long; what differs is at its start.
    value.chars().take(120).collect()
}

/// The fields between `inside:` and the layouts, outermost first.
fn path_of(lines: &[&str]) -> String {
    let Some(inside) = lines.iter().position(|line| line.ends_with("inside:")) else {
        return String::new();
    };
    let fields: Vec<&str> = lines
        .iter()
        .skip(inside + 1)
        .take_while(|line| !line.starts_with("Layout of") && !line.starts_with("Error:"))
        .filter_map(|line| line.strip_prefix("field_name:"))
        .map(|name| name.trim().trim_end_matches(','))
        .collect();
    if fields.is_empty() {
        String::new()
    } else {
        format!(" at {}", fields.join("."))
    }
}
