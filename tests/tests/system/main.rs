//! The system tests: `twinwall run` in a laboratory of network namespaces, driven by the kernel's own tools.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod defer;
mod devices;
mod failover;
mod flows;
mod forwarding;
mod lifecycle;
mod malformed;
mod nat;
mod pair;
mod passive;
mod plumbing;
mod resync;
mod rules;
mod sets;
mod virtio;

/// What a test returns: any failed step ends it, and says which.
type Result<T = ()> = tests::Result<T>;
