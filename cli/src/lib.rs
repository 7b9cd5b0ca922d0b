//! What the binary and its tests share.
