//! The state of the kernel interface under af_packet, af_xdp and pcap devices: their drivers call the link up whatever
//! happens to it.
//!
//! The socket belongs to the network namespace in which the port was opened, so any thread may ask.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// A kernel interface, by name.
#[derive(Debug)]
pub(super) struct KernelLink {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl KernelLink {
    /// Will watch an interface of the calling thread's network namespace.
    pub(super) fn new(interface: &str) -> io::Result<KernelLink> {
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (place, byte) in name.iter_mut().zip(interface.bytes()) {
            *place = byte as libc::c_char;
        }
        // SAFETY: makes a new descriptor, which is ours when it is valid.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(KernelLink { socket, name })
    }

    /// Whether the interface is there, up, and has carrier. (netdevice(7), SIOCGIFFLAGS)
    pub(super) fn is_running(&self) -> bool {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
        };
        // SAFETY: `request` is valid and its name ends with a zero byte; on success the kernel filled in the flags.
        let flags = unsafe {
            if libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 {
                return false;
            }
            i32::from(request.ifr_ifru.ifru_flags)
        };
        let both = libc::IFF_UP | libc::IFF_RUNNING;
        flags & both == both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_does_not_run() {
        assert!(!KernelLink::new("nosuchif0").unwrap().is_running());
        assert!(KernelLink::new("a-name-that-is-too-long").is_err());
    }
}
