//! The document for people: one page, made on the server, that loads nothing and runs nothing.

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1d2433;background:#fff}h2{margin-top:2.5rem;border-bottom:1px solid #d5d9e2}table{width:100%;\
border-collapse:collapse}td{padding:.35rem .5rem;vertical-align:top;border-bottom:1px solid #eceef2}\
code{font:14px ui-monospace,monospace}.m{font-weight:600;width:4.5rem}.r{color:#5a6478;width:6rem}\
@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#15181e}td{border-color:#2a2f3a}\
h2{border-color:#3a4150}.r{color:#9aa4b8}a{color:#8ab4ff}}";

/// The answer with a page that was rendered.
pub fn page(page: Bytes) -> Response {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'");
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, page).into_response()
}

/// The page of an OpenAPI document.
pub fn render(document: &Value) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let area = path
                .trim_start_matches("/api/v1/")
                .split('/')
                .next()
                .unwrap_or_default();
            rows.push((area.to_owned(), row(method, path, operation)));
        }
    }
    rows.sort();
    let mut body = String::new();
    let mut current = None;
    for (area, row) in &rows {
        if current != Some(area) {
            if current.is_some() {
                body.push_str("</table>");
            }
            body.push_str(&format!("<h2>{}</h2><table>", escape(area)));
            current = Some(area);
        }
        body.push_str(row);
    }
    if current.is_some() {
        body.push_str("</table>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Fleetwright API</title>\
         <style>{STYLE}</style><h1>Fleetwright API {version}</h1>\
         <p>Everything here with its fields is in <a href=\"/api/v1/openapi.json\">openapi.json</a>. \
         Send <code>Authorization: Bearer …</code> with an access token or an API token.</p>{body}</html>",
        version = escape(document["info"]["version"].as_str().unwrap_or_default()),
    )
}

fn row(method: &str, path: &str, operation: &Value) -> String {
    let text = |name: &str| escape(operation[name].as_str().unwrap_or_default());
    format!(
        "<tr><td class=\"m\"><code>{}</code></td><td><code>{}</code><br>{}</td><td class=\"r\">{}</td></tr>",
        escape(&method.to_ascii_uppercase()),
        escape(path),
        text("summary"),
        text("x-required-role"),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_text_cannot_become_markup() {
        let document = serde_json::json!({"info": {"version": "1"}, "paths": {
            "/api/v1/fleet/x": {"get": {"summary": "<script>alert(1)</script>"}}}});
        let page = render(&document);
        assert!(page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script"));
    }
}
