//! Targets of iptables, ip6tables and arptables.

use super::*;

mod audit;
mod checksum;
mod classify;
mod connmark;
mod connsecmark;
mod ct;
mod dscp;
mod ecn;
mod hmark;
mod hops;
mod idletimer;
mod log;
mod mangle;
mod mark;
mod nat;
mod nflog;
mod nfqueue;
mod npt;
mod rateest;
mod reject;
mod secmark;
mod synproxy;
mod tcpmss;
mod tcpoptstrip;
mod tee;
mod tproxy;
mod trace;
mod verdict;

/// Every target, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[
    audit::ALL,
    checksum::ALL,
    classify::ALL,
    connmark::ALL,
    connsecmark::ALL,
    ct::ALL,
    dscp::ALL,
    ecn::ALL,
    hmark::ALL,
    hops::ALL,
    idletimer::ALL,
    log::ALL,
    mangle::ALL,
    mark::ALL,
    nat::ALL,
    nflog::ALL,
    nfqueue::ALL,
    npt::ALL,
    rateest::ALL,
    reject::ALL,
    secmark::ALL,
    synproxy::ALL,
    tcpmss::ALL,
    tcpoptstrip::ALL,
    tee::ALL,
    tproxy::ALL,
    trace::ALL,
    verdict::ALL,
];
