//! Nodes joined directly, in virtual time.

mod chaos;
mod net;
mod nonsense;
mod ownership;
mod replication;
mod switchover;
