//! Opening one link's socket.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{MultiHeaders, SockaddrStorage, setsockopt, sockopt};
use rustix::net::sockopt as options;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice};

use super::{BATCH, HOPS, LinkConfig, RECEIVE_BUFFER, SEND_BUFFER, Target};

/// DSCP CS6: network control (RFC 4594), so that switches prefer it.
const CS6: u8 = 48 << 2;

/// An open socket on an interface.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    /// The interface's number: another of the same name is another interface.
    index: u32,
    /// Whom datagrams go to.
    pub(super) addresses: Vec<SockaddrStorage>,
    /// Bytes that the kernel holds of what is received, and of what is sent.
    pub(super) buffers: (usize, usize),
    /// For receiving. The kernel leaves in it how much room control messages took; that is the same for all, for each has one: its
    /// TTL or hop limit.
    pub(super) headers: MultiHeaders<()>,
}

impl Socket {
    /// A socket for this link.
    pub(super) fn open(config: &LinkConfig) -> io::Result<Self> {
        let addresses: &[IpAddr] = match &config.target {
            Target::Group(group) => std::slice::from_ref(group),
            Target::Peers(peers) => peers,
        };
        let v6 = addresses.iter().any(IpAddr::is_ipv6);
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        let index = netdevice::name_to_index(&fd, &config.interface)?;
        // First: so that another link's socket on the same port is no conflict.
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(&config.interface))?;
        if v6 {
            options::set_ipv6_v6only(&fd, true)?;
            setsockopt(&fd, sockopt::Ipv6RecvHopLimit, &true)?;
            options::set_ipv6_unicast_hops(&fd, Some(HOPS))?;
            options::set_ipv6_mtu_discover(&fd, Ipv6PathMtuDiscovery::DO)?;
            options::set_ipv6_tclass(&fd, u32::from(CS6))?;
        } else {
            setsockopt(&fd, sockopt::Ipv4RecvTtl, &true)?;
            options::set_ip_ttl(&fd, u32::from(HOPS))?;
            options::set_ip_mtu_discover(&fd, Ipv4PathMtuDiscovery::DO)?;
            options::set_ip_tos(&fd, CS6)?;
        }
        let local = match config.target {
            Target::Group(IpAddr::V4(group)) => {
                let any = Ipv4Addr::UNSPECIFIED;
                options::set_ip_multicast_if_with_ifindex(&fd, &any, &any, index)?;
                options::set_ip_multicast_loop(&fd, false)?;
                options::set_ip_multicast_ttl(&fd, u32::from(HOPS))?;
                options::set_ip_add_membership_with_ifindex(&fd, &group, &any, index)?;
                IpAddr::V4(group)
            }
            Target::Group(IpAddr::V6(group)) => {
                options::set_ipv6_multicast_if(&fd, index)?;
                options::set_ipv6_multicast_loop(&fd, false)?;
                options::set_ipv6_multicast_hops(&fd, u32::from(HOPS))?;
                options::set_ipv6_add_membership(&fd, &group, index)?;
                IpAddr::V6(group)
            }
            Target::Peers(_) if v6 => Ipv6Addr::UNSPECIFIED.into(),
            Target::Peers(_) => Ipv4Addr::UNSPECIFIED.into(),
        };
        let buffers = buffers(&fd)?;
        rustix::net::bind(&fd, &scoped(local, config.port, index))?;
        let addresses = addresses.iter().map(|addr| scoped(*addr, config.port, index).into());
        let headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(i32)));
        Ok(Self { addresses: addresses.collect(), fd, index, buffers, headers })
    }

    /// Whether the interface of this name is still the one that the socket is bound to.
    pub(super) fn is_current(&self, interface: &str) -> bool {
        netdevice::name_to_index(&self.fd, interface) == Ok(self.index)
    }
}

/// An address with port; one that has a meaning only on a link is of this interface's.
fn scoped(addr: IpAddr, port: u16, index: u32) -> SocketAddr {
    match addr {
        IpAddr::V4(_) => SocketAddr::new(addr, port),
        IpAddr::V6(addr) => {
            let (unicast, multicast) = (addr.is_unicast_link_local(), addr.is_multicast());
            let scope = if unicast || multicast { index } else { 0 };
            SocketAddrV6::new(addr, port, 0, scope).into()
        }
    }
}

/// Asks for large buffers; what there is then, in the sense in which it was asked for (the kernel tells the double).
fn buffers(fd: impl AsFd) -> io::Result<(usize, usize)> {
    let fd = fd.as_fd();
    if options::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
        options::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    }
    if options::set_socket_send_buffer_size_force(fd, SEND_BUFFER).is_err() {
        options::set_socket_send_buffer_size(fd, SEND_BUFFER)?;
    }
    Ok((options::socket_recv_buffer_size(fd)? / 2, options::socket_send_buffer_size(fd)? / 2))
}
