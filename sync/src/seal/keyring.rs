//! The keys of a cluster, and the file that they come from.

use std::fmt;

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf;

use crate::ids::{Epoch, NodeId};

/// Separates keys made here from those that anybody else makes of the same secret.
const SALT: &[u8] = b"twinwall TWS/1";

/// Bytes of a key in the file.
const SECRET: usize = 32;

/// The keys that a node accepts, and which of them it sends with; or, by explicit choice, none.
#[derive(Clone)]
pub struct Keyring {
    /// By id, in the order of the file: the last one sends. Empty: unauthenticated.
    secrets: Vec<(u8, hkdf::Prk)>,
}

/// Why a key file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It has no key.
    #[error("there is no key in it; a line has an ID from 1 to 255 and 64 hexadecimal digits")]
    Empty,
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1 on.
        line: usize,
        /// What is wrong with it.
        problem: KeyFileProblem,
    },
}

/// What is wrong with a line of a key file. It says nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileProblem {
    /// It does not have two words.
    #[error("it must be an ID and a key, with a space between")]
    Words,
    /// The ID is not one.
    #[error("the ID must be a number from 1 to 255")]
    Id,
    /// A key has 64 digits.
    #[error("the key has {0} characters and not 64")]
    Length(usize),
    /// A character is no digit.
    #[error("character {0} of the key is not a hexadecimal digit")]
    Digit(usize),
    /// The ID is that of an earlier line.
    #[error("the ID {0} was there already")]
    Twice(u8),
    /// Somebody forgot to put a key there.
    #[error("the key is all zeros")]
    Zero,
}

impl Keyring {
    /// No keys: whoever can send to us is believed. Only if the operator says so.
    pub fn unauthenticated() -> Self {
        Self { secrets: Vec::new() }
    }

    /// Reads a key file: a line for each key, an ID from 1 to 255 and 64 hexadecimal digits. All are accepted, the last one sends.
    /// Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// It has no key, or a line is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut secrets: Vec<(u8, hkdf::Prk)> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let read = key(text).and_then(|(id, secret)| {
                if secrets.iter().any(|(of, _)| *of == id) {
                    return Err(KeyFileProblem::Twice(id));
                }
                Ok((id, hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&secret)))
            });
            secrets.push(read.map_err(|problem| KeyFileError::Line { line, problem })?);
        }
        if secrets.is_empty() {
            return Err(KeyFileError::Empty);
        }
        Ok(Self { secrets })
    }

    /// Whether there are no keys, by choice.
    pub fn is_unauthenticated(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The key that this node sends with.
    pub fn sending(&self) -> Option<u8> {
        self.secrets.last().map(|(id, _)| *id)
    }

    /// The keys that it accepts.
    pub fn ids(&self) -> Vec<u8> {
        self.secrets.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn has(&self, id: u8) -> bool {
        self.secret(id).is_some()
    }

    /// Whether what is sealed with the key `id` of this ring, 0 for none, is opened by the other one, too.
    pub(super) fn shares(&self, id: u8, other: &Self) -> bool {
        if id == 0 {
            return self.is_unauthenticated() && other.is_unauthenticated();
        }
        self.sample(id).is_some_and(|sample| other.sample(id) == Some(sample))
    }

    /// What only this key gives, and is of no other use: keys themselves cannot be compared.
    fn sample(&self, id: u8) -> Option<[u8; SECRET]> {
        let mut sample = [0; SECRET];
        self.secret(id)?.expand(&[b"compare"], hkdf::HKDF_SHA256).ok()?.fill(&mut sample).ok()?;
        Some(sample)
    }

    fn secret(&self, id: u8) -> Option<&hkdf::Prk> {
        self.secrets.iter().find(|(of, _)| *of == id).map(|(_, secret)| secret)
    }

    /// What a node of a cluster seals with in an epoch. `None`: there is no such key.
    pub(super) fn derive(
        &self,
        id: u8,
        cluster: u16,
        node: NodeId,
        epoch: Epoch,
    ) -> Option<LessSafeKey> {
        let cluster = cluster.to_le_bytes();
        let info = [&cluster[..], &[node.get()], &epoch.0.to_le_bytes(), &[id]];
        // It is not longer than HKDF can make, so there is one.
        let made = self.secret(id)?.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(made)))
    }
}

/// The same keys in the same order.
impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.ids() == other.ids() && self.ids().into_iter().all(|id| self.shares(id, other))
    }
}

impl Eq for Keyring {}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

fn key(line: &str) -> Result<(u8, [u8; SECRET]), KeyFileProblem> {
    let mut words = line.split_ascii_whitespace();
    let (Some(id), Some(digits), None) = (words.next(), words.next(), words.next()) else {
        return Err(KeyFileProblem::Words);
    };
    let id = id.parse().ok().filter(|id| *id != 0).ok_or(KeyFileProblem::Id)?;
    let count = digits.chars().count();
    if count != 2 * SECRET {
        return Err(KeyFileProblem::Length(count));
    }
    let mut secret = [0; SECRET];
    for (at, digit) in digits.chars().enumerate() {
        let value = digit.to_digit(16).ok_or(KeyFileProblem::Digit(at + 1))?;
        if let Some(byte) = secret.get_mut(at / 2) {
            *byte = *byte << 4 | value as u8;
        }
    }
    if secret == [0; SECRET] {
        return Err(KeyFileProblem::Zero);
    }
    Ok((id, secret))
}
