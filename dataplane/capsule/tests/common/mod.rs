//! What the tests share. EAL starts once per process, so each file in this folder holds one test.
#![allow(
    dead_code,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

use std::time::{Duration, Instant};

use capsule::{Eal, EalConfig, Hugepages, Mbuf, MbufPool, MbufPools, Port, PortConfig, PortIo};
use packet::{Burst, Frame, FramePool, PacketIo, PortIndex};

/// DPDK without hugepages and with little memory: it starts anywhere, also for an unprivileged user. With
/// `CAPSULE_TEST_HUGEPAGES=1` in the environment the same tests run on hugepages.
pub fn eal() -> Eal {
    let hugepages = if std::env::var_os("CAPSULE_TEST_HUGEPAGES").is_some() {
        Hugepages::Require
    } else {
        Hugepages::Off
    };
    let config = EalConfig { memory_mib: 64, hugepages, ..EalConfig::default() };
    let eal = Eal::start(&config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(eal.has_hugepages(), hugepages == Hugepages::Require);
    // Nothing is left on disk, not even an empty folder.
    let left = format!("/var/run/dpdk/capsule-{}", std::process::id());
    assert!(!std::path::Path::new(&left).exists(), "{left}");
    eal
}

/// Small pools.
pub fn pools() -> MbufPools {
    MbufPools::new("test", 8191, 64)
}

/// Opens and starts a port with one queue.
pub fn port(name: &str, device: &str, pools: &MbufPools) -> Port {
    let port =
        Port::open(&PortConfig::new(name, device), pools).unwrap_or_else(|error| panic!("{error}"));
    port.start().unwrap_or_else(|error| panic!("{error}"));
    port
}

/// One worker's queues, for the test's own thread.
pub fn io(ports: &[Port], pools: &MbufPools) -> PortIo {
    PortIo::for_workers(ports, &[0], pools).unwrap_or_else(|error| panic!("{error}")).remove(0)
}

/// A frame of `len` bytes that tell their place, as an Ethernet frame of a local experimental type.
pub fn frame(pool: &MbufPool, len: usize) -> Mbuf {
    let mut frame = pool.alloc().expect("a free mbuf");
    assert!(frame.append(&pattern(len)));
    frame
}

/// The bytes of [`frame`].
pub fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes.extend((bytes.len()..len).map(|i| (i * 7 + i / 256) as u8));
    bytes.truncate(len);
    bytes
}

/// All bytes of a frame.
pub fn bytes(frame: &Mbuf) -> Vec<u8> {
    frame.segments().flatten().copied().collect()
}

/// Where each segment's bytes lie.
pub fn addresses(frame: &Mbuf) -> Vec<(*const u8, usize)> {
    frame.segments().map(|segment| (segment.as_ptr(), segment.len())).collect()
}

/// Sends one frame; it must be taken.
pub fn send(io: &mut PortIo, port: u16, frame: Mbuf) {
    let mut burst = Burst::new();
    burst.push(frame);
    assert_eq!(io.tx(PortIndex(port), &mut burst), 1);
    assert!(burst.is_empty());
}

/// Receives until `n` frames came that `wanted` likes, at most five seconds; others are freed.
pub fn receive(io: &mut PortIo, port: u16, n: usize, wanted: impl Fn(&Mbuf) -> bool) -> Vec<Mbuf> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    while got.len() < n {
        let mut burst = Burst::new();
        io.rx(PortIndex(port), &mut burst);
        got.extend(burst.drain(..).filter(|frame| wanted(frame)));
        assert!(Instant::now() < end, "{} of {n} frames came", got.len());
    }
    got
}

/// Waits until something is true, at most five seconds.
pub fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !is_true() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the ports and proves that every mbuf is home.
pub fn all_home(io: PortIo, ports: Vec<Port>, pools: &MbufPools) {
    drop(io);
    for port in &ports {
        port.stop().unwrap_or_else(|error| panic!("{error}"));
    }
    drop(ports);
    for (socket, pool) in pools.all() {
        assert_eq!(pool.in_use(), 0, "mbufs of socket {socket} leaked");
        assert_eq!(pool.available(), pool.capacity());
    }
}

/// Moves the test's thread (and those it will start) into a network namespace of its own, which goes with the process.
/// False, said loudly, where that is not permitted.
pub fn own_network() -> bool {
    // SAFETY: changes the namespace of the calling thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        return true;
    }
    println!("SKIPPED: no network namespace can be made here (run as root)");
    false
}

/// Runs `ip` or another tool; it must succeed.
pub fn tool(line: &str) {
    let mut words = line.split_whitespace();
    let output = std::process::Command::new(words.next().unwrap())
        .args(words)
        .output()
        .expect("the tool is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A pair of virtual Ethernet links `a` and `b`, up, without offloads and without frames of the kernel's own.
pub fn veth(a: &str, b: &str, mtu: u16) {
    tool(&format!("ip link add {a} type veth peer name {b}"));
    for name in [a, b] {
        let _no_ipv6 = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        tool(&format!("ip link set {name} mtu {mtu} up"));
        tool(&format!("ethtool -K {name} tx off rxvlan off txvlan off"));
    }
}

/// A raw packet socket on an interface: the test's other end.
pub struct Wire(std::os::fd::OwnedFd);

impl Wire {
    pub fn on(interface: &str) -> Wire {
        use std::os::fd::FromRawFd;
        let name = std::ffi::CString::new(interface).unwrap();
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain calls; the address is a valid structure of the size given; the descriptor is ours.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol));
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            assert_ne!(address.sll_ifindex, 0, "{interface}");
            let length = size_of_val(&address) as libc::socklen_t;
            assert_eq!(libc::bind(fd, (&raw const address).cast(), length), 0);
            // The kernel takes VLAN tags out of the bytes; it tells them beside.
            let on: libc::c_int = 1;
            let option = (&raw const on).cast();
            assert_eq!(
                libc::setsockopt(
                    fd,
                    libc::SOL_PACKET,
                    libc::PACKET_AUXDATA,
                    option,
                    size_of_val(&on) as u32
                ),
                0
            );
            Wire(std::os::fd::OwnedFd::from_raw_fd(fd))
        }
    }

    pub fn send(&self, bytes: &[u8]) {
        use std::os::fd::AsRawFd;
        // SAFETY: `bytes` is valid for its length.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(sent, bytes.len() as isize, "{}", std::io::Error::last_os_error());
    }

    /// The next frame that `wanted` likes, within five seconds. The kernel's own sending on the interface is not received.
    pub fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        use std::os::fd::AsRawFd;
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(bytes) = self.receive_one(self.0.as_raw_fd())
                && wanted(&bytes)
            {
                return bytes;
            }
            assert!(Instant::now() < end, "no frame came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn receive_one(&self, fd: std::os::fd::RawFd) -> Option<Vec<u8>> {
        let (mut buffer, mut control) = (vec![0u8; 65_536], [0u64; 16]);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the message points to valid places of the lengths given; the auxiliary data are read as the kernel wrote
        // them (struct tpacket_auxdata, linux/if_packet.h).
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
            (message.msg_control, message.msg_controllen) =
                (control.as_mut_ptr().cast(), size_of_val(&control));
            let got = libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT);
            if got < 0 {
                return None;
            }
            buffer.truncate(got as usize);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if !header.is_null() && (*header).cmsg_type == libc::PACKET_AUXDATA {
                let aux = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let tag = [0x81, 0x00, (aux.tp_vlan_tci >> 8) as u8, aux.tp_vlan_tci as u8];
                    buffer.splice(12..12, tag);
                }
            }
            Some(buffer)
        }
    }
}

/// Compares bytes and tells the first difference, not all of them.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8]) {
    let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        got == wanted,
        "{} bytes, {} wanted, first difference at {differs:?}",
        got.len(),
        wanted.len()
    );
}

/// Whether bytes begin as [`pattern`] does, behind the addresses or a VLAN tag.
pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[0x88, 0xb5]) || bytes.get(12..14) == Some(&[0x81, 0x00])
}

/// [`pattern`] with a VLAN tag.
pub fn tagged(len: usize, tci: u16) -> Vec<u8> {
    let mut bytes = pattern(len);
    let tag = [0x81, 0x00, (tci >> 8) as u8, tci as u8];
    bytes.splice(12..12, tag);
    bytes
}
