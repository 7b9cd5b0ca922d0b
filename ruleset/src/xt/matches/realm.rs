//! `realm`: the realm of the route. Routes have none here.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "realm",
    constancy: Constancy::Flow,
    help: "Matches by the realm of the route.",
    families: IPV4,
    hooks: Hooks::of([Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]),
    size: 12,
    make: |of| {
        let (realm, not) = (of.info.u32(0), of.info.is_set(8));
        Ok(matches(move |_| (realm == 0) != not))
    },
    ..Extension::MATCH
}];
