//! NAT that a new flow is to have: `CTA_NAT_SRC`, `CTA_NAT_DST`, and who gives it.

use nfnetlink::{Attr, Result, Table};

use crate::flow::Slot;
use crate::shard::Shard;

/// Which side of a flow is translated (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// What a side may become. Where both are `None`, it stays as it is as far as that is free (the null binding).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Addresses, both ends included; IPv4 in the first four bytes.
    pub addrs: Option<([u8; 16], [u8; 16])>,
    /// Ports in host order, both ends included.
    pub ports: Option<(u16, u16)>,
}

/// Gives a flow that is not confirmed a translation; the daemon passes crate `nat`'s. False where nothing is free.
pub type Bind = Box<dyn Fn(&mut Shard, Slot, Side, &Choice) -> bool + Send + Sync>;

/// Reads what a side may become.
///
/// # Errors
///
/// As the kernel's `nfnetlink_parse_nat`: `ERANGE` where an attribute is short.
pub(super) fn parse(attr: &Attr<'_>, v6: bool) -> Result<Choice> {
    let [_, v4_min, v4_max, proto, v6_min, v6_max]: Table<'_, 6> = attr.table();
    let (min, max) = if v6 { (v6_min, v6_max) } else { (v4_min, v4_max) };
    let address = |attr: Attr<'_>| -> Result<[u8; 16]> {
        if v6 {
            return attr.bytes();
        }
        let mut address = [0; 16];
        if let Some(place) = address.first_chunk_mut::<4>() {
            *place = attr.bytes()?;
        }
        Ok(address)
    };
    let mut choice = Choice::default();
    if let Some(min) = min {
        let min = address(min)?;
        choice.addrs = Some((min, max.map(address).transpose()?.unwrap_or(min)));
    }
    if let Some(proto) = proto {
        let [_, min, max]: Table<'_, 3> = proto.table();
        if let Some(min) = min {
            let min = min.u16()?;
            choice.ports = Some((min, max.map(|max| max.u16()).transpose()?.unwrap_or(min)));
        } else if let Some(max) = max {
            // nf_nat_l4proto_nlattr_to_range: a maximum alone makes a range from 0.
            choice.ports = Some((0, max.u16()?));
        }
    }
    // The kernel takes them in either order.
    choice.ports = choice.ports.map(|(a, b)| (a.min(b), a.max(b)));
    Ok(choice)
}
