//! Generations: how many commits there were (`NFTA_GEN_…`).

use nfnetlink::attr::Writer;
use nfnetlink::{Client, Events, Header, NfGen, Reply, Result};

use crate::model::State;

use super::op::kind;
use super::{GROUP, Query, msg};

const ID: u16 = 1;
const PROC_PID: u16 = 2;
const PROC_NAME: u16 = 3;

/// `NFT_MSG_GETGEN`.
pub(super) fn get(query: &Query<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (state, client) = (query.state, reply.client);
    reply.message(kind(msg::NEWGEN), 0, nfgen(state), |out| write(state, client, out));
    Ok(())
}

/// Ends the events of a commit.
///
/// `seq` is that of the batch's first message.
pub(super) fn announce(state: &State, client: Client, seq: u32, echo: bool, events: &mut Events) {
    if echo || events.listened & (1 << GROUP) != 0 {
        let pid = client.port_id;
        let header = Header { kind: kind(msg::NEWGEN), seq, pid, ..Header::default() };
        events.push(GROUP, echo.then_some(client.id), |out| {
            out.message(header, nfgen(state), |out| write(state, client, out));
        });
    }
}

fn nfgen(state: &State) -> NfGen {
    NfGen { family: 0, version: 0, res_id: state.generation.0 as u16 }
}

fn write(state: &State, client: Client, out: &mut Writer) {
    out.u32(ID, state.generation.0);
    out.u32(PROC_PID, client.pid);
    out.str(PROC_NAME, &process_name(client.pid));
}

/// The process's name as the kernel has it: at most 15 bytes.
fn process_name(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
