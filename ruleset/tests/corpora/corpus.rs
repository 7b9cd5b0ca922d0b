//! The corpora's files.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// The corpora's folder, or `None`, having said so.
pub(crate) fn folder() -> Option<PathBuf> {
    let path = match std::env::var_os("TWINWALL_CORPORA") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
    };
    if path.join("nft_rules.jsonl").exists() {
        return Some(path.canonicalize().unwrap());
    }
    skip(&format!("no corpora in {} (TWINWALL_CORPORA)", path.display()))
}

/// Says loudly why nothing is tested.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    eprintln!("\n******** SKIPPED: {why} ********\n");
    None
}

/// The nft that is run on both sides: `TWINWALL_NFT`, for others than the installed one.
pub(crate) fn nft() -> String {
    std::env::var("TWINWALL_NFT").unwrap_or_else(|_| "nft".to_owned())
}

/// Whether the nft at hand is said to parse a row: that of Debian 12, unless another one is named.
pub(crate) fn parses(row: &Value) -> bool {
    match std::env::var_os("TWINWALL_NFT") {
        Some(_) => row["nftgit_check"].as_bool().unwrap_or(true),
        None => row["nft106_check"] == Value::Bool(true),
    }
}

/// Whether a program is there to be run.
pub(crate) fn tool(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| PathBuf::from(dir).join(name).exists())
}

/// The rows of a file of JSON lines.
pub(crate) fn rows(name: &str) -> Vec<Value> {
    let path = folder().unwrap().join(name);
    let text = fs::read_to_string(&path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The devices that real rulesets name, but for what the kernel refuses as a name.
pub(crate) fn devices() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows("real_index.jsonl") {
        let devices = row["devices"].as_array().cloned().unwrap_or_default();
        names.extend(devices.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    names
}

pub(crate) fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}
