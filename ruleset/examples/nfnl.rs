//! The rule engine on a socket, without a dataplane: `nfnl SOCKET`. Then, say,
//! `LD_PRELOAD=target/debug/libtwinwall_nfnl.so TWINWALL_NFNL=SOCKET nft list ruleset`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example that cannot go on ends")]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use nfnetlink::{Server, ServerConfig};
use ruleset::nft::{Host, NfTables, NftCompat};

fn main() {
    let path = std::env::args().nth(1).expect("usage: nfnl SOCKET");
    let mut server = Server::bind(Path::new(&path), ServerConfig::default()).unwrap();
    let start = Instant::now();
    server.register(Box::new(NfTables::new(Host {
        workers: 1,
        now: Box::new(move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        publish: Box::new(drop),
    })));
    server.register(Box::new(NftCompat));
    println!("listening on {path}");
    server.run(&AtomicBool::new(false)).unwrap();
}
