//! `reject`: drops the packet and answers it.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::{L2Kind, L3};

use super::{Decode, Encode, Expr, Kind, RejectWith, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::schema::{Field as _, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Drops the packet and answers it.
    struct Attributes("reject") {
        /// How.
        1 => how: How,
        /// ICMP's code; for `icmpx` one that means the same in both families.
        2 => code: Option<u8>,
    }
}

crate::choice! {
    /// How a packet is answered (`enum nft_reject_types`).
    enum How: u32 {
        /// By a destination-unreachable message.
        Icmp = 0 => "icmp",
        /// By a TCP reset.
        TcpReset = 1 => "tcp reset",
        /// By a destination-unreachable message of the packet's family.
        Icmpx = 2 => "icmpx",
    }
}

/// Codes of both families for those of `icmpx`: no route, port, host unreachable, prohibited (`enum nft_reject_inet_code`).
const ICMPX: [(u8, u8); 4] = [(0, 0), (3, 4), (1, 3), (13, 1)];

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Reject {
    how: How,
    code: u8,
    family: Family,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    if cx.family() == Family::Arp {
        return Err(Errno::ENOENT.into());
    }
    let Attributes { how, code } = Attributes::decode(data)?;
    let code = match how {
        How::TcpReset => 0,
        How::Icmp | How::Icmpx => code.ok_or(Errno::EINVAL)?,
    };
    if how == How::Icmpx && usize::from(code) >= ICMPX.len() {
        return Err(Errno::EINVAL.into());
    }
    Ok(Box::new(Reject { how, code, family: cx.family() }))
}

impl Reject {
    fn answer(&self, cx: &Cx<'_>) -> Option<RejectWith> {
        let on_link = matches!(self.family, Family::Bridge | Family::Netdev);
        // What went to several is not answered; above the link the dataplane sees to that.
        if on_link && cx.layers.l2_kind != L2Kind::Unicast {
            return None;
        }
        let is_ipv4 = match cx.l3() {
            L3::Ipv4 => true,
            L3::Ipv6 => false,
            L3::Arp | L3::Other => return None,
        };
        Some(match self.how {
            How::TcpReset => RejectWith::TcpReset,
            How::Icmp => RejectWith::Unreachable(self.code),
            // These families' own rejects do not know it; they drop in silence.
            How::Icmpx if matches!(self.family, Family::Ipv4 | Family::Ipv6) => return None,
            How::Icmpx => {
                let (ipv4, ipv6) = ICMPX.get(usize::from(self.code))?;
                RejectWith::Unreachable(if is_ipv4 { *ipv4 } else { *ipv6 })
            }
        })
    }
}

impl Expr for Reject {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        cx.effects.reject = self.answer(cx);
        Verdict::Drop
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.how.put(1, out);
        Some(self.code).filter(|_| self.how != How::TcpReset).give(2, out);
    }

    fn requires(&self) -> Requires {
        use Hook::{Forward, Ingress, Input, Output, Prerouting};
        Requires::hooks(match self.family {
            Family::Bridge => Hooks::of([Prerouting, Input]),
            Family::Netdev => Hooks::of([Ingress]),
            Family::Inet => Hooks::of([Prerouting, Input, Forward, Output, Ingress]),
            _ => Hooks::of([Prerouting, Input, Forward, Output]),
        })
    }
}
