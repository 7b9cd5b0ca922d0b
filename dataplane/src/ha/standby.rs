//! A node that stands by: what it receives and does with it.
//!
//! Its own traffic (ARP, VRRP, sshd) comes and goes as ever. What is for elsewhere ends here: the owner's copy of it is the one
//! that counts. For a moment after a planned switchover it is passed on instead, in the same link's frame to the new owner's
//! address, for some stations have not heard yet that the addresses have moved.

use packet::{Burst, DropReason, Frame, PacketIo, PortIndex};
use sync::records::Role;

use crate::own;
use crate::pipeline::{self, Packet, Step, View};
use crate::tables::{Path, PortEntry, PortMode};
use crate::worker::Local;

/// Leaves in `burst` what is for this node itself.
#[inline(never)]
pub(crate) fn sift<Io: PacketIo>(
    view: View<'_>,
    local: &mut Local<Io>,
    port: PortIndex,
    burst: &mut Burst<Io::Frame>,
    role: Role,
) {
    let Some(entry) = view.tables.port(port) else { return };
    let mut arrived = std::mem::take(burst);
    for frame in arrived.drain(..) {
        if is_own(view, local, entry, &frame, port) {
            burst.push(frame);
        } else if let Some(frame) = pass_on(local, entry, port, frame, role) {
            local.drop(port, DropReason::Standby, frame);
        }
    }
}

/// Whether a frame is for this node: for its kernel, or malformed, so that the pipeline says why it ends. What is addressed to this
/// node as an answer to a translated flow is not.
fn is_own<Io: PacketIo>(
    view: View<'_>,
    local: &Local<Io>,
    entry: &PortEntry,
    frame: &Io::Frame,
    port: PortIndex,
) -> bool {
    if matches!(entry.state.mode, PortMode::Pair(_)) {
        return false;
    }
    let mut packet = Packet::empty(port);
    match pipeline::admit(view.tables, entry, frame, &mut packet) {
        Step::Route => {
            let path = own::route(view.tables, packet.dst());
            let path = path.and_then(|path| view.tables.paths.get(path as usize));
            matches!(path, Some(Path::Local { .. })) && !local.flows.is_shared(&packet.layers)
        }
        _ => true,
    }
}

/// Sends a frame on to the new owner; gives it back where there is none.
fn pass_on<Io: PacketIo>(
    local: &mut Local<Io>,
    entry: &PortEntry,
    port: PortIndex,
    mut frame: Io::Frame,
    role: Role,
) -> Option<Io::Frame> {
    let to = local.cluster.as_ref().and_then(|cluster| cluster.onward(port));
    let (Some(to), Role::Redirecting, PortMode::Routed) = (to, role, entry.state.mode) else {
        return Some(frame);
    };
    // The station that it came from is behind another port of the switch: this one's address stands for it.
    let mut addresses = [0; 12];
    if !frame.copy_out(0, &mut addresses) {
        return Some(frame);
    }
    let [own @ .., _, _, _, _, _, _] = addresses;
    let mut link = [0; 12];
    let (dst, src) = link.split_at_mut(6);
    dst.copy_from_slice(&to);
    src.copy_from_slice(&own);
    if !frame.copy_in(0, &link) {
        return Some(frame);
    }
    if let Some(tci) = frame.rx_meta().vlan_tci {
        frame.set_tx_vlan(Some(tci));
    }
    local.link.stats.passed_on.add(1);
    local.transmit(port, frame);
    None
}
