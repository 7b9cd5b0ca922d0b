//! Matches and targets of ebtables.

use super::*;

/// Every extension, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[];
