//! Why a packet was dropped: one flat enum, each value counted once, each provoked by a test.

/// Defines [`DropReason`] with the name and the sentence that users see.
macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $help:literal;)*) => {
        /// Why a packet was dropped. The numbers index counters and may change between versions; the names do not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $help] $variant,)*
        }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name, as shown by `twinwall drops` and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One sentence for people.
            pub const fn help(self) -> &'static str {
                match self { $(DropReason::$variant => $help,)* }
            }
        }
    };
}

drop_reasons! {
    // layer 2
    EthTruncated = "eth_truncated", "The frame ends inside its Ethernet header.";
    VlanTruncated = "vlan_truncated", "The frame ends inside a VLAN tag.";
    VlanTooDeep = "vlan_too_deep", "The frame carries more than two VLAN tags.";
    EtherTypeUnknown = "ethertype_unknown", "A routed port takes IPv4, IPv6 and ARP; this is something else.";
    NotOurMac = "not_our_mac", "The destination MAC address is another station's.";
    VlanUnknown = "vlan_unknown", "No interface of the port has this VLAN.";
    InterfaceDown = "interface_down", "The interface is administratively down or has no carrier.";
    // ARP
    ArpTruncated = "arp_truncated", "The frame ends inside its ARP message.";
    ArpMalformed = "arp_malformed", "The ARP message is not for IPv4 over Ethernet.";
    // IPv4
    Ip4Truncated = "ip4_truncated", "The frame ends inside its IPv4 header.";
    Ip4BadVersion = "ip4_bad_version", "The IPv4 header's version is not 4.";
    Ip4BadHeaderLength = "ip4_bad_header_length", "The IPv4 header length is under 20 bytes or over the total length.";
    Ip4BadTotalLength = "ip4_bad_total_length", "The IPv4 total length exceeds the frame.";
    Ip4BadChecksum = "ip4_bad_checksum", "The IPv4 header checksum is wrong.";
    Ip4BadOptions = "ip4_bad_options", "An IPv4 option's length is impossible.";
    Ip4SourceRoute = "ip4_source_route", "The IPv4 packet asks for source routing (RFC 7126).";
    Ip4BadFragment = "ip4_bad_fragment", "The IPv4 fragment would end beyond 65,535 bytes, or is an empty or misaligned middle.";
    Ip4BadSource = "ip4_bad_source", "The IPv4 source cannot be a sender (multicast, broadcast, loopback, this network).";
    Ip4BadDestination = "ip4_bad_destination", "The IPv4 destination cannot be on a wire (loopback, this network, class E).";
    // IPv6
    Ip6Truncated = "ip6_truncated", "The frame ends inside its IPv6 header.";
    Ip6BadVersion = "ip6_bad_version", "The IPv6 header's version is not 6.";
    Ip6BadPayloadLength = "ip6_bad_payload_length", "The IPv6 payload length exceeds the frame.";
    Ip6ExtTruncated = "ip6_ext_truncated", "The packet ends inside an IPv6 extension header.";
    Ip6ExtTooMany = "ip6_ext_too_many", "The packet has more IPv6 extension headers than are followed.";
    Ip6ExtOrder = "ip6_ext_order", "A hop-by-hop header is not the first IPv6 extension header (RFC 8200, 4.1).";
    Ip6RoutingHeader = "ip6_routing_header", "The IPv6 packet carries a type 0 routing header (RFC 5095).";
    Ip6BadFragment = "ip6_bad_fragment", "The IPv6 fragment would end beyond 65,535 bytes, is an empty or misaligned middle, or a fragment of a fragment.";
    Ip6BadSource = "ip6_bad_source", "The IPv6 source cannot be a sender (multicast, loopback, unspecified, IPv4-mapped).";
    Ip6BadDestination = "ip6_bad_destination", "The IPv6 destination cannot be on a wire (loopback, unspecified, a group inside the node).";
    Ip6Scope = "ip6_scope", "A link-local IPv6 address would have left its link.";
    // layer 4
    TcpTruncated = "tcp_truncated", "The packet ends inside its TCP header.";
    TcpBadOffset = "tcp_bad_offset", "The TCP data offset is under 20 bytes.";
    UdpTruncated = "udp_truncated", "The packet ends inside its UDP header.";
    UdpBadLength = "udp_bad_length", "The UDP length is under 8 bytes or exceeds the packet.";
    IcmpTruncated = "icmp_truncated", "The packet ends inside its ICMP header.";
    Icmp6Truncated = "icmp6_truncated", "The packet ends inside its ICMPv6 header.";
    SctpTruncated = "sctp_truncated", "The packet ends inside its SCTP header.";
    GreTruncated = "gre_truncated", "The packet ends inside its GRE header.";
    GreMalformed = "gre_malformed", "The GRE version or its reserved bits are unknown (RFC 2784, RFC 2637).";
    L4BadChecksum = "l4_bad_checksum", "The device found the TCP, UDP or SCTP checksum wrong.";
    // forwarding
    L2Broadcast = "l2_broadcast", "A unicast packet came in a broadcast or multicast frame (RFC 1812, 5.3.4).";
    TtlExpired = "ttl_expired", "The TTL or hop limit ran out here.";
    NoRoute = "no_route", "No route leads to the destination.";
    Blackhole = "blackhole", "A blackhole route took the packet.";
    Unreachable = "unreachable", "An unreachable route refused the packet.";
    Prohibited = "prohibited", "A prohibit route refused the packet.";
    TooBig = "too_big", "The packet exceeds the next link's MTU and may not be fragmented.";
    FragmentFailed = "fragment_failed", "The packet had to be fragmented, and there was no memory or its options do not fit.";
    NeighbourQueueFull = "neighbour_queue_full", "Too many packets wait for the next hop's address.";
    NeighbourFailed = "neighbour_failed", "The next hop did not answer for its address.";
    NoPeer = "no_peer", "The port's pair is not there.";
    // fragments of tracked packets
    FragmentTiny = "fragment_tiny", "A TCP header was split so that a fragment begins inside it (RFC 1858, RFC 3128).";
    FragmentOverlap = "fragment_overlap", "Fragments of the datagram overlap, or do not agree on its length (RFC 5722).";
    FragmentTwice = "fragment_twice", "The fragment was there already.";
    FragmentNoRoom = "fragment_no_room", "Too many fragments, bytes or datagrams wait for their first fragment.";
    FragmentTimeout = "fragment_timeout", "The datagram's first fragment did not come in time.";
    FragmentRefused = "fragment_refused", "The datagram's first fragment was dropped, so this one is, too.";
    // translation
    NatFragment = "nat_fragment", "A fragment of SCTP needs another port, and the CRC is over fragments that are not here.";
    NatMoved = "nat_moved", "The packet's flow is masqueraded behind another interface than it leaves by now; it ended.";
    NatRedirect = "nat_redirect", "An ICMP redirect speaks of a translated flow, whose addresses mean nothing to who gets it.";
    NatTruncated = "nat_truncated", "An ICMP error quotes too little of a translated packet.";
    // rules
    RuleIngress = "rule_ingress", "A rule on the device that the frame came by dropped it.";
    RulePrerouting = "rule_prerouting", "A rule dropped the packet before it was routed.";
    RuleInput = "rule_input", "A rule dropped the packet on its way to this node.";
    RuleForward = "rule_forward", "A rule dropped the packet on its way through.";
    RuleOutput = "rule_output", "A rule dropped the packet, which this node sent.";
    RulePostrouting = "rule_postrouting", "A rule dropped the packet when it was about to leave.";
    RuleEgress = "rule_egress", "A rule on the device that the frame was to leave by dropped it.";
    RuleArp = "rule_arp", "A rule dropped the ARP message.";
    RuleBridge = "rule_bridge", "A rule dropped the frame on its way between the ports of a pair.";
    RuleRejected = "rule_rejected", "A rule refused the packet, and the sender was told where that is allowed.";
    RuleNowhere = "rule_nowhere", "A rule sent the packet where nothing is: no such interface, no neighbour, or round and round.";
    QueueNobody = "queue_nobody", "A rule gave the packet to a program, but none listens to that queue.";
    // connections
    FlowTableFull = "flow_table_full", "The flow table was full, and none of the flows near could be given up.";
    FlowClash = "flow_clash", "Another flow was there first with the same addresses and ports.";
    NatExhausted = "nat_exhausted", "No address and port was free to translate the flow to.";
    // a pair of nodes
    Standby = "standby", "Another node of the cluster forwards; this one stands by.";
    Passive = "passive", "This node only watches: what it would have sent ends here.";
    LeaseOver = "lease_over", "The node stood still for so long that another may forward by now.";
    DeferFull = "defer_full", "Too many first packets wait until a standby has their flow.";
    DeferTimeout = "defer_timeout", "No standby had the packet's flow in time, and the configuration is strict.";
    // resources
    NoMemory = "no_memory", "No frame was free in the pool, or no headroom in the frame.";
    HandoffFull = "handoff_full", "The ring to the worker that owns the packet's flow was full.";
    TwinQueueFull = "twin_queue_full", "The queue to the kernel twin was full.";
    TxFull = "tx_full", "The transmit queue was full twice.";
    TxTooLong = "tx_too_long", "The frame is longer than the port can send.";
    PortDown = "port_down", "The port's link is down.";
    Shutdown = "shutdown", "The packet waited when the worker stopped.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_indices_dense() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert_eq!(
                DropReason::ALL.iter().filter(|other| other.name() == reason.name()).count(),
                1
            );
            assert!(reason.help().ends_with('.'), "{}", reason.name());
        }
    }
}
