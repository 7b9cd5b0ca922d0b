//! Serves a toy subsystem: `toy_server SOCKET`. To try: `LD_PRELOAD=target/debug/libtwinwall_nfnl.so TWINWALL_NFNL=SOCKET nft
//! list ruleset`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example for tests")]

#[path = "../tests/common/mod.rs"]
#[allow(missing_docs, reason = "the tests need all of it")]
mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use nfnetlink::{Server, ServerConfig};

fn main() {
    let path = std::env::args().nth(1).expect("usage: toy_server SOCKET");
    let mut server = Server::bind(Path::new(&path), ServerConfig::default()).unwrap();
    server.register(Box::new(common::toy::Toy::new()));
    println!("listening on {path}");
    server.run(&AtomicBool::new(false)).unwrap();
}
