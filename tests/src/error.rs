//! What can go wrong in the laboratory, told so that a person can act on it.

use std::path::PathBuf;

/// Why a step of a test or of the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces can be made by root only.
    #[error("this needs root: network namespaces are made here (try sudo)")]
    NotRoot,
    /// A program that a step needs is not installed.
    #[error("cannot run {program}: {source} (run `make setup`)")]
    Start {
        /// The program's name.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A command ended with another status than 0.
    #[error("`{command}` failed ({status}):\n{output}")]
    Failed {
        /// The command as typed.
        command: String,
        /// Its exit status or signal.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A command did not end in time and was killed.
    #[error("`{command}` did not end within {seconds} s and was killed:\n{output}")]
    TimedOut {
        /// The command as typed.
        command: String,
        /// Its limit.
        seconds: u64,
        /// The end of what it printed.
        output: String,
    },
    /// Something that a step waits for did not come.
    #[error("waited {seconds} s in vain for {what}{detail}")]
    InVain {
        /// What did not come.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was there instead: empty, or a text that begins with a line break.
        detail: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A program's output has another shape than expected.
    #[error("{what} is not as expected: {text}")]
    Shape {
        /// Which output.
        what: String,
        /// What it was.
        text: String,
    },
}

/// A result whose error is a [`LabError`].
pub type Result<T> = std::result::Result<T, LabError>;
