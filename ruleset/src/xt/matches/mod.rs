//! Matches of iptables and ip6tables.

use super::*;

mod addrtype;
mod ah;
mod cgroup;
mod cluster;
mod comment;
mod connbytes;
mod connlabel;
mod connlimit;
mod connmark;
mod conntrack;
mod cpu;
mod dccp;
mod devgroup;
mod dscp;
mod ecn;
mod esp;
mod eui64;
mod frag;
mod hashlimit;
mod helper;
mod hops;
mod icmp;
mod ipcomp;
mod iprange;
mod ipv6header;
mod length;
pub(super) mod limit;
mod mac;
mod mark;
mod mh;
mod multiport;
mod options;
mod osf;
mod owner;
mod physdev;
mod pkttype;
mod policy;
mod quota;
mod rateest;
mod realm;
mod recent;
mod rpfilter;
mod rt;
mod sctp;
mod socket;
mod srh;
mod state;
mod statistic;
mod string;
mod tcp;
mod tcpmss;
mod time;
mod tos;
mod udp;
mod words;

pub(super) use tcpmss::mss;

/// Every match, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[
    addrtype::ALL,
    ah::ALL,
    cgroup::ALL,
    cluster::ALL,
    comment::ALL,
    connbytes::ALL,
    connlabel::ALL,
    connlimit::ALL,
    connmark::ALL,
    conntrack::ALL,
    cpu::ALL,
    dccp::ALL,
    devgroup::ALL,
    dscp::ALL,
    ecn::ALL,
    esp::ALL,
    eui64::ALL,
    frag::ALL,
    hashlimit::ALL,
    helper::ALL,
    hops::ALL,
    icmp::ALL,
    ipcomp::ALL,
    iprange::ALL,
    ipv6header::ALL,
    length::ALL,
    limit::ALL,
    mac::ALL,
    mark::ALL,
    mh::ALL,
    multiport::ALL,
    options::ALL,
    osf::ALL,
    owner::ALL,
    physdev::ALL,
    pkttype::ALL,
    policy::ALL,
    quota::ALL,
    rateest::ALL,
    realm::ALL,
    recent::ALL,
    rpfilter::ALL,
    rt::ALL,
    sctp::ALL,
    socket::ALL,
    srh::ALL,
    state::ALL,
    statistic::ALL,
    string::ALL,
    tcp::ALL,
    tcpmss::ALL,
    time::ALL,
    tos::ALL,
    udp::ALL,
    words::ALL,
];

/// A name that could be a file's in `/proc` (`xt_check_proc_name`).
fn file_name(info: Info<'_>, at: usize, len: usize) -> Result<()> {
    refuse_if(!info.is_set(at))?;
    let name = info.name(at, len).ok_or(Errno::ENAMETOOLONG)?;
    refuse_if(matches!(name, b"." | b"..") || name.contains(&b'/'))
}
