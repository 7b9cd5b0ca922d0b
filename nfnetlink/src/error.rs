//! Why a request is refused: an errno, as the kernel would give it, and where in the message the fault lies.

use std::borrow::Cow;
use std::fmt;

/// An errno of Linux. Always positive, below 4096.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($value);)*

            /// Its symbol, as errno(3) has it; `None` for one that this program never gives.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file or directory.";
    EINTR = 4, "Interrupted.";
    E2BIG = 7, "Argument list too long.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EBUSY = 16, "In use.";
    EEXIST = 17, "It exists already.";
    ENODEV = 19, "No such device.";
    EINVAL = 22, "Invalid argument.";
    ENFILE = 23, "Too many of them.";
    ENOSPC = 28, "No space left.";
    EMLINK = 31, "Too many links.";
    EDOM = 33, "Outside of what it is defined for.";
    ERANGE = 34, "Out of range.";
    ENAMETOOLONG = 36, "The name is too long.";
    ELOOP = 40, "A loop.";
    EPROTO = 71, "Protocol error.";
    EBADMSG = 74, "Bad message.";
    EOVERFLOW = 75, "Too large for the type.";
    ERESTART = 85, "Restart.";
    ENODATA = 61, "No data.";
    EMSGSIZE = 90, "Message too long.";
    EPROTONOSUPPORT = 93, "Protocol not supported.";
    EOPNOTSUPP = 95, "Not supported.";
    EAFNOSUPPORT = 97, "Address family not supported.";
    EADDRINUSE = 98, "Address in use.";
    ENOBUFS = 105, "No buffer space.";
    ETIMEDOUT = 110, "Timed out.";
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refusal. What the kernel would answer, and what an extended ACK adds (`NLMSGERR_ATTR_OFFS`, `NLMSGERR_ATTR_MSG`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{errno}{}", .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
pub struct Error {
    /// What went wrong.
    pub errno: Errno,
    /// Bytes from the start of the netlink header to the offending attribute.
    pub offset: Option<u32>,
    /// What to tell the user, where the kernel has words or ours help more.
    pub message: Option<Cow<'static, str>>,
}

impl Error {
    /// A refusal that names no attribute.
    pub const fn new(errno: Errno) -> Self {
        Self { errno, offset: None, message: None }
    }

    /// With words for the user.
    #[must_use]
    pub fn because(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// About this attribute, unless an inner one was named already.
    #[must_use]
    pub fn at(mut self, attr: &crate::Attr<'_>) -> Self {
        self.offset.get_or_insert(attr.offset);
        self
    }

    /// About this attribute, whatever inner one was named: as the kernel does for an expression that it refuses.
    #[must_use]
    pub fn all_at(mut self, attr: &crate::Attr<'_>) -> Self {
        self.offset = Some(attr.offset);
        self
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::new(errno)
    }
}

/// What a decoder or a handler gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;
