//! The engine without sockets: datagrams in, answers out, and a picture of the whole state to compare.

use std::sync::Arc;

use nfnetlink::attr::Writer;
use nfnetlink::message::{
    BATCH_BEGIN, NLM_F_DUMP, NLM_F_MULTI, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};
use nfnetlink::server::Engine;
use nfnetlink::{Header, Messages, NfGen};
use ruleset::nft::{Host, NfTables, SUBSYSTEM, msg};

/// The engine with one client.
pub(crate) struct Rig {
    engine: Engine,
    client: u64,
}

/// What a datagram was answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Error codes of acknowledgements, positive, in order; 0 where there was none.
    pub(crate) codes: Vec<i32>,
    /// All else: messages with their headers.
    pub(crate) messages: Vec<Vec<u8>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let mut engine = Engine::new(64 << 20, 1, Arc::default());
        engine.register(Box::new(NfTables::new(Host {
            workers: 2,
            now: Box::new(|| 1_000_000_000),
            publish: Box::new(drop),
        })));
        let client = engine.connect(0, 1, true);
        Self { engine, client }
    }

    /// Sends a datagram and takes all that comes back.
    pub(crate) fn send(&mut self, datagram: &[u8]) -> Answers {
        self.engine.datagram(self.client, datagram);
        let mut answers = Answers::default();
        while let Some((frame, outgoing)) = self.engine.front(self.client) {
            for message in Messages::new(&outgoing.bytes) {
                if message.header.kind == NLMSG_ERROR {
                    let code = message.bytes[16..20].try_into().unwrap();
                    answers.codes.push(-i32::from_ne_bytes(code));
                } else if message.header.kind != NLMSG_DONE {
                    answers.messages.push(message.bytes.to_vec());
                }
            }
            self.engine.sent(self.client, frame);
        }
        answers
    }

    /// A dump of one kind of thing.
    fn dump(&mut self, command: u8, attrs: impl FnOnce(&mut Writer)) -> Vec<Vec<u8>> {
        self.dump_of(0, command, attrs)
    }

    fn dump_of(
        &mut self,
        family: u8,
        command: u8,
        attrs: impl FnOnce(&mut Writer),
    ) -> Vec<Vec<u8>> {
        let mut out = Writer::default();
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let header =
            Header { kind, flags: NLM_F_REQUEST | NLM_F_DUMP, seq: 7, ..Header::default() };
        out.message(header, NfGen { family, version: 0, res_id: 0 }, attrs);
        let answers = self.send(&out.buf);
        assert_eq!(answers.codes, [], "the dump of {command}");
        assert!(answers.messages.iter().all(|message| message[6] & NLM_F_MULTI as u8 != 0));
        answers.messages
    }

    /// Everything that can be listed.
    pub(crate) fn picture(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for command in [msg::GETTABLE, msg::GETCHAIN, msg::GETRULE, msg::GETOBJ, msg::GETFLOWTABLE]
        {
            all.extend(self.dump(command, |_| {}));
        }
        let sets = self.dump(msg::GETSET, |_| {});
        for set in &sets {
            let message = Messages::new(set).next().unwrap();
            let [_, table, name] = message.attrs().table::<3>();
            let (table, name) = (table.unwrap().str(255).unwrap(), name.unwrap().str(255).unwrap());
            let family = message.nfgen().unwrap().family;
            let elements = self.dump_of(family, msg::GETSETELEM, |out| {
                out.str(1, table);
                out.str(2, name);
            });
            all.extend(elements);
        }
        all.extend(sets);
        all
    }
}

/// Sends each datagram of `input` (16 bits of length in front of each) to an engine. A refused batch must change nothing; to
/// return at all is the other half of the test.
pub(crate) fn check_datagrams(input: &[u8]) {
    let mut rig = Rig::new();
    let mut before = rig.picture();
    for datagram in datagrams(input) {
        let is_batch =
            Messages::new(datagram).next().is_some_and(|first| first.header.kind == BATCH_BEGIN);
        let answers = rig.send(datagram);
        let after = rig.picture();
        let refused = answers.codes.iter().any(|code| *code != 0);
        if !is_batch || refused {
            assert!(before == after, "changed by a datagram that was refused: {:?}", answers.codes);
        }
        before = after;
    }
}

/// The datagrams of a test input.
pub(crate) fn datagrams(mut input: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let [lo, hi, rest @ ..] = input {
        let len = usize::from(u16::from_le_bytes([*lo, *hi])).min(rest.len());
        let (datagram, behind) = rest.split_at(len);
        all.push(datagram);
        input = behind;
    }
    all
}
