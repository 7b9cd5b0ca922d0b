//! What a device can do for us, what it is asked for, and what is done in software instead.

use dpdk_sys as sys;

/// Work that a device may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offload {
    /// Verifying the IPv4 header checksum on receipt.
    RxIpChecksum,
    /// Verifying TCP, UDP and SCTP checksums on receipt.
    RxL4Checksum,
    /// Taking the outer VLAN tag out of received frames.
    RxVlanStrip,
    /// Receiving a frame into several segments.
    RxScatter,
    /// Spreading flows over queues by a hash, and telling the hash.
    Rss,
    /// Putting a VLAN tag into sent frames. In software where it cannot.
    TxVlanInsert,
    /// Sending a frame of several segments. Copied into one where it cannot.
    TxMultiSegment,
}

impl Offload {
    /// All of them.
    pub const ALL: [Offload; 7] = [
        Offload::RxIpChecksum,
        Offload::RxL4Checksum,
        Offload::RxVlanStrip,
        Offload::RxScatter,
        Offload::Rss,
        Offload::TxVlanInsert,
        Offload::TxMultiSegment,
    ];

    /// The name in output for users.
    pub const fn name(self) -> &'static str {
        match self {
            Offload::RxIpChecksum => "rx_ip_checksum",
            Offload::RxL4Checksum => "rx_l4_checksum",
            Offload::RxVlanStrip => "rx_vlan_strip",
            Offload::RxScatter => "rx_scatter",
            Offload::Rss => "rss",
            Offload::TxVlanInsert => "tx_vlan_insert",
            Offload::TxMultiSegment => "tx_multi_segment",
        }
    }
}

/// What is in use on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Offloads that the device has and the port uses.
    pub offloads: Vec<Offload>,
    /// Queues in each direction that are set up: never more than workers, maybe fewer.
    pub queues: u16,
    /// Queues in each direction that the device could have.
    pub max_queues: u16,
    /// Receive descriptors per queue, as adjusted to the device.
    pub rx_descriptors: u16,
    /// Transmit descriptors per queue, as adjusted to the device.
    pub tx_descriptors: u16,
    /// The largest MTU, bytes.
    pub max_mtu: u16,
    /// Length of the RSS key that was programmed, bytes; 0 without RSS.
    pub rss_key_len: u8,
}

impl Capabilities {
    /// Whether the port uses an offload.
    pub fn has(&self, offload: Offload) -> bool {
        self.offloads.contains(&offload)
    }
}

/// The Toeplitz key that RSS is programmed with. Sixteen bits repeated make it symmetric: both directions of a flow hash to
/// the same value, and so come to the same worker (Woo and Park, "Scalable TCP session monitoring with symmetric RSS").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RssKey(pub [u8; RssKey::MAX]);

impl RssKey {
    /// The longest key that a device takes, bytes (i40e); most take the first 40.
    pub const MAX: usize = 52;

    /// The symmetric key of these 16 bits.
    pub fn symmetric(seed: [u8; 2]) -> RssKey {
        let [high, low] = seed;
        RssKey(std::array::from_fn(|i| if i.is_multiple_of(2) { high } else { low }))
    }
}

/// Flows that RSS is asked to hash: by addresses and ports where there are ports, by addresses otherwise.
pub(crate) const RSS_FLOWS: u64 = sys::DPDK_SYS_RTE_ETH_RSS_IPV4
    | sys::DPDK_SYS_RTE_ETH_RSS_FRAG_IPV4
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_TCP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_UDP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_SCTP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_OTHER
    | sys::DPDK_SYS_RTE_ETH_RSS_IPV6
    | sys::DPDK_SYS_RTE_ETH_RSS_FRAG_IPV6
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_TCP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_UDP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_SCTP
    | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_OTHER;

/// The device's bits of the offloads that are `wanted` and present: for receiving, for sending, and as a list.
pub(crate) fn choose(
    info: &sys::rte_eth_dev_info,
    wanted: impl Fn(Offload) -> bool,
) -> (u64, u64, Vec<Offload>) {
    let (mut rx, mut tx, mut list) = (0, 0, Vec::new());
    for offload in Offload::ALL {
        let (rx_bits, tx_bits) = match offload {
            Offload::RxIpChecksum => (sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_IPV4_CKSUM, 0),
            Offload::RxL4Checksum => {
                let both = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_TCP_CKSUM
                    | sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
                (both | info.rx_offload_capa & sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_SCTP_CKSUM, 0)
            }
            Offload::RxVlanStrip => (sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_VLAN_STRIP, 0),
            Offload::RxScatter => (sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_SCATTER, 0),
            // The hash's delivery is a bit of its own, which not every device with RSS has.
            Offload::Rss => (info.rx_offload_capa & sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_RSS_HASH, 0),
            Offload::TxVlanInsert => (0, sys::DPDK_SYS_RTE_ETH_TX_OFFLOAD_VLAN_INSERT),
            Offload::TxMultiSegment => (0, sys::DPDK_SYS_RTE_ETH_TX_OFFLOAD_MULTI_SEGS),
        };
        let spreads = offload != Offload::Rss || info.flow_type_rss_offloads & RSS_FLOWS != 0;
        let present =
            info.rx_offload_capa & rx_bits == rx_bits && info.tx_offload_capa & tx_bits == tx_bits;
        if spreads && present && wanted(offload) {
            rx |= rx_bits;
            tx |= tx_bits;
            list.push(offload);
        }
    }
    (rx, tx, list)
}

/// Whether an offload of this driver is better left off though the device offers it.
pub(crate) fn harmful(driver: &str, offload: Offload) -> bool {
    match offload {
        // A virtio peer may hand over partial checksums once receive checksums are negotiated, and forwarding would send
        // them on to a wire; the tap driver verifies in software what the pipeline looks at anyway.
        Offload::RxIpChecksum | Offload::RxL4Checksum => {
            driver.contains("virtio") || driver.contains("vhost") || driver.contains("tap")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_keys_repeat_their_seed() {
        let RssKey(key) = RssKey::symmetric([0x6d, 0x5a]);
        assert!(key.chunks(2).all(|pair| pair == [0x6d, 0x5a]));
    }

    #[test]
    fn virtio_keeps_its_checksums_whole() {
        for driver in ["net_vhost", "net_virtio_user", "net_virtio", "net_tap"] {
            assert!(harmful(driver, Offload::RxL4Checksum), "{driver}");
        }
        assert!(
            !harmful("net_ixgbe", Offload::RxL4Checksum)
                && !harmful("net_vhost", Offload::TxMultiSegment)
        );
    }
}
