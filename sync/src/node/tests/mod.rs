//! Nodes joined directly, in virtual time.

mod asking;
mod broken;
mod chaos;
mod net;
mod nonsense;
mod ownership;
mod replication;
mod switchover;
