//! The extension fields of a header, and how typed request and response headers are made of them.
//!
//! On the wire every value is a string, whatever its meaning; the raw fields stay with a request (signatures cover unknown
//! ones too), and a typed header is a view of them, declared with `ext_header!`: one line a field, required or optional by
//! its type.

use std::borrow::Cow;

use super::direct::Head;
use super::frame::Frame;
use super::{FieldError, FrameError};

/// Room for the fields of a send, the largest of the frequent headers.
pub(super) const EXT_FIELD_COUNT_USUAL: usize = 16;

/// The named string values of one header, in the order of the wire. When a name comes twice the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtFields<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> ExtFields<'a> {
    /// No fields. Takes no memory.
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// No fields yet, but room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Self { fields: Vec::with_capacity(count) }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// Adds a field behind the others.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.fields.push((name.into(), value.into()));
    }

    /// All fields as they came, names that come twice included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The same fields, independent of the bytes that they were decoded from.
    pub fn into_owned(self) -> ExtFields<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        ExtFields { fields: self.fields.into_iter().map(|(name, value)| (own(name), own(value))).collect() }
    }
}

impl<'a, N: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>> FromIterator<(N, V)> for ExtFields<'a> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        Self { fields: fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// A typed header: the extension fields of one request or response code.
pub trait ExtHeader<'a>: Sized {
    /// Reads the fields of this header; others are left alone.
    fn decode(ext: &'a ExtFields<'_>) -> Result<Self, FieldError> {
        Self::from_fields(|name| ext.get(name))
    }

    /// Reads the fields of this header as `find` gives them by their names.
    fn from_fields(find: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, FieldError>;

    /// Reads this header straight from a frame, in one pass and without taking memory: the numbers that every header has,
    /// and the fields. What is escaped in the frame is put into `scratch`, which grows to the size of a header and is kept
    /// by the caller from one frame to the next.
    ///
    /// # Errors
    /// [`FrameError`] closes the connection; a [`FieldError`] is answered, to the opaque of the [`Head`].
    fn read(frame: &Frame<'a>, scratch: &'a mut Vec<u8>) -> Result<(Head, Result<Self, FieldError>), FrameError>;

    /// Adds the fields of this header.
    fn encode_into(&self, ext: &mut ExtFields<'a>);

    /// The fields of this header alone.
    fn to_ext(&self) -> ExtFields<'a> {
        let mut ext = ExtFields::with_capacity(EXT_FIELD_COUNT_USUAL);
        self.encode_into(&mut ext);
        ext
    }
}

/// A type that an extension field can have.
pub trait ExtValue<'a>: Sized {
    /// Reads the value of `name`, `None` when the field is not there.
    fn from_ext(name: &'static str, value: Option<&'a str>) -> Result<Self, FieldError>;

    /// The string for the wire, `None` when the field is left out.
    fn to_ext(&self) -> Option<Cow<'a, str>>;
}

impl<'a> ExtValue<'a> for &'a str {
    fn from_ext(name: &'static str, value: Option<&'a str>) -> Result<Self, FieldError> {
        value.ok_or(FieldError::Missing { name })
    }

    fn to_ext(&self) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(self))
    }
}

/// Java's `Boolean.parseBoolean`: "true" in any case, everything else is false.
impl<'a> ExtValue<'a> for bool {
    fn from_ext(name: &'static str, value: Option<&'a str>) -> Result<Self, FieldError> {
        Ok(value.ok_or(FieldError::Missing { name })?.eq_ignore_ascii_case("true"))
    }

    fn to_ext(&self) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(if *self { "true" } else { "false" }))
    }
}

macro_rules! ext_number {
    ($($number:ty),*) => {$(
        impl<'a> ExtValue<'a> for $number {
            fn from_ext(name: &'static str, value: Option<&'a str>) -> Result<Self, FieldError> {
                let value = value.ok_or(FieldError::Missing { name })?;
                value.parse().map_err(|_| FieldError::NotANumber { name })
            }

            fn to_ext(&self) -> Option<Cow<'a, str>> {
                Some(Cow::Owned(self.to_string()))
            }
        }
    )*};
}
ext_number!(i32, i64);

impl<'a, T: ExtValue<'a>> ExtValue<'a> for Option<T> {
    fn from_ext(name: &'static str, value: Option<&'a str>) -> Result<Self, FieldError> {
        value.map(|value| T::from_ext(name, Some(value))).transpose()
    }

    fn to_ext(&self) -> Option<Cow<'a, str>> {
        self.as_ref().and_then(ExtValue::to_ext)
    }
}

/// Declares a typed header: `field: type = "name on the wire"`. A field is optional when its type is an `Option`; a header
/// without text is declared without the lifetime.
macro_rules! ext_header {
    ($(#[$doc:meta])* $vis:vis struct $name:ident<'a> {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name<'a> {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        $crate::remoting::ext::ext_header!(@impl ($name<'a>) { $($field = $wire,)* });
    };
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $wire:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        $crate::remoting::ext::ext_header!(@impl ($name) { $($field = $wire,)* });
    };
    (@impl ($name:ty) { $($field:ident = $wire:literal,)* }) => {
        impl<'a> $crate::remoting::ext::ExtHeader<'a> for $name {
            fn from_fields(
                find: impl Fn(&'static str) -> Option<&'a str>,
            ) -> Result<Self, $crate::remoting::FieldError> {
                Ok(Self { $($field: $crate::remoting::ext::ExtValue::from_ext($wire, find($wire))?,)* })
            }

            fn read(
                frame: &$crate::remoting::Frame<'a>,
                scratch: &'a mut Vec<u8>,
            ) -> Result<($crate::remoting::direct::Head, Result<Self, $crate::remoting::FieldError>), $crate::remoting::FrameError>
            {
                $(let mut $field: Option<&'a str> = None;)*
                let head = $crate::remoting::direct::scan(frame, scratch, |name, value| match name {
                    $($wire => $field = Some(value),)*
                    _ => {}
                })?;
                let typed = || Ok(Self { $($field: $crate::remoting::ext::ExtValue::from_ext($wire, $field)?,)* });
                Ok((head, typed()))
            }

            fn encode_into(&self, ext: &mut $crate::remoting::ext::ExtFields<'a>) {
                $(if let Some(value) = $crate::remoting::ext::ExtValue::to_ext(&self.$field) {
                    ext.push($wire, value);
                })*
            }
        }
    };
}
pub(crate) use ext_header;
