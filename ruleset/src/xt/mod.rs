//! Extensions of iptables, ip6tables, arptables and ebtables (`xt_…` modules), which `iptables-nft` puts into rules as the
//! expressions `match` and `target`. **One extension, one file**; a new one is a new file and one line in a registry.
//!
//! # Life cycle
//!
//! Name, revision and bytes (the extension's C structure) → [`attach`] finds the [`Extension`], checks what `xt_check_match` and
//! `xt_check_target` check, and makes an [`Act`] → [`Attached::eval`] for each packet, on any worker → the same bytes for each
//! listing, without what the kernel keeps to itself.
//!
//! # Who may touch what
//!
//! As with expressions: an act is shared by the control side and all workers, and changes nothing of its own but atomics.

use std::fmt;

use nfnetlink::{Errno, Result};

use crate::counters::CounterPool;
use crate::expr::{Decode, Ref, Requires};
use crate::family::{ChainType, Family, Hook, Hooks};
use crate::packet::{Constancy, Cx};
use crate::verdict::Verdict;

mod bridge;
mod header;
mod info;
mod matches;
mod targets;
#[cfg(test)]
mod tests;

pub(crate) use info::Info;

/// What an extension does to a packet: [`Verdict::Continue`] is a match, or on to the next expression.
pub type Act = Box<dyn Fn(&mut Cx<'_>) -> Verdict + Send + Sync>;

/// A match or a target; the same name may be both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says whether a packet is meant.
    Match = 0,
    /// Does something to it.
    Target = 1,
}

/// What an extension comes to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what Linux does.
    Acts,
    /// It is kept and listed; what it does to packets, in words.
    Stored(&'static str),
    /// Rules with it are refused, in words that say why.
    Refused(&'static str),
}

/// One revision of an extension.
#[derive(Debug)]
pub struct Extension {
    /// Its name on the wire.
    pub name: &'static str,
    /// The revision of its structure.
    pub revision: u8,
    /// Match or target.
    pub role: Role,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// What it comes to here.
    pub standing: Standing,
    /// The families it is registered for; `ANY` is found after those that name a family.
    pub families: &'static [Family],
    /// Bytes of its structure.
    pub size: usize,
    /// Those that are told in listings; the rest is the kernel's own.
    pub told: usize,
    /// The table that it must stand in.
    pub table: Option<&'static str>,
    /// The hooks that it may be reached from.
    pub hooks: Hooks,
    /// The protocol that its rule must match; 0 for any.
    pub protocol: u8,
    /// Whether what it does is the same for all packets of a flow, unless its structure says otherwise.
    pub constancy: Constancy,
    /// Reads its structure.
    pub make: fn(&mut Use<'_>) -> Result<Act>,
}

/// Every family (`NFPROTO_UNSPEC`).
const ANY: &[Family] = &[];
/// Both IP families.
const IP: &[Family] = &[Family::Ipv4, Family::Ipv6];
const IPV4: &[Family] = &[Family::Ipv4];
const IPV6: &[Family] = &[Family::Ipv6];
const ARP: &[Family] = &[Family::Arp];
const BRIDGE: &[Family] = &[Family::Bridge];

/// Hooks that packets come in by, where only those are known that they came from.
const INBOUND: Hooks = Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward]);
/// Hooks that packets leave by.
const OUTBOUND: Hooks = Hooks::of([Hook::Forward, Hook::Output, Hook::Postrouting]);
/// The five hooks of IP and the bridge.
const FIVE: Hooks = Hooks(0x1f);

impl Extension {
    /// A match of both IP families, of which all is told.
    const MATCH: Self = Self {
        name: "",
        revision: 0,
        role: Role::Match,
        help: "",
        standing: Standing::Acts,
        families: IP,
        size: 0,
        told: usize::MAX,
        table: None,
        hooks: Hooks::ALL,
        protocol: 0,
        constancy: Constancy::Packet,
        make: |_| Err(Errno::EINVAL.into()),
    };
    /// A target of both IP families, of which all is told.
    const TARGET: Self = Self { role: Role::Target, ..Self::MATCH };

    /// Bytes of its structure on the wire (`XT_ALIGN`).
    const fn aligned(&self) -> usize {
        self.size.next_multiple_of(8)
    }

    fn is_for(&self, family: Option<Family>) -> bool {
        match family {
            Some(family) => self.families.contains(&family),
            None => self.families.is_empty(),
        }
    }

    /// What it asks of base chains, as `nft_match_validate` and `nft_target_validate` do.
    fn requires(&self, family: Family) -> Requires {
        if family == Family::Netdev {
            return Requires::hooks(Hooks(0));
        }
        let mut requires = Requires::hooks(FIVE);
        // The bridge has no chains of that type.
        if self.table == Some("nat") {
            let kind = if family == Family::Bridge { ChainType::Filter } else { ChainType::Nat };
            requires.compat.types = 1 << kind as u8;
        }
        if self.hooks != Hooks::ALL {
            requires.compat.hooks = hooks_by_number(family, self.hooks);
        }
        requires
    }
}

/// Hooks of a family whose numbers on the wire are those of these hooks: Linux compares numbers, also ARP's with IP's.
fn hooks_by_number(family: Family, hooks: Hooks) -> Hooks {
    let found = family.handler().hooks.iter().filter(|(number, _)| hooks.0 >> number & 1 == 1);
    found.fold(Hooks(0), |all, (_, hook)| Hooks(all.0 | Hooks::of([*hook]).0))
}

/// Every extension, by role and file. The one place that knows them all.
pub fn all() -> impl Iterator<Item = &'static Extension> {
    let files = matches::REGISTRY.iter().chain(targets::REGISTRY).chain(bridge::REGISTRY);
    files.flat_map(|file| file.iter())
}

fn named(role: Role, name: &str) -> impl Iterator<Item = &'static Extension> {
    all().filter(move |found| found.role == role && found.name == name)
}

/// The best revision of an extension that a client may use, where `revision` is one of those there are
/// (`xt_find_revision`).
///
/// # Errors
///
/// `ENOENT` where there is no such extension, `EPROTONOSUPPORT` where there is no such revision.
pub fn best_revision(role: Role, family: Family, name: &str, revision: u8) -> Result<u8> {
    let (mut best, mut known) = (None, false);
    for of in [Some(family), None] {
        if known {
            // Linux does not look on once it knows the revision.
            break;
        }
        for found in named(role, name).filter(|found| found.is_for(of)) {
            best = best.max(Some(found.revision));
            known |= found.revision == revision;
        }
    }
    let best = best.ok_or(Errno::ENOENT)?;
    if known { Ok(best) } else { Err(Errno::EPROTONOSUPPORT.into()) }
}

/// An extension in a rule that is being made.
pub struct Use<'a> {
    /// Its structure.
    pub(crate) info: Info<'a>,
    /// The same, as it will be listed; a check may correct it.
    pub(crate) told: &'a mut [u8],
    /// The table's family.
    pub(crate) family: Family,
    /// The table's name.
    pub(crate) table: &'a str,
    /// The base chain's hook by its number, a bit; none in other chains.
    pub(crate) hook: Hooks,
    /// The protocol that the rule matches, or with the bridge the EtherType; 0 for any.
    pub(crate) protocol: u16,
    /// It matches all but that protocol.
    pub(crate) inverted: bool,
    /// Where tallies come from.
    pub(crate) counters: &'a CounterPool,
    /// Packets are to be tracked for it.
    pub(crate) tracks: bool,
    /// Whether what it does is the same for all packets of a flow; what makes it may correct that.
    pub(crate) constancy: Constancy,
}

impl Use<'_> {
    /// Whether the rule matches this protocol alone.
    pub(crate) fn is_protocol(&self, protocol: u8) -> bool {
        self.protocol == u16::from(protocol) && !self.inverted
    }

    /// Has packets tracked; refuses the rule where there is no connection tracking (`nf_ct_netns_get`).
    pub(crate) fn tracked(&mut self) -> Result<()> {
        match self.family {
            Family::Arp | Family::Netdev => Err(Errno::EPROTONOSUPPORT.into()),
            _ => {
                self.tracks = true;
                Ok(())
            }
        }
    }

    /// Each packet must be looked at where this is so.
    pub(crate) fn looks_if(&mut self, looks: bool) {
        if looks {
            self.constancy = Constancy::Packet;
        }
    }

    /// Whether the rule stands in a base chain of a hook that is none of these.
    pub(crate) fn is_outside(&self, hooks: Hooks) -> bool {
        self.hook.0 & !hooks.0 != 0
    }
}

/// `EINVAL` where something is wrong.
pub(crate) fn refuse_if(wrong: bool) -> Result<()> {
    if wrong { Err(Errno::EINVAL.into()) } else { Ok(()) }
}

/// An act that only says whether the packet is meant.
pub(crate) fn matches(test: impl Fn(&mut Cx<'_>) -> bool + Send + Sync + 'static) -> Act {
    Box::new(move |cx| if test(cx) { Verdict::Continue } else { Verdict::Break })
}

/// The same for what drops packets that are cut off (`hotdrop`), for which `test` says `None`.
pub(crate) fn judges(test: impl Fn(&mut Cx<'_>) -> Option<bool> + Send + Sync + 'static) -> Act {
    Box::new(move |cx| match test(cx) {
        Some(true) => Verdict::Continue,
        Some(false) => Verdict::Break,
        None => Verdict::Drop,
    })
}

/// An act after which the rule goes on.
pub(crate) fn does(change: impl Fn(&mut Cx<'_>) + Send + Sync + 'static) -> Act {
    Box::new(move |cx| {
        change(cx);
        Verdict::Continue
    })
}

/// An act that always says the same.
pub(crate) fn always(verdict: Verdict) -> Act {
    Box::new(move |_| verdict)
}

/// An extension in a rule.
pub struct Attached {
    /// Which.
    pub extension: &'static Extension,
    /// Its structure, as listings have it.
    pub told: Box<[u8]>,
    /// Whether what it does is the same for all packets of a flow.
    pub constancy: Constancy,
    family: Family,
    tracks: bool,
    act: Act,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extension { name, revision, .. } = self.extension;
        write!(f, "{name} (revision {revision})")
    }
}

impl Attached {
    /// Does to the packet what it does.
    #[inline]
    pub fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        (self.act)(cx)
    }

    /// What it points at.
    pub fn refs(&self, each: &mut dyn FnMut(Ref)) {
        if self.tracks {
            each(Ref::Tracking(self.family));
        }
    }

    /// What it asks of base chains.
    pub fn requires(&self) -> Requires {
        self.extension.requires(self.family)
    }
}

/// Puts an extension into a rule.
///
/// # Errors
///
/// `ENOENT` where there is none of this name and revision, `EINVAL` where its size, the rule's table, hook or protocol are not
/// right, else what the extension says.
pub fn attach(
    role: Role,
    name: &str,
    revision: u8,
    bytes: &[u8],
    cx: &Decode<'_>,
) -> Result<Attached> {
    let family = cx.family();
    refuse_if(role == Role::Target && matches!(name, "ERROR" | "standard" | ""))?;
    // One of the family, else one of every family (`xt_find_match`, `xt_find_target`).
    let find = |of| named(role, name).find(|found| found.revision == revision && found.is_for(of));
    let extension = find(Some(family)).or_else(|| find(None)).ok_or(Errno::ENOENT)?;
    // ARP's hooks have other numbers than those that an extension of every family means.
    let wrong_family = family == Family::Arp && extension.families.is_empty();
    let (protocol, inverted) = match cx.compat {
        Some(compat) => {
            refuse_if(compat.flags & !2 != 0)?;
            (u16::try_from(compat.protocol).map_err(|_| Errno::EINVAL)?, compat.flags & 2 != 0)
        }
        None => (0, false),
    };
    let wrong_table = extension.table.is_some_and(|table| *cx.table.key.name != *table);
    let base = cx.chain.and_then(|chain| chain.base.as_ref());
    let number = base.and_then(|base| {
        let hooks = family.handler().hooks.iter();
        hooks.copied().find(|(_, hook)| *hook == base.hook).map(|(number, _)| number)
    });
    let hook = Hooks(number.map_or(0, |number| 1 << number));
    let wrong_protocol =
        extension.protocol != 0 && (u16::from(extension.protocol) != protocol || inverted);
    let wrong_hook = extension.hooks != Hooks::ALL && hook.0 & !extension.hooks.0 != 0;
    let aligned = bytes.len().next_multiple_of(8) == extension.aligned();
    refuse_if(!aligned || bytes.len() < extension.size)?;
    refuse_if(wrong_family || wrong_table || wrong_hook || wrong_protocol)?;

    let mut told = vec![0; extension.aligned()];
    for (to, from) in told.iter_mut().zip(bytes).take(extension.told.min(extension.size)) {
        *to = *from;
    }
    let mut of = Use {
        info: Info(bytes),
        told: &mut told,
        family,
        table: &cx.table.key.name,
        hook,
        protocol,
        inverted,
        counters: cx.counters,
        tracks: false,
        constancy: extension.constancy,
    };
    let act = (extension.make)(&mut of)?;
    let Use { tracks, constancy, .. } = of;
    Ok(Attached { extension, told: told.into(), constancy, family, tracks, act })
}
