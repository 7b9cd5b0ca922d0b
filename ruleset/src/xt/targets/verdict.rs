//! The targets of iptables' own verdicts and of its errors: there are such names, but nft's rules have verdicts of their own.

use super::*;

const BASE: Extension = Extension {
    families: &[Family::Ipv4, Family::Ipv6, Family::Arp],
    standing: Standing::Refused("rules have verdicts of their own"),
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { help: "Says a verdict.", ..BASE },
    Extension { name: "ERROR", help: "Names a chain.", ..BASE },
];
