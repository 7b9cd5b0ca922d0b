//! `log`: tells of the packet.
//!
//! To the daemon's log, by the dataplane, which keeps a rate. What goes to a group is for nflog's listeners; it is told to
//! nobody until there is that subsystem. Nor is there an audit daemon to tell.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, LogRecord};
use crate::packet::Cx;
use crate::schema::{Field as _, Text};
use crate::verdict::Verdict;

crate::attributes! {
    /// Tells of the packet.
    struct Attributes("log") {
        /// Group of listeners.
        1 => group: Option<u16>,
        /// Text in front.
        2 => prefix: Option<Text<127>>,
        /// Bytes of the packet that listeners get.
        3 => snaplen: Option<u32>,
        /// Messages that are kept before listeners get them.
        4 => qthreshold: Option<u16>,
        /// syslog's level; 8 is audit.
        5 => level: Option<u32>,
        /// What to tell: 1 TCP sequence numbers, 2 TCP options, 4 IP options, 8 user, 32 MAC addresses.
        6 => flags: Option<u32>,
    }
}

/// `NFT_LOGLEVEL_WARNING`, `NFT_LOGLEVEL_AUDIT`.
const WARNING: u32 = 4;
const AUDIT: u32 = 8;
/// `NF_LOG_MASK`.
const FLAGS: u32 = 0x2f;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
enum Log {
    /// To the daemon's log.
    Level { prefix: Option<Text<127>>, level: u8, flags: u32 },
    /// To a group.
    Group(Attributes),
}

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    if attrs.group.is_some() {
        if attrs.level.is_some() || attrs.flags.is_some() {
            return Err(Errno::EINVAL.into());
        }
        let qthreshold = attrs.qthreshold.filter(|threshold| *threshold != 0);
        return Ok(Box::new(Log::Group(Attributes { qthreshold, ..attrs })));
    }
    let (level, flags) = (attrs.level.unwrap_or(WARNING), attrs.flags.unwrap_or(0));
    if level > AUDIT || flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Box::new(Log::Level { prefix: attrs.prefix, level: level as u8, flags }))
}

impl Expr for Log {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if let Self::Level { prefix, level, flags } = self
            && u32::from(*level) < AUDIT
        {
            let prefix = prefix.as_ref().map_or("", |prefix| &prefix.0);
            cx.log(&LogRecord { prefix, level: *level, flags: *flags });
        }
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        match self {
            Self::Level { prefix, level, flags } => {
                prefix.give(2, out);
                u32::from(*level).give(5, out);
                Some(*flags).filter(|flags| *flags != 0).give(6, out);
            }
            Self::Group(Attributes { group, prefix, snaplen, qthreshold, .. }) => {
                prefix.give(2, out);
                group.give(1, out);
                snaplen.give(3, out);
                qthreshold.give(4, out);
            }
        }
    }
}
