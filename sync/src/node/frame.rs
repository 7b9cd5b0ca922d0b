//! Datagrams as a node sends and receives them: its header, its records, its seal.
//!
//! # Life cycle, who may touch what
//!
//! [`super::Node`]'s. One buffer for all that is sent; what comes is opened where it lies.

use crate::hands::{Hands, To};
use crate::ids::{Epoch, Lane, NodeId, Seq};
use crate::lane::Datagram;
use crate::records::Record;
use crate::seal::{Keyring, Opener, Rejected, Sealer, Sending, TRAILER};
use crate::wire::{self, CONTROL, Flags, HEADER, Header, PAYLOAD, Type};

/// Bytes of records that others than DATA have at most.
const ROOM: usize = PAYLOAD - 8;

/// The records of a datagram that is not DATA.
#[derive(Debug)]
pub(super) struct Records {
    bytes: [u8; ROOM],
    length: usize,
}

impl Records {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }

    /// With one record.
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut records = Self::new();
        records.push(record);
        records
    }

    /// False: there is no room for it.
    pub(super) fn push(&mut self, record: &Record<'_>) -> bool {
        let Some(room) = self.bytes.get_mut(self.length..) else { return false };
        match wire::encode(record, room) {
            Ok(length) => {
                self.length += length;
                true
            }
            Err(_) => false,
        }
    }

    /// There is room for so many short records.
    pub(super) const fn has_room(&self, records: usize) -> bool {
        ROOM - self.length >= records * 64
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What frames, seals and opens datagrams.
#[derive(Debug)]
pub(super) struct Frames {
    sealer: Sealer,
    opener: Opener,
    /// Opens what comes under this node's own number: another node may have it, too.
    twins: Opener,
    node: NodeId,
    cluster: u16,
    epoch: Epoch,
    /// The hash of this node's ruleset.
    pub(super) ruleset: u64,
    pub(super) rejected: [u64; Rejected::COUNT],
    pub(super) sent: u64,
    /// Those that could not be sealed: none, unless a lane counts wrongly.
    pub(super) unsealed: u64,
    buffer: Box<[u8; HEADER + PAYLOAD + TRAILER]>,
}

/// What came.
pub(super) enum Opened<'a> {
    /// An authentic datagram of another node.
    Other(Header, &'a [u8]),
    /// This node's own.
    Looped,
    /// An authentic one under this node's number, of another epoch.
    Twin(Epoch),
    /// Counted.
    Rejected,
}

impl Frames {
    pub(super) fn new(keys: Keyring, cluster: u16, node: NodeId, epoch: Epoch) -> Self {
        // As if this were another node: `Opener` does not look at what comes under its own number.
        let other = NodeId::new(node.get() ^ 1).unwrap_or(node);
        Self {
            sealer: Sealer::new(&keys, cluster, node, epoch),
            opener: Opener::new(keys.clone(), cluster, node),
            twins: Opener::new(keys, cluster, other),
            node,
            cluster,
            epoch,
            ruleset: 0,
            rejected: [0; Rejected::COUNT],
            sent: 0,
            unsealed: 0,
            buffer: Box::new([0; HEADER + PAYLOAD + TRAILER]),
        }
    }

    /// The key that a node seals with, where it is not among `keys`.
    pub(super) fn misses(&self, node: NodeId, keys: &Keyring) -> Option<u8> {
        self.opener.misses(node, keys)
    }

    pub(super) fn rekey(&mut self, keys: Keyring) {
        self.sealer.rekey(&keys);
        self.opener.rekey(keys.clone());
        self.twins.rekey(keys);
    }

    /// Opens what came.
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Opened<'a> {
        let own = Header::decode(datagram).ok().filter(|header| self.is_own(header));
        let rejected = if let Some(header) = own {
            if header.epoch == self.epoch {
                return Opened::Looped;
            }
            match self.twins.open(datagram) {
                Ok((header, _)) => return Opened::Twin(header.epoch),
                Err(rejected) => rejected,
            }
        } else {
            match self.opener.open(datagram) {
                Ok((header, records)) => return Opened::Other(header, records),
                Err(rejected) => rejected,
            }
        };
        if let Some(count) = self.rejected.get_mut(rejected.index()) {
            *count += 1;
        }
        Opened::Rejected
    }

    fn is_own(&self, header: &Header) -> bool {
        header.node == self.node && header.cluster == self.cluster
    }

    /// Sends DATA to all.
    pub(super) fn data(&mut self, lane: Lane, datagram: &Datagram<'_>, hands: &mut dyn Hands) {
        let mut flags = 0;
        for (set, flag) in [
            (datagram.want_ack, Flags::WANT_ACK),
            (datagram.bulk, Flags::BULK),
            (datagram.last, Flags::LAST_IN_BURST),
        ] {
            flags |= if set { flag } else { 0 };
        }
        self.seal(Type::Data, lane, Flags(flags), datagram.seq, datagram.payload, To::All, hands);
    }

    /// Sends another datagram. `highest`: of this lane's DATA.
    pub(super) fn send(
        &mut self,
        kind: Type,
        (lane, highest): (Lane, Seq),
        records: &Records,
        to: To,
        hands: &mut dyn Hands,
    ) {
        self.seal(kind, lane, Flags(0), highest, records.as_bytes(), to, hands);
    }

    /// Sends what is no record. False: it is too long.
    pub(super) fn control(
        &mut self,
        (lane, highest): (Lane, Seq),
        payload: &[u8],
        hands: &mut dyn Hands,
    ) -> bool {
        let fits = payload.len() <= CONTROL;
        if fits {
            self.seal(Type::Control, lane, Flags(0), highest, payload, To::All, hands);
        }
        fits
    }

    #[expect(clippy::too_many_arguments, reason = "a header has as many fields")]
    fn seal(
        &mut self,
        kind: Type,
        lane: Lane,
        flags: Flags,
        seq: Seq,
        records: &[u8],
        to: To,
        hands: &mut dyn Hands,
    ) {
        let mut sealed = None;
        if let Some(place) = self.buffer.get_mut(HEADER..HEADER + records.len()) {
            place.copy_from_slice(records);
            let what = Sending { kind, lane, flags, ruleset: self.ruleset as u32, seq };
            sealed = self.sealer.seal(&what, &mut self.buffer[..], records.len()).ok();
        }
        match sealed.and_then(|length| self.buffer.get(..length)) {
            Some(datagram) => {
                hands.send(to, datagram);
                self.sent += 1;
            }
            None => self.unsealed += 1,
        }
    }
}
