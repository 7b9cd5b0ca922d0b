//! Acknowledgements and errors: `NLMSG_ERROR`, as the kernel's `netlink_ack` writes them.

use crate::attr::Writer;
use crate::error::Error;
use crate::message::{HEADER, Header, Message, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ERROR};

use super::peer::Peer;

const ATTR_MSG: u16 = 1;
const ATTR_OFFS: u16 = 2;
/// A refused request longer than this is not quoted in full.
const QUOTE: usize = 64 * 1024;

/// The acknowledgement of a message, or why it is refused.
pub(super) fn ack(peer: &Peer, to: &Message<'_>, error: Option<&Error>) -> Vec<u8> {
    let quote = error.is_some() && !peer.cap_ack && to.bytes.len() <= QUOTE;
    let told = error.filter(|e| peer.ext_ack && (e.offset.is_some() || e.message.is_some()));
    let mut flags = 0;
    if !quote {
        flags |= NLM_F_CAPPED;
    }
    if told.is_some() {
        flags |= NLM_F_ACK_TLVS;
    }
    let header =
        Header { len: 0, kind: NLMSG_ERROR, flags, seq: to.header.seq, pid: peer.client.port_id };
    let mut out = Writer::default();
    out.raw_message(header, |w| {
        w.buf.extend((-error.map_or(0, |e| e.errno.0)).to_ne_bytes());
        let quoted = if quote { to.bytes } else { to.bytes.get(..HEADER).unwrap_or_default() };
        w.buf.extend_from_slice(quoted);
        // Attributes are aligned; so is what they stand behind.
        w.buf.resize(w.buf.len().next_multiple_of(4), 0);
        if let Some(message) = told.and_then(|e| e.message.as_deref()) {
            w.str(ATTR_MSG, message);
        }
        if let Some(offset) = told.and_then(|e| e.offset) {
            w.put(ATTR_OFFS, &offset.to_ne_bytes());
        }
    });
    out.buf
}
