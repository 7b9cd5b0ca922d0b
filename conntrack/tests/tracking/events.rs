//! What is told of each packet: the messages that the kernel sends to `conntrack -E`, and ours, byte by byte but for ids and
//! seconds. Ends are left out: the kernel tells them when its collector comes by.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use conntrack::netlink::{Epoch, event_message};
use nfnetlink::{Attrs, Messages};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::packets::Packet;

/// `LISTEN_NEW` and `LISTEN_UPDATE`, which are the bits of the kernel's groups, too.
const NEW_AND_UPDATE: u32 = 3;

/// A socket that hears of flows in the thread's namespace.
fn listen() -> OwnedFd {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::NONBLOCK,
        Some(netlink::NETFILTER),
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, NEW_AND_UPDATE)).unwrap();
    socket
}

/// The messages of a datagram, without what is another at each run.
fn masked(datagram: &[u8]) -> Vec<String> {
    let message = |message: nfnetlink::Message<'_>| {
        let header = message.header;
        let attrs = message.bytes.get(20..).unwrap_or_default();
        let mut text = format!("{:x}/{:x} {:?}", header.kind, header.flags, message.nfgen());
        for attr in Attrs::new(attrs, 0) {
            match attr.kind {
                7 | 12 => text += &format!(" {}", attr.kind),
                kind => text += &format!(" {kind}:{:02x?}", attr.data),
            }
        }
        text
    };
    Messages::new(datagram).map(message).collect()
}

fn heard(socket: &OwnedFd) -> Vec<String> {
    let mut buffer = vec![0; 65_536];
    let mut all = Vec::new();
    while let Ok((len, _)) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
        all.extend(masked(&buffer[..len]));
    }
    all
}

fn told(ours: &mut Ours) -> Vec<String> {
    let mut all = Vec::new();
    ours.shard.take_events(&mut |event| {
        let (_, message) = event_message(&event, Epoch(0)).unwrap();
        all.extend(masked(&message));
    });
    all
}

#[test]
fn what_is_told_of_each_packet_is_what_the_kernel_tells() {
    let Some(mut kernel) = Kernel::new() else { return };
    let socket = listen();
    let begin = || {
        let mut ours = Ours::new();
        ours.shard.listen(NEW_AND_UPDATE);
        ours
    };
    let mut ours = begin();
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut packets, mut events) = (0, 0);
    let mut different = Vec::new();
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        for (n, line) in format!("\n{script}").lines().enumerate() {
            let command = line.split_once(" = ").map_or(line, |(command, _)| command);
            let words: Vec<&str> = command.split_whitespace().collect();
            match words[..] {
                [] => {
                    kernel.reset();
                    ours = begin();
                }
                ["#", ..] => {}
                ["set", name, value] => {
                    kernel.set(name, value);
                    ours.shard.settings_mut().set(name, value.parse().unwrap()).unwrap();
                }
                ["wait", seconds] => {
                    let time = Duration::from_secs_f64(seconds.parse().unwrap());
                    std::thread::sleep(time);
                    ours.wait(time);
                }
                _ => {
                    let packet = Packet::parse(command);
                    kernel.send(&packet);
                    ours.send(&packet);
                    let (wanted, got) = (heard(&socket), told(&mut ours));
                    packets += 1;
                    events += wanted.len();
                    if wanted != got {
                        let name = path.file_name().unwrap().to_string_lossy();
                        different.push(format!(
                            "{name}:{n}: {line}\n  kernel: {wanted:#?}\n  ours:   {got:#?}"
                        ));
                    }
                }
            }
        }
    }
    println!("{packets} packets, {events} events");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    assert!(events > 100, "nothing was told");
}
