//! The protocol's state in messages: `CTA_PROTOINFO`.

use nfnetlink::{Attr, Errno, Result, Table, Writer};

use packet::wire::ip;
use zerocopy::{transmute_mut, transmute_ref};

use super::cta::{protoinfo, sctp, tcp, top};
use crate::flow::{Direction, Flow};
use crate::proto::sctp::Sctp;
use crate::proto::tcp::{SHIFT, Tcp};
use crate::snapshot::Snapshot;

/// `TCP_CONNTRACK_SYN_SENT2`, the last one that a flow can be in.
const TCP_LAST: u8 = 9;
/// `SCTP_CONNTRACK_HEARTBEAT_SENT`.
const SCTP_LAST: u8 = 8;
/// The largest shift that RFC 7323 allows.
const SCALE_LAST: u8 = 14;
/// `IP_CT_TCP_FLAG_WINDOW_SCALE`.
const WINDOW_SCALE: u8 = 1;

/// What is told of a protocol's state. By direction where there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    None,
    /// `CTA_PROTOINFO_TCP`.
    Tcp {
        /// `enum tcp_conntrack`.
        state: u8,
        /// Shifts of the window.
        scale: [u8; 2],
        /// `IP_CT_TCP_FLAG_…`.
        flags: [u8; 2],
    },
    /// `CTA_PROTOINFO_SCTP`.
    Sctp {
        /// `enum sctp_conntrack`.
        state: u8,
        /// Verification tags.
        tags: [u32; 2],
    },
}

impl State {
    /// That of a flow by value.
    pub(super) fn of(flow: &Snapshot) -> Self {
        let [original, _] = &flow.keys;
        Self::read(original.protocol, &flow.proto)
    }

    /// That of a flow.
    pub(super) fn of_flow(flow: &Flow) -> Self {
        Self::read(flow.key(Direction::Original).protocol, flow.proto())
    }

    fn read(protocol: u8, words: &[u32; 14]) -> Self {
        match protocol {
            ip::TCP => {
                let Tcp { state, scale, flags, .. } = *transmute_ref!(words);
                Self::Tcp { state, scale: scale.map(|scale| scale & SHIFT), flags }
            }
            ip::SCTP => {
                let Sctp { state, tags, .. } = *transmute_ref!(words);
                Self::Sctp { state, tags }
            }
            _ => Self::None,
        }
    }

    /// Puts it among the words of its protocol.
    pub(super) fn store(self, words: &mut [u32; 14]) {
        match self {
            Self::None => {}
            Self::Tcp { state, scale, flags } => {
                let tcp: &mut Tcp = transmute_mut!(words);
                (tcp.state, tcp.flags) = (state, flags);
                for (to, scale) in tcp.scale.iter_mut().zip(scale) {
                    *to = *to & !SHIFT | scale & SHIFT;
                }
            }
            Self::Sctp { state, tags } => {
                let sctp: &mut Sctp = transmute_mut!(words);
                (sctp.state, sctp.tags) = (state, tags);
            }
        }
    }

    /// Writes it; of a flow that has ended only the state itself.
    pub(super) fn put(self, out: &mut Writer, ended: bool) {
        match self {
            Self::None => {}
            Self::Tcp { state, scale: [scale, scale_back], flags: [flags, flags_back] } => {
                out.nest_marked(top::PROTOINFO, |out| {
                    out.nest_marked(protoinfo::TCP, |out| {
                        out.u8(tcp::STATE, state);
                        if !ended {
                            out.u8(tcp::WSCALE_ORIGINAL, scale);
                            out.u8(tcp::WSCALE_REPLY, scale_back);
                            // Flags and a mask, which is for requests.
                            out.put(tcp::FLAGS_ORIGINAL, &[flags, 0]);
                            out.put(tcp::FLAGS_REPLY, &[flags_back, 0]);
                        }
                    });
                });
            }
            Self::Sctp { state, tags: [tag, tag_back] } => {
                out.nest_marked(top::PROTOINFO, |out| {
                    out.nest_marked(protoinfo::SCTP, |out| {
                        out.u8(sctp::STATE, state);
                        if !ended {
                            out.u32(sctp::VTAG_ORIGINAL, tag);
                            out.u32(sctp::VTAG_REPLY, tag_back);
                        }
                    });
                });
            }
        }
    }
}

/// What a request changes in a protocol's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    state: Option<u8>,
    /// Flags and which of them, by direction.
    flags: [Option<[u8; 2]>; 2],
    scale: Option<[u8; 2]>,
    tags: Option<[u32; 2]>,
}

impl Update {
    /// Reads `CTA_PROTOINFO` for a flow of `protocol`.
    ///
    /// # Errors
    ///
    /// `ERANGE` for a state or shift that there is none of, or an attribute that is short; `EINVAL` where something of SCTP's
    /// is missing.
    pub(super) fn parse(attr: &Attr<'_>, protocol: u8) -> Result<Self> {
        let [_, of_tcp, _, of_sctp]: Table<'_, 4> = attr.table();
        match (protocol, of_tcp, of_sctp) {
            (ip::TCP, Some(attr), _) => Self::parse_tcp(&attr),
            (ip::SCTP, _, Some(attr)) => Self::parse_sctp(&attr),
            _ => Ok(Self::default()),
        }
    }

    fn parse_tcp(attr: &Attr<'_>) -> Result<Self> {
        let [_, state, scale, scale_back, flags, flags_back]: Table<'_, 6> = attr.table();
        let state = state.map(|state| at_most(&state, TCP_LAST)).transpose()?;
        let scale = scale.map(|scale| at_most(&scale, SCALE_LAST)).transpose()?;
        let scale_back = scale_back.map(|scale| at_most(&scale, SCALE_LAST)).transpose()?;
        let flags = flags.map(|flags| flags.bytes()).transpose()?;
        let flags_back = flags_back.map(|flags| flags.bytes()).transpose()?;
        let scale = scale.zip(scale_back).map(|(scale, back)| [scale, back]);
        Ok(Self { state, flags: [flags, flags_back], scale, tags: None })
    }

    fn parse_sctp(attr: &Attr<'_>) -> Result<Self> {
        let [_, state, tag, tag_back]: Table<'_, 4> = attr.table();
        let state = state.map(|state| at_most(&state, SCTP_LAST)).transpose()?;
        let (Some(state), Some(tag), Some(tag_back)) = (state, tag, tag_back) else {
            return Err(Errno::EINVAL.into());
        };
        Ok(Self {
            state: Some(state),
            tags: Some([tag.u32()?, tag_back.u32()?]),
            ..Self::default()
        })
    }

    /// What `before` becomes.
    pub(super) fn apply(&self, before: State) -> State {
        match before {
            State::None => State::None,
            State::Tcp { state, mut scale, mut flags } => {
                for (flags, update) in flags.iter_mut().zip(self.flags) {
                    if let Some([bits, mask]) = update {
                        *flags = *flags & !mask | bits & mask;
                    }
                }
                // As the kernel: only where both sides scale.
                if flags.iter().all(|flags| flags & WINDOW_SCALE != 0) {
                    scale = self.scale.unwrap_or(scale);
                }
                State::Tcp { state: self.state.unwrap_or(state), scale, flags }
            }
            State::Sctp { state, tags } => {
                State::Sctp { state: self.state.unwrap_or(state), tags: self.tags.unwrap_or(tags) }
            }
        }
    }
}

fn at_most(attr: &Attr<'_>, last: u8) -> Result<u8> {
    let value = attr.u8()?;
    if value > last { Err(attr.error(Errno::ERANGE)) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tcp::REBASE;

    #[test]
    fn what_only_we_know_of_a_connection_is_neither_shown_nor_changed() {
        let tcp = Tcp { state: 3, scale: [REBASE | 1, 2], flags: [3, 5], ..Tcp::default() };
        let mut words = zerocopy::transmute!(tcp);
        let shown = State::read(ip::TCP, &words);
        assert_eq!(shown, State::Tcp { state: 3, scale: [1, 2], flags: [3, 5] });
        State::Tcp { state: 4, scale: [3, 14], flags: [0xff, 0xff] }.store(&mut words);
        let tcp: Tcp = zerocopy::transmute!(words);
        assert_eq!((tcp.state, tcp.scale, tcp.flags), (4, [REBASE | 3, 14], [0xff; 2]));
    }
}
