//! FFI over libdpdk.
