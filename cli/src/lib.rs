//! twinwall's daemon, its API and the operator's commands; the binary is a thin `main` over this library.

pub mod api;
pub mod args;
pub mod client;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod mirror;
pub mod twin;
