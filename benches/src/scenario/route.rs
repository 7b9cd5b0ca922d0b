//! Scenario `route`: UDP packets of many flows to random destinations that random routes cover, plus a default route.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use etherparse::PacketBuilder;

use super::{Options, Setup, Size};
use crate::{
    images::{HEAD, Images},
    node::{self, RX_MAC, SOURCE_MAC},
    random::Random,
    routes,
};

pub(super) fn build(options: &Options, random: &mut Random) -> Result<Setup> {
    let mut rib = node::two_ports();
    let mut images = Images::default();
    if options.family == 6 {
        fill::<[u8; 16]>(options, random, &mut rib, &mut images)?;
    } else {
        fill::<[u8; 4]>(options, random, &mut rib, &mut images)?;
    }
    // A capture's packets go anywhere.
    node::route(&mut rib, [0; 4].into(), 0, 0);
    node::route(&mut rib, [0; 16].into(), 0, 0);
    Ok(Setup {
        rib,
        program: Arc::default(),
        images,
        leaving: 1000,
        tracked: 0,
        answered: false,
        pace: 0,
        mixed: None,
    })
}

fn fill<A: routes::Family + Into<IpAddr>>(
    options: &Options,
    random: &mut Random,
    rib: &mut dataplane::rib::Rib,
    images: &mut Images,
) -> Result<()> {
    let table = routes::table::<A>(options.routes.max(1), random);
    for (n, (prefix, len)) in table.iter().enumerate() {
        node::route(rib, (*prefix).into(), *len, n);
    }
    let mut packet = Vec::new();
    for (n, dst) in routes::addresses(&table, options.flows, random).into_iter().enumerate() {
        // Sources are random; ports come from the flow's number, so that no two tuples are the same.
        let src = A::place(random);
        let [_, _, a, b] = (n as u32).to_be_bytes();
        let (sport, dport) = (1024 + (n >> 16) as u16, u16::from_be_bytes([a, b]).max(1));
        let len = match options.size {
            Size::Bytes(n) => n - 4,
            Size::Imix => [60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514][random.below(12)],
            Size::Pcap(_) => return Ok(()),
        };
        let ethernet = PacketBuilder::ethernet2(SOURCE_MAC, RX_MAC);
        let builder = match (src.into(), dst.into()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src.octets(), dst.octets(), 64),
            (src, dst) => ethernet.ipv6(v6(src), v6(dst), 64),
        }
        .udp(sport, dport);
        let payload = len.saturating_sub(builder.size(0));
        packet.clear();
        builder.write(&mut packet, &vec![0; payload])?;
        let len = packet.len();
        images.push(packet.get(..HEAD).unwrap_or(&packet), len);
    }
    Ok(())
}

fn v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}
