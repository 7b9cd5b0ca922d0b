//! Records the batches that a tool sends, as seeds for the tests and fuzz targets: `record SOCKET FILE`, then one or more runs of
//! the tool; SIGINT ends it. Each datagram is written with 16 bits of length in front.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "an example that cannot go on ends"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use nfnetlink::attr::Writer;
use nfnetlink::message::{BATCH_BEGIN, BATCH_END, NLM_F_REQUEST};
use nfnetlink::{
    Client, Dump, Events, Header, Message, NfGen, Reply, Result, Server, ServerConfig, Subsystem,
};
use ruleset::nft::{Host, NfTables, SUBSYSTEM};

struct Recorder {
    tables: NfTables,
    batch: Writer,
    file: File,
}

impl Recorder {
    fn edge(&mut self, kind: u16) {
        let header = Header { kind, flags: NLM_F_REQUEST, ..Header::default() };
        let nfgen = NfGen { family: 0, version: 0, res_id: u16::from(SUBSYSTEM) };
        self.batch.message(header, nfgen, |_| {});
    }
}

impl Subsystem for Recorder {
    fn id(&self) -> u8 {
        self.tables.id()
    }

    fn generation(&self) -> u32 {
        self.tables.generation()
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        events: &mut Events,
    ) -> Result<()> {
        self.tables.request(message, reply, events)
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        self.tables.is_dump(message)
    }

    fn dump(&mut self, message: &Message<'_>, client: Client) -> Result<Box<dyn Dump>> {
        self.tables.dump(message, client)
    }

    fn begin(&mut self, generation: Option<u32>, client: Client) -> Result<()> {
        self.batch.buf.clear();
        self.edge(BATCH_BEGIN);
        self.tables.begin(generation, client)
    }

    fn apply(&mut self, message: &Message<'_>, client: Client, events: &mut Events) -> Result<()> {
        self.batch.buf.extend(message.bytes);
        self.batch.buf.resize(self.batch.buf.len().next_multiple_of(4), 0);
        self.tables.apply(message, client, events)
    }

    fn commit(&mut self, client: Client, events: &mut Events) -> Result<()> {
        self.tables.commit(client, events)?;
        self.edge(BATCH_END);
        let len = u16::try_from(self.batch.buf.len()).expect("a batch of less than 64 KiB");
        self.file.write_all(&len.to_le_bytes()).unwrap();
        self.file.write_all(&self.batch.buf).unwrap();
        Ok(())
    }

    fn validate(&mut self, client: Client) -> Result<()> {
        self.tables.validate(client)
    }

    fn abort(&mut self) {
        self.tables.abort();
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, file] = args.as_slice() else { panic!("usage: record SOCKET FILE") };
    let mut server = Server::bind(Path::new(socket), ServerConfig::default()).unwrap();
    let host = Host { workers: 1, now: Box::new(|| 0), publish: Box::new(drop) };
    let file = File::create(file).unwrap();
    let tables = NfTables::new(host);
    server.register(Box::new(Recorder { tables, batch: Writer::default(), file }));
    server.run(&AtomicBool::new(false)).unwrap();
}
