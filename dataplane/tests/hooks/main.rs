//! Where packets meet rules, in which order, and what comes of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod order;
mod outcome;
mod refused;

use common::*;
use dataplane::tables::{PortMode, PortState};

const FILTER: &str = "filter";

fn arp(target: [u8; 4]) -> Vec<u8> {
    let mut arp = udp4("10.0.1.1", 1, b"")[..14].to_vec();
    arp[12..14].copy_from_slice(&0x0806u16.to_be_bytes());
    arp.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(HOST_MAC);
    arp.extend([10, 0, 1, 2]);
    arp.extend([0; 6]);
    arp.extend(target);
    arp
}

/// A UDP packet as the kernel would send it on the WAN's twin.
fn from_kernel() -> Vec<u8> {
    let mut frame = udp4("10.0.2.2", 64, b"own");
    frame[..6].copy_from_slice(&SERVER_MAC);
    frame[6..12].copy_from_slice(&WAN_MAC);
    frame[26..30].copy_from_slice(&[10, 0, 2, 1]);
    fix_checksum(&mut frame);
    fix_transport(&mut frame);
    frame
}

/// Rewrites the UDP or TCP checksum of an untagged IPv4 frame.
fn fix_transport(frame: &mut [u8]) {
    let at = if frame[23] == 6 { 50 } else { 40 };
    let vec = packet::VecFrame::from_bytes(frame);
    let layers = packet::layers::parse(&vec).unwrap();
    let sum = packet::checksum::transport_checksum(&vec, &layers).unwrap();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn from_twin(node: &mut Node, port: packet::PortIndex, bytes: &[u8]) {
    let frame = node.pool.frame(bytes).unwrap();
    assert!(node.handle.from_twin.push((port, frame)).is_ok());
    node.turn();
}

fn pair() -> Node {
    let [a, b] = [LAN, WAN].map(|peer| PortState { mode: PortMode::Pair(peer), ..UP });
    Node::with_ports(&[b, a])
}
