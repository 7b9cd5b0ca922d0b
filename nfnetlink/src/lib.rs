//! The wire of netfilter's netlink: messages, attributes, the socket server and the preload library that lets `nft`
//! and `conntrack` drive twinwall unmodified (docs/architecture.md).
