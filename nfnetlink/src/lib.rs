//! The wire of netfilter's netlink: messages, attributes, the socket server and the preload library that lets `nft`
//! and `conntrack` drive twinwall unmodified (docs/architecture.md).
//!
//! This crate knows nobody: what a message means is decided by the [`Subsystem`]s that are registered with the server.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod attr;
pub mod error;
pub mod frame;
pub mod message;
pub mod server;
pub mod subsystem;

pub use attr::{Attr, Attrs, Table, Writer};
pub use error::{Errno, Error, Result};
pub use message::{Header, Message, Messages, NfGen};
pub use server::{Engine, Publisher, Server, ServerConfig, Waker};
pub use subsystem::{Client, Dump, Event, Events, Reply, Subsystem};
