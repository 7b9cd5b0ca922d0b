//! Netlink messages (`struct nlmsghdr`, `struct nfgenmsg`): reading a datagram, writing answers.

use crate::attr::{Attrs, Writer, align};
use crate::error::{Errno, Error};

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Bytes of `struct nfgenmsg`.
pub const NFGEN: usize = 4;

/// Message types below this are netlink's own.
pub const NLMSG_MIN_TYPE: u16 = 0x10;
/// An error, or with code 0 an acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
/// The end of a dump.
pub const NLMSG_DONE: u16 = 3;
/// Events were lost.
pub const NLMSG_OVERRUN: u16 = 4;
/// Begin of a batch (`NFNL_MSG_BATCH_BEGIN`).
pub const BATCH_BEGIN: u16 = 0x10;
/// End of a batch.
pub const BATCH_END: u16 = 0x11;

/// It is a request.
pub const NLM_F_REQUEST: u16 = 1;
/// One of several messages, which `NLMSG_DONE` ends.
pub const NLM_F_MULTI: u16 = 2;
/// Acknowledge it.
pub const NLM_F_ACK: u16 = 4;
/// Send its notifications to the sender, too.
pub const NLM_F_ECHO: u16 = 8;
/// What is dumped changed meanwhile.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// A get request: everything (`NLM_F_ROOT | NLM_F_MATCH`).
pub const NLM_F_DUMP: u16 = 0x300;
/// A new request: replace what is there.
pub const NLM_F_REPLACE: u16 = 0x100;
/// A new request: refuse when it is there; a delete request: only if it is not recursive.
pub const NLM_F_EXCL: u16 = 0x200;
/// A new request: create what is not there.
pub const NLM_F_CREATE: u16 = 0x400;
/// A new request: at the end.
pub const NLM_F_APPEND: u16 = 0x800;
/// An error message holds the header of its request only.
pub const NLM_F_CAPPED: u16 = 0x100;
/// An error message carries attributes.
pub const NLM_F_ACK_TLVS: u16 = 0x200;

/// A netlink header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Length with header, before alignment.
    pub len: u32,
    /// Subsystem (high byte) and message (low byte), for netfilter.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// The sender's number.
    pub seq: u32,
    /// The sender's port id.
    pub pid: u32,
}

/// What netfilter puts behind every header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NfGen {
    /// Address family: `NFPROTO_…`.
    pub family: u8,
    /// `NFNETLINK_V0`.
    pub version: u8,
    /// By message: a queue, a group, a generation's low bits.
    pub res_id: u16,
}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// All of its bytes, header included.
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The subsystem: the type's high byte.
    pub const fn subsystem(&self) -> u8 {
        (self.header.kind >> 8) as u8
    }

    /// The message within the subsystem: the type's low byte.
    pub const fn command(&self) -> u8 {
        self.header.kind as u8
    }

    /// Whether all of these flags are set.
    pub const fn has(&self, flags: u16) -> bool {
        self.header.flags & flags == flags
    }

    /// Netfilter's header.
    ///
    /// # Errors
    ///
    /// `EINVAL` where the message is too short for it.
    pub fn nfgen(&self) -> Result<NfGen, Error> {
        let bytes = self.bytes.get(HEADER..).and_then(|rest| rest.first_chunk::<NFGEN>());
        let [family, version, hi, lo] = *bytes.ok_or(Errno::EINVAL)?;
        Ok(NfGen { family, version, res_id: u16::from_be_bytes([hi, lo]) })
    }

    /// The attributes behind netfilter's header.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs::new(self.bytes.get(HEADER + NFGEN..).unwrap_or_default(), (HEADER + NFGEN) as u32)
    }
}

/// The messages of a datagram. Ends at the first whose length does not fit, as the kernel does.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Those in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet: at the end, the bytes that are no message.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] =
            *self.rest.first_chunk::<HEADER>()?;
        let header = Header {
            len: u32::from_ne_bytes([l0, l1, l2, l3]),
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            seq: u32::from_ne_bytes([s0, s1, s2, s3]),
            pid: u32::from_ne_bytes([p0, p1, p2, p3]),
        };
        let len = header.len as usize;
        if len < HEADER {
            return None;
        }
        let bytes = self.rest.get(..len)?;
        self.rest = self.rest.get(align(len)..).unwrap_or_default();
        Some(Message { header, bytes })
    }
}

impl Writer {
    /// A message with netfilter's header, and what `inside` writes as attributes.
    pub fn message(&mut self, header: Header, nfgen: NfGen, inside: impl FnOnce(&mut Self)) {
        self.raw_message(header, |w| {
            let [hi, lo] = nfgen.res_id.to_be_bytes();
            w.buf.extend([nfgen.family, nfgen.version, hi, lo]);
            inside(w);
        });
    }

    /// A message of netlink itself. The header's length is filled in.
    pub fn raw_message(&mut self, header: Header, inside: impl FnOnce(&mut Self)) {
        let start = self.buf.len();
        self.buf.extend([0; 4]);
        self.buf.extend(header.kind.to_ne_bytes());
        self.buf.extend(header.flags.to_ne_bytes());
        self.buf.extend(header.seq.to_ne_bytes());
        self.buf.extend(header.pid.to_ne_bytes());
        inside(self);
        let len = (self.buf.len() - start) as u32;
        if let Some(place) = self.buf.get_mut(start..start + 4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.buf.resize(align(self.buf.len()), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_written() {
        let mut writer = Writer::default();
        let header = Header { kind: 0x0a01, flags: NLM_F_REQUEST, seq: 3, pid: 4, len: 0 };
        let nfgen = NfGen { family: 2, version: 0, res_id: 0x1234 };
        writer.message(header, nfgen, |w| w.str(1, "x"));
        writer.message(header, nfgen, |_| {});
        let messages: Vec<_> = Messages::new(&writer.buf).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].subsystem(), messages[0].command()), (0x0a, 1));
        assert_eq!(messages[0].nfgen(), Ok(nfgen));
        assert_eq!(messages[0].attrs().next().unwrap().str(9), Ok("x"));
        assert_eq!(messages[0].attrs().next().unwrap().offset, 20);
        assert_eq!(messages[1].attrs().count(), 0);
        assert_eq!(Messages::new(&writer.buf[..30]).count(), 1.min(30 / messages[0].bytes.len()));
    }
}
