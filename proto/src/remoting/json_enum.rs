//! Java's enums in JSON: written by name, read by name in any case or by number (as the C++ client writes them). What is
//! not known counts as the first one.

macro_rules! json_enum {
    ($(#[$doc:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $wire:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name {
            #[default]
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire,)*
                }
            }

            /// Reads a name, in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
            }

            /// Java's number of a variant, its place in the declaration.
            pub const fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read = match $crate::remoting::json_enum::Written::deserialize(deserializer)? {
                    $crate::remoting::json_enum::Written::Name(name) => Self::from_name(&name),
                    $crate::remoting::json_enum::Written::Number(number) => Self::from_number(number),
                };
                Ok(read.unwrap_or_default())
            }
        }
    };
}
pub(super) use json_enum;

/// How an enum can stand in JSON.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Written {
    Name(String),
    Number(i64),
}
