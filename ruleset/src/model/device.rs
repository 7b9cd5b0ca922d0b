//! What a hook says of the devices that it is on.

use super::Name;

/// The devices that a base chain or a flowtable is on. A device need not be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The one of this name, in which `*` is a letter like others (`NFTA_DEVICE_NAME`).
    Named(Name),
    /// All whose names begin with this (`NFTA_DEVICE_PREFIX`).
    Prefix(Name),
}

impl Device {
    /// Whether the device of this name is meant.
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::Named(device) => **device == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}
