//! Reads packets from a classic pcap file (`tcpdump -w`), so that benches and tools can take somebody's own traffic.

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// It has not even a header.
    #[error("shorter than a pcap header")]
    Short,
    /// It begins with something else.
    #[error("not a pcap file (pcapng? convert it: editcap -F pcap)")]
    Magic,
    /// Its packets begin with something else than an Ethernet header.
    #[error("link type {0} is not Ethernet (1)")]
    Link(u32),
}

/// One packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// How long it was on the wire, without FCS.
    pub len: usize,
}

/// The packets of a capture. Both byte orders, micro- and nanoseconds, Ethernet only; a record that is cut off by the end of
/// the file ends it.
///
/// # Errors
///
/// It is another kind of file.
pub fn packets(file: &[u8]) -> Result<Vec<Captured<'_>>, PcapError> {
    let (header, mut rest) = file.split_at_checked(24).ok_or(PcapError::Short)?;
    let big = match header {
        [0xa1, 0xb2, 0xc3 | 0x3c, 0xd4 | 0x4d, ..] => true,
        [0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1, ..] => false,
        _ => return Err(PcapError::Magic),
    };
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    };
    match word(header, 20) {
        Some(1) => {}
        kind => return Err(PcapError::Link(kind.unwrap_or_default())),
    }
    let mut packets = Vec::new();
    while let Some((record, behind)) = rest.split_at_checked(16) {
        let (Some(captured), Some(len)) = (word(record, 8), word(record, 12)) else { break };
        let Some((bytes, behind)) = behind.split_at_checked(captured as usize) else { break };
        packets.push(Captured { bytes, len: len as usize });
        rest = behind;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::{Captured, PcapError, packets};

    fn file(big: bool, records: &[(&[u8], u32)]) -> Vec<u8> {
        let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut file = word(0xa1b2_c3d4).to_vec();
        file.extend([0; 16]);
        file.extend(word(1));
        for (bytes, len) in records {
            file.extend([0; 8]);
            file.extend(word(bytes.len() as u32));
            file.extend(word(*len));
            file.extend(*bytes);
        }
        file
    }

    #[test]
    fn both_byte_orders_are_read() {
        for big in [false, true] {
            let file = file(big, &[(b"abc", 100), (b"defg", 4)]);
            let expected =
                [Captured { bytes: b"abc", len: 100 }, Captured { bytes: b"defg", len: 4 }];
            assert_eq!(packets(&file).unwrap(), expected);
            assert_eq!(
                packets(&file[..file.len() - 1]).unwrap(),
                expected[..1],
                "the last is cut off"
            );
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(packets(b"short"), Err(PcapError::Short));
        assert_eq!(packets(&[0; 64]), Err(PcapError::Magic));
        let mut wifi = file(true, &[]);
        wifi[23] = 105;
        assert_eq!(packets(&wifi), Err(PcapError::Link(105)));
    }
}
