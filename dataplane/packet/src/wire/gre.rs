//! GRE (RFC 2784, keys and sequence numbers of RFC 2890) and PPTP's version 1 (RFC 2637).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length in bytes of the part that every version has.
pub const LEN: usize = 4;
/// Length in bytes of version 1 without its optional fields.
pub const PPTP_LEN: usize = 8;

/// Flag: a checksum and four bytes for it are there.
pub const CHECKSUM: u16 = 0x8000;
/// Flag: a key is there; version 1 always has it.
pub const KEY: u16 = 0x2000;
/// Flag: a sequence number is there.
pub const SEQUENCE: u16 = 0x1000;
/// Flag of version 1: an acknowledgement number is there.
pub const ACK: u16 = 0x0080;
/// Bits that hold the version.
pub const VERSION_MASK: u16 = 0x0007;
/// Bits that a receiver of version 0 that does not know RFC 1701 must refuse (RFC 2784, 2.3), those of RFC 2890 left out.
pub const V0_REFUSED: u16 = 0x4c00;
/// Bits that are zero in version 1 (RFC 2637, 4.1).
pub const V1_ZERO: u16 = 0xcf78;
/// What version 1 carries: PPP.
pub const PPP: u16 = 0x880b;

/// The part that every version has.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct GreHeader {
    /// Flags and version.
    pub flags: U16,
    /// EtherType of what is carried.
    pub protocol: U16,
}

const _: () = assert!(size_of::<GreHeader>() == LEN);

impl GreHeader {
    /// The version: 0, or 1 for PPTP.
    pub fn version(&self) -> u8 {
        (self.flags.get() & VERSION_MASK) as u8
    }

    /// Length in bytes of the whole header with the fields that the flags announce.
    pub fn header_len(&self) -> usize {
        let flags = self.flags.get();
        let field = |flag: u16| if flags & flag != 0 { 4 } else { 0 };
        match self.version() {
            1 => PPTP_LEN + field(SEQUENCE) + field(ACK),
            _ => LEN + field(CHECKSUM) + field(KEY) + field(SEQUENCE),
        }
    }
}

/// The fixed part of version 1.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PptpHeader {
    /// Flags, version, EtherType.
    pub gre: GreHeader,
    /// Length in bytes of the payload.
    pub payload_length: U16,
    /// The receiver's name for the session.
    pub call_id: [u8; 2],
}

const _: () = assert!(size_of::<PptpHeader>() == PPTP_LEN);
