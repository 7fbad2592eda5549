//! Writes the OpenAPI document as a running server with every module serves it.

use anyhow::{Context as _, Result, ensure};

use crate::cargo::target;
use crate::demo;

pub fn run() -> Result<()> {
    let answer = demo::with_server(|server| server.get("/api/v1/openapi.json"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(
        head.starts_with("HTTP/1.1 200"),
        "the server answered: {head}"
    );
    let document: serde_json::Value =
        serde_json::from_str(body).context("the document is not JSON")?;
    let path = target().join("openapi.json");
    std::fs::write(&path, format!("{document:#}\n")).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(())
}
