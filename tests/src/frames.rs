//! Raw frames: sent on a device byte for byte, and caught on one.
//!
//! A packet socket takes what no kernel stack would send. Python opens it, so that this crate needs no `unsafe`.

use crate::{LabError, Netns, Process, Result, process::unique};
use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

const SEND: &str = "
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for n, line in enumerate(open(sys.argv[2])):
    s.send(bytes.fromhex(line.strip()))
    if n % 64 == 63: time.sleep(0.005)
";

/// Sends frames by a device in a namespace, in order, in bursts that a small receive ring holds.
///
/// A frame of under 14 bytes is refused by the kernel itself.
pub fn send_frames(netns: &Netns, dev: &str, frames: &[Vec<u8>]) -> Result<()> {
    let path = unique(netns.scratch(), "frames").with_extension("hex");
    let mut text = String::new();
    for frame in frames {
        for byte in frame {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    fs::write(&path, text).map_err(|source| LabError::File { path: path.clone(), source })?;
    netns.run(&["python3", "-c", SEND, dev, &path.display().to_string()]).map(|_| ())
}

// The kernel hands a VLAN tag over beside the frame (packet(7), PACKET_AUXDATA; linux/if_packet.h): it is put back.
const SNIFF: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 8, 1)
s.bind((sys.argv[1], 3))
print('ready', flush=True)
while True:
    frame, anc, _, addr = s.recvmsg(65536, 256)
    for level, kind, data in anc:
        if (level, kind) == (263, 8):
            status, _, _, _, _, tci, tpid = struct.unpack('IIIHHHH', data[:20])
            if status & 16: frame = frame[:12] + struct.pack('!HH', tpid if status & 64 else 0x8100, tci) + frame[12:]
    if addr[2] != 4: print(frame.hex(), flush=True)
";

/// Catches every frame that arrives on a device, until dropped.
#[derive(Debug)]
pub struct Sniffer {
    process: Process,
}

impl Sniffer {
    /// Starts it; frames that come after this returns are not missed.
    pub fn start(netns: &Netns, dev: &str) -> Result<Self> {
        let mut process = netns.start(&["python3", "-c", SNIFF, dev])?;
        process.wait_for_output("ready", Duration::from_secs(10))?;
        Ok(Self { process })
    }

    /// The frames so far.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let text = self.process.output();
        text.lines().skip(1).filter_map(from_hex).collect()
    }
}

/// A line of hexadecimal digits as bytes; none when it is still being written.
fn from_hex(line: &str) -> Option<Vec<u8>> {
    if !line.len().is_multiple_of(2) {
        return None;
    }
    line.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// A file of `bytes` bytes that no compression helps, different in each block; the same for the same size.
pub(crate) fn noise(path: &PathBuf, bytes: usize) -> Result<()> {
    // xorshift64*: the file is only to be told from any other by its checksum.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(bytes);
    while data.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        data.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    data.truncate(bytes);
    fs::write(path, data).map_err(|source| LabError::File { path: path.clone(), source })
}
