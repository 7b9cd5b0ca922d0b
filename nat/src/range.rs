//! What a rule asks of NAT (`struct nf_nat_range2`).

/// Which end of a flow changes (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manip {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// How to choose: bits of `NF_NAT_RANGE_…`, same numbers. Others are without meaning here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// `NF_NAT_RANGE_PROTO_RANDOM`: another port, even where the one it has would do.
    pub const RANDOM: u32 = 1 << 2;
    /// `NF_NAT_RANGE_PERSISTENT`: the address hangs on the source alone.
    pub const PERSISTENT: u32 = 1 << 3;
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`: the same as `RANDOM`, since Linux 5.0.
    pub const RANDOM_FULLY: u32 = 1 << 4;
    /// `NF_NAT_RANGE_PROTO_OFFSET`: ports are moved by as much as the first from the range's base.
    pub const OFFSET: u32 = 1 << 5;
    /// `NF_NAT_RANGE_NETMAP`: addresses are mapped one to one, prefix by prefix.
    pub const NETMAP: u32 = 1 << 6;

    pub(crate) const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    pub(crate) const fn random(self) -> bool {
        self.has(Self::RANDOM | Self::RANDOM_FULLY)
    }
}

/// What an end may become. The default, nothing said, is Linux's null binding: everything stays unless that would make two
/// flows look alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first and the last address, as in a key; none: the one it has.
    pub addrs: Option<([u8; 16], [u8; 16])>,
    /// Ports or ICMP identifiers, host order, both ends included; none: the one it has, or where that is taken another
    /// of the same class (up to 511, to 1023, beyond).
    pub ports: Option<(u16, u16)>,
    /// With [`Flags::OFFSET`], the port that becomes the first of `ports`.
    pub base: u16,
    /// How to choose.
    pub flags: Flags,
}

impl Range {
    pub(crate) fn is_null(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn has_address(&self, address: &[u8; 16]) -> bool {
        // Addresses of a family are of one length, and wire order is the order of numbers.
        self.addrs.is_none_or(|(min, max)| (min..=max).contains(address))
    }

    /// Whether there is more than one address.
    pub(crate) fn has_choice(&self) -> bool {
        self.addrs.is_some_and(|(min, max)| min != max)
    }

    /// The range that `address` is mapped to one by one: the prefix that both ends share is taken, the rest kept.
    pub(crate) fn netmap(&self, address: &[u8; 16]) -> Option<Self> {
        let (min, max) = self.addrs.filter(|_| self.flags.has(Flags::NETMAP))?;
        let [min, max, old] = [min, max, *address].map(u128::from_be_bytes);
        let host = min ^ max;
        let new = ((min & !host) | (old & host)).to_be_bytes();
        Some(Self { addrs: Some((new, new)), ..*self })
    }
}
