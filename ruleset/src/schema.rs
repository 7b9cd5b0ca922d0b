//! Expressions describe themselves: attributes are declared once, and decoding, encoding and the schema follow from that.
//!
//! [`attributes!`](crate::attributes) makes a struct whose fields are netlink attributes; each field's type implements [`Value`], which says
//! how it is read, written and described. `twinwall describe` and the API serve the resulting [`Schema`]s, so a program that
//! shows rules is never out of date.

use nfnetlink::{Attr, Errno, Result, Writer};

/// What an expression, or a nested group of attributes, consists of.
#[derive(Debug)]
pub struct Schema {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// Its attributes.
    pub attributes: &'static [Attribute],
}

/// One attribute.
#[derive(Debug)]
pub struct Attribute {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, with its unit.
    pub help: &'static str,
}

/// What an attribute may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An integer of so many bytes, big-endian, within a range.
    Integer {
        /// Bytes on the wire.
        bytes: u8,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One of several words.
    Choice(&'static [(u64, &'static str)]),
    /// Several words at once.
    Flags(&'static [(u64, &'static str)]),
    /// A text of at most so many bytes.
    Text(u16),
    /// Raw bytes, at most so many.
    Bytes(u16),
    /// A register (`NFT_REG_…`).
    Register,
    /// A value or a verdict (`NFTA_DATA_…`).
    Data,
    /// A list of expressions.
    Expressions,
    /// Attributes of its own.
    Nested(&'static Schema),
}

/// A value that an attribute holds.
pub trait Value: Sized {
    /// How it is described.
    const KIND: Kind;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// `ERANGE` where it is too short, `EINVAL` where it is no such value.
    fn get(attr: &Attr<'_>) -> Result<Self>;

    /// Writes it.
    fn put(&self, kind: u16, out: &mut Writer);
}

/// A field: a required value, or an optional one.
pub trait Field: Sized {
    /// How it is described.
    const KIND: Kind;
    /// Whether it must be there.
    const REQUIRED: bool;

    /// Takes it from what was there.
    ///
    /// # Errors
    ///
    /// `EINVAL` where it is missing, else as [`Value::get`].
    fn take(attr: Option<&Attr<'_>>) -> Result<Self>;

    /// Writes it, if it is there.
    fn give(&self, kind: u16, out: &mut Writer);
}

impl<T: Value> Field for T {
    const KIND: Kind = T::KIND;
    const REQUIRED: bool = true;

    fn take(attr: Option<&Attr<'_>>) -> Result<Self> {
        T::get(attr.ok_or(Errno::EINVAL)?)
    }

    fn give(&self, kind: u16, out: &mut Writer) {
        self.put(kind, out);
    }
}

impl<T: Value> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const REQUIRED: bool = false;

    fn take(attr: Option<&Attr<'_>>) -> Result<Self> {
        attr.map(T::get).transpose()
    }

    fn give(&self, kind: u16, out: &mut Writer) {
        if let Some(value) = self {
            value.put(kind, out);
        }
    }
}

macro_rules! integer {
    ($($type:ident),*) => {$(
        impl Value for $type {
            const KIND: Kind =
                Kind::Integer { bytes: size_of::<$type>() as u8, min: 0, max: $type::MAX as u64 };

            fn get(attr: &Attr<'_>) -> Result<Self> {
                attr.$type()
            }

            fn put(&self, kind: u16, out: &mut Writer) {
                out.$type(kind, *self);
            }
        }
    )*};
}

integer!(u8, u16, u32, u64);

/// A number below 256 that takes 32 bits on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Small(pub u8);

impl Value for Small {
    const KIND: Kind = Kind::Integer { bytes: 4, min: 0, max: u8::MAX as u64 };

    fn get(attr: &Attr<'_>) -> Result<Self> {
        u8::try_from(attr.u32()?).map(Self).map_err(|_| attr.error(Errno::ERANGE))
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.u32(kind, self.0.into());
    }
}

/// A text of at most `N` bytes, without the NUL that ends it on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const N: usize>(pub Box<str>);

impl<const N: usize> Value for Text<N> {
    const KIND: Kind = Kind::Text(N as u16);

    fn get(attr: &Attr<'_>) -> Result<Self> {
        Ok(Self(attr.str(N)?.into()))
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.str(kind, &self.0);
    }
}

/// Raw bytes, at most `N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob<const N: usize>(pub Box<[u8]>);

impl<const N: usize> Value for Blob<N> {
    const KIND: Kind = Kind::Bytes(N as u16);

    fn get(attr: &Attr<'_>) -> Result<Self> {
        if attr.data.len() > N {
            return Err(attr.error(Errno::ERANGE));
        }
        Ok(Self(attr.data.into()))
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.put(kind, &self.0);
    }
}

/// Declares the attributes of an expression (or of a nest), once.
///
/// ```
/// ruleset::attributes! {
///     /// Compares a register with a value.
///     pub struct Attributes("cmp") {
///         /// What is compared.
///         1 => sreg: u32,
///         /// With what.
///         3 => value: Option<u64>,
///     }
/// }
/// assert_eq!(Attributes::SCHEMA.name, "cmp");
/// assert!(!Attributes::SCHEMA.attributes[1].required);
/// ```
#[macro_export]
macro_rules! attributes {
    (
        #[doc = $help:literal]
        $(#[$meta:meta])*
        $vis:vis struct $name:ident($wire:literal) {
            $(#[doc = $doc:literal] $number:literal => $field:ident: $type:ty,)*
        }
    ) => {
        #[doc = $help]
        #[derive(Clone, Debug)]
        $(#[$meta])*
        $vis struct $name {
            $(#[doc = $doc] $vis $field: $type,)*
        }

        #[allow(dead_code, reason = "not every use needs all of these")]
        impl $name {
            /// How it describes itself.
            $vis const SCHEMA: &'static $crate::schema::Schema = &$crate::schema::Schema {
                name: $wire,
                help: $crate::schema::trim($help),
                attributes: &[$($crate::schema::Attribute {
                    number: $number,
                    name: stringify!($field),
                    kind: <$type as $crate::schema::Field>::KIND,
                    required: <$type as $crate::schema::Field>::REQUIRED,
                    help: $crate::schema::trim($doc),
                },)*],
            };

            /// Reads the attributes inside `nest`.
            ///
            /// # Errors
            ///
            /// `EINVAL` where one is missing, else what is wrong with it.
            $vis fn decode(nest: &$crate::nfnetlink::Attr<'_>) -> $crate::nfnetlink::Result<Self> {
                #[allow(unused_mut, reason = "some have no attributes")]
                let mut slots = [$((None::<$crate::nfnetlink::Attr<'_>>, $number)),*] as [(_, u16); <[u16]>::len(&[$($number),*])];
                for attr in nest.nested() {
                    if let Some((slot, _)) = slots.iter_mut().find(|(_, number)| *number == attr.kind) {
                        *slot = Some(attr);
                    }
                }
                #[allow(unused_mut, unused_variables, reason = "some have no attributes")]
                let mut slots = slots.iter();
                Ok(Self {
                    $($field: <$type as $crate::schema::Field>::take(
                        slots.next().and_then(|(slot, _)| slot.as_ref())
                    )?,)*
                })
            }

            /// Writes them.
            $vis fn encode(&self, out: &mut $crate::nfnetlink::Writer) {
                let _ = &out;
                $($crate::schema::Field::give(&self.$field, $number, out);)*
            }
        }

        impl $crate::schema::Value for $name {
            const KIND: $crate::schema::Kind = $crate::schema::Kind::Nested(Self::SCHEMA);

            fn get(attr: &$crate::nfnetlink::Attr<'_>) -> $crate::nfnetlink::Result<Self> {
                Self::decode(attr)
            }

            fn put(&self, kind: u16, out: &mut $crate::nfnetlink::Writer) {
                out.nest(kind, |out| self.encode(out));
            }
        }
    };
}

/// Declares an enumeration on the wire (a big-endian integer) with its words. Another number is refused with `EINVAL`, or with
/// what stands behind the type: `enum Op: u32, else EOPNOTSUPP`.
///
/// ```
/// ruleset::choice! {
///     /// How to compare.
///     pub enum Op: u32 {
///         /// Equal.
///         Eq = 0 => "==",
///         /// Not equal.
///         Neq = 1 => "!=",
///     }
/// }
/// assert_eq!(Op::from_number(1), Some(Op::Neq));
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: $repr:ident {
            $($all:tt)*
        }
    ) => {
        $crate::choice! {
            $(#[$meta])*
            $vis enum $name: $repr, else EINVAL { $($all)* }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: $repr:ident, else $errno:ident {
            $($(#[$doc:meta])* $variant:ident = $number:literal => $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr($repr)]
        $vis enum $name {
            $($(#[$doc])* $variant = $number,)*
        }

        #[allow(dead_code, reason = "not every use needs all of these")]
        impl $name {
            /// The one of this number.
            $vis const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl $crate::schema::Value for $name {
            const KIND: $crate::schema::Kind =
                $crate::schema::Kind::Choice(&[$(($number, $word)),*]);

            fn get(attr: &$crate::nfnetlink::Attr<'_>) -> $crate::nfnetlink::Result<Self> {
                Self::from_number(attr.$repr()?)
                    .ok_or_else(|| attr.error($crate::nfnetlink::Errno::$errno))
            }

            fn put(&self, kind: u16, out: &mut $crate::nfnetlink::Writer) {
                out.$repr(kind, *self as $repr);
            }
        }
    };
}

/// A doc comment without the blank in front.
pub const fn trim(text: &'static str) -> &'static str {
    match text.as_bytes() {
        [b' ', ..] => text.split_at(1).1,
        _ => text,
    }
}
