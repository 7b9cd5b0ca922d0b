//! What the fuzz targets do with their input. The tests run the same over the seeds and over random input.

use nfnetlink::message::{BATCH_BEGIN, BATCH_END, NLM_F_REQUEST};
use nfnetlink::server::Control;
use nfnetlink::{Attrs, Engine, Errno, Event, Events, Header, Messages, NfGen, Writer, frame};

/// The fuzzer's bytes, taken from the front; zeros when there are no more.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(n.min(self.0.len()));
        self.0 = later;
        now
    }
}

/// Whatever the bytes are, messages and attributes lie within them, say truly where, and come back as written.
pub fn check_codec(input: &[u8]) {
    for message in Messages::new(input) {
        assert_eq!(message.bytes.len(), message.header.len as usize);
        if message.nfgen().is_ok() {
            check_attrs(message.bytes, message.attrs(), 0);
            let mut out = Writer::default();
            let nfgen = message.nfgen().unwrap();
            out.message(message.header, nfgen, |w| copy(w, message.attrs(), 0));
            let again = Messages::new(&out.buf).next().unwrap();
            assert!(same(again.attrs(), message.attrs(), 0));
        }
    }
}

fn check_attrs(message: &[u8], attrs: Attrs<'_>, depth: u32) {
    for attr in attrs {
        let at = attr.offset as usize;
        assert_eq!(message[at + 4..at + 4 + attr.data.len()], *attr.data);
        assert_eq!(
            usize::from(u16::from_ne_bytes([message[at], message[at + 1]])),
            4 + attr.data.len()
        );
        let _ = (attr.u8(), attr.u16(), attr.u32(), attr.u64(), attr.str(16));
        let _ = attr.table::<8>();
        if depth < 4 {
            check_attrs(message, attr.nested(), depth + 1);
        }
    }
}

/// Whether what an attribute holds is nothing but whole attributes, so that it can be written as a nest.
fn is_nest(data: &[u8]) -> bool {
    let whole: usize =
        Attrs::new(data, 0).map(|attr| nfnetlink::attr::align(4 + attr.data.len())).sum();
    !data.is_empty() && whole == data.len()
}

fn copy(out: &mut Writer, attrs: Attrs<'_>, depth: u32) {
    for attr in attrs {
        if depth < 4 && is_nest(attr.data) {
            out.nest(attr.kind, |w| copy(w, attr.nested(), depth + 1));
        } else {
            out.put(attr.kind, attr.data);
        }
    }
}

fn same(one: Attrs<'_>, other: Attrs<'_>, depth: u32) -> bool {
    one.count() == other.count()
        && one.zip(other).all(|(one, other)| {
            one.kind == other.kind
                && if depth < 4 && is_nest(other.data) {
                    same(one.nested(), other.nested(), depth + 1)
                } else {
                    one.data == other.data
                }
        })
}

/// Drives an engine with whatever the bytes say: clients come and go, send, read or not, batches hold anything. `state` gives
/// what subsystems hold; no refused batch may change it.
pub fn drive<S: PartialEq + std::fmt::Debug>(
    engine: &mut Engine,
    input: &[u8],
    state: impl Fn(&mut Engine) -> S,
) {
    let mut input = Bytes(input);
    let mut clients = vec![engine.connect(0, 100, true)];
    let mut promised = std::collections::BTreeMap::<u64, u32>::new();
    while !input.0.is_empty() {
        let op = input.byte();
        let id = clients[usize::from(op >> 4) % clients.len()];
        match op & 15 {
            0 => clients.push(engine.connect(u32::from(op), 100, op & 16 != 0)),
            1 if clients.len() > 1 => {
                engine.disconnect(id);
                clients.retain(|other| *other != id);
            }
            2 => {
                let (port, groups) = (input.number() as u32, input.number() as u32);
                let _ = engine.control(id, Control::Bind { port, groups });
            }
            3 => {
                let (option, value) = (u32::from(input.byte()), input.number() as u32);
                let _ = engine.control(id, Control::Option { option, value });
                // The framing's own, too.
                let _ = engine.control(id, Control::Option { option: option + 250, value });
            }
            4 => {
                let event = Event {
                    group: u32::from(input.byte() % 40),
                    datagram: vec![1; input.number()],
                    echo: Some(id),
                };
                engine.publish(Events { queue: vec![event], ..Events::default() });
                engine.lost(u32::from(op));
            }
            5 => engine.tick(),
            6 => {
                for _ in 0..input.byte() {
                    read(engine, id, &mut promised);
                }
            }
            7..=10 => {
                let datagram = input.number() % 2048;
                engine.datagram(id, input.take(datagram));
                promise(engine, id, &mut promised);
            }
            _ => {
                while read(engine, id, &mut promised).is_some() {}
                let before = state(engine);
                let mut datagram = Vec::new();
                batch(&mut input, &mut datagram);
                engine.datagram(id, &datagram);
                promise(engine, id, &mut promised);
                let mut refused = false;
                while let Some(errors) = read(engine, id, &mut promised) {
                    refused |= errors;
                }
                if refused {
                    assert_eq!(state(engine), before, "a refused batch changed something");
                }
            }
        }
    }
    for id in clients {
        while read(engine, id, &mut promised).is_some() {}
        assert!(!engine.pending(id));
        assert_eq!(promised.remove(&id).unwrap_or(0), 0, "more was promised than came");
        engine.disconnect(id);
    }
    assert_eq!(engine.clients(), 0);
}

/// A batch of messages with sound headers and any attributes.
fn batch(input: &mut Bytes<'_>, datagram: &mut Vec<u8>) {
    let mut out = Writer::default();
    let nfgen = NfGen { family: 2, version: 0, res_id: 10 };
    let header =
        |kind, flags| Header { kind, flags: flags | NLM_F_REQUEST, seq: 1, pid: 0, len: 0 };
    out.message(header(BATCH_BEGIN, 0), nfgen, |_| {});
    for _ in 0..input.byte() % 8 {
        let (kind, flags) = (10 << 8 | u16::from(input.byte() % 40), input.number() as u16);
        let nfgen = NfGen { family: input.byte() % 16, version: 0, res_id: 0 };
        let attrs = usize::from(input.byte());
        let attrs = input.take(attrs);
        out.message(header(kind, flags), nfgen, |w| w.buf.extend_from_slice(attrs));
    }
    out.message(header(BATCH_END, 0), nfgen, |_| {});
    *datagram = out.buf;
}

fn promise(engine: &mut Engine, id: u64, promised: &mut std::collections::BTreeMap<u64, u32>) {
    if engine.outcome(id, Err(Errno::EINVAL)) & frame::MORE != 0 {
        *promised.entry(id).or_default() += 1;
    }
}

/// Takes what a client is sent next, and says whether an error was in it.
fn read(
    engine: &mut Engine,
    id: u64,
    promised: &mut std::collections::BTreeMap<u64, u32>,
) -> Option<bool> {
    let (words, outgoing) = engine.front(id)?;
    let settled = frame::read(words).0 >> frame::SETTLED_SHIFT;
    let error = Messages::new(&outgoing.bytes).any(|message| {
        message.header.kind == nfnetlink::message::NLMSG_ERROR
            && message.bytes.get(16..20) != Some(&[0; 4])
    });
    engine.sent(id, words);
    let left = promised.entry(id).or_default();
    *left = left.checked_sub(settled).expect("more is settled than was promised");
    Some(error)
}
