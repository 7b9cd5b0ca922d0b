//! twinwall's daemon, its API and the operator's commands; the binary is a thin `main` over this library.
pub mod config;
