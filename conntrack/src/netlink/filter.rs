//! Which flows a dump or a flush is about: the kernel's `ctnetlink_filter`.

use nfnetlink::{Attr, Errno, Result, Table};
use packet::FlowKey;

use super::Top;
use super::cta::top;
use super::tuple::{self, part};

/// A value of some bits.
#[derive(Clone, Copy, Debug, Default)]
struct Masked {
    value: u32,
    mask: u32,
}

impl Masked {
    const fn matches(self, bits: u32) -> bool {
        bits & self.mask == self.value
    }
}

/// See the module's overview. The default matches all.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    family: u8,
    /// Tuple and the parts of it that count, by direction.
    tuples: [(FlowKey, u32); 2],
    /// The zone, where one is asked for.
    zone: Option<u16>,
    mark: Masked,
    status: Masked,
    /// Whether anything was asked for: the messages of such a dump say so (`NLM_F_DUMP_FILTERED`).
    pub(super) given: bool,
}

impl Filter {
    /// What a request of this family (0: both) names.
    ///
    /// # Errors
    ///
    /// As the kernel's `ctnetlink_alloc_filter`: `EINVAL` for a mask without a value, an empty status, a tuple that is
    /// missing or incomplete.
    pub(super) fn parse(family: u8, attrs: &Top<'_>) -> Result<Self> {
        let named = [top::MARK, top::FILTER, top::STATUS, top::ZONE];
        let given = family != 0 || named.iter().any(|kind| attrs.get(*kind).is_some());
        if !given {
            return Ok(Self::default());
        }
        let mut filter = Self {
            family,
            mark: masked(attrs.get(top::MARK), attrs.get(top::MARK_MASK), |_| u32::MAX)?,
            status: masked(attrs.get(top::STATUS), attrs.get(top::STATUS_MASK), |value| value)?,
            given,
            ..Self::default()
        };
        if attrs.get(top::STATUS).is_some() && filter.status.mask == 0 {
            return Err(Errno::EINVAL.into());
        }
        filter.zone = attrs.get(top::ZONE).map(|zone| zone.u16()).transpose()?;
        if let Some(asked) = attrs.get(top::FILTER) {
            filter.parse_tuples(&asked, attrs)?;
        }
        Ok(filter)
    }

    fn parse_tuples(&mut self, asked: &Attr<'_>, attrs: &Top<'_>) -> Result<()> {
        // A filter's own attributes are parsed strictly.
        if asked.nested().any(|attr| attr.kind > 2) {
            return Err(asked.error(Errno::EINVAL));
        }
        let [_, orig, reply]: Table<'_, 3> = asked.table();
        let mut zone = self.zone.unwrap_or(0);
        for (place, flags, kind) in [(0, orig, top::TUPLE_ORIG), (1, reply, top::TUPLE_REPLY)] {
            // These two are in host order.
            let parts = flags.map(|flags| flags.bytes().map(u32::from_ne_bytes)).transpose()?;
            let parts = parts.unwrap_or(0);
            if parts & !part::ALL != 0 {
                return Err(asked.error(Errno::EINVAL));
            }
            if parts == 0 {
                continue;
            }
            let attr = attrs.get(kind).ok_or(Errno::EINVAL)?;
            let parsed = tuple::parse_parts(&attr, self.family, parts)?;
            if let Some(own) = parsed.zone {
                if zone != 0 {
                    return Err(Errno::EINVAL.into());
                }
                zone = own;
            }
            if let Some(place) = self.tuples.get_mut(place) {
                *place = (parsed.key, parts);
            }
        }
        // A tuple's zone counts only where the message has a zone, too: so it is in Linux 6.18.
        self.zone = self.zone.map(|_| zone);
        Ok(())
    }

    /// Whether a flow with these keys, this mark and this status is meant.
    pub(super) fn matches(&self, keys: [&FlowKey; 2], mark: u32, status: u32) -> bool {
        let [original, _] = keys;
        let of_family = self.family == 0 || tuple::family(original) == self.family;
        let same = |((wanted, parts), key): (&(FlowKey, u32), &FlowKey)| {
            *parts == 0 || tuple::matches(wanted, key, *parts)
        };
        // A flow in a zone in one direction only counts as in that zone.
        let zone = keys.iter().map(|key| u16::from_be_bytes(key.zone)).find(|zone| *zone != 0);
        let in_zone = self.zone.is_none_or(|wanted| wanted == zone.unwrap_or(0));
        of_family
            && self.mark.matches(mark)
            && self.status.matches(status)
            && self.tuples.iter().zip(keys).all(same)
            && in_zone
    }
}

fn masked(
    value: Option<Attr<'_>>,
    mask: Option<Attr<'_>>,
    default: impl FnOnce(u32) -> u32,
) -> Result<Masked> {
    let Some(value) = value else {
        return if mask.is_some() { Err(Errno::EINVAL.into()) } else { Ok(Masked::default()) };
    };
    let value = value.u32()?;
    let mask = match mask {
        Some(mask) => mask.u32()?,
        None => default(value),
    };
    Ok(Masked { value, mask })
}
