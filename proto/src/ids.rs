//! The ordinals and positions of the system, each its own type, so that a mix-up does not compile.

use std::fmt;

macro_rules! ordinal {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// Names the ordinal `value`.
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The bare number, for encoding.
            pub const fn get(self) -> $int {
                self.0
            }

            /// The ordinal `count` further on. Panics on overflow: positions never wrap.
            #[must_use]
            pub const fn plus(self, count: $int) -> Self {
                match self.0.checked_add(count) {
                    Some(sum) => Self(sum),
                    None => panic!(concat!(stringify!($name), " overflow")),
                }
            }

            /// How far `self` lies beyond `earlier`. Panics when it lies before.
            pub const fn since(self, earlier: Self) -> $int {
                match self.0.checked_sub(earlier.0) {
                    Some(difference) => difference,
                    None => panic!(concat!(stringify!($name), " went backwards")),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

ordinal! {
    /// A byte in one shard's commit log. PHYSICALOFFSET of RocketMQ is the position of a message's record header (for a
    /// message inside a batch record: of its entry).
    LogPosition(u64)
}
ordinal! {
    /// The ordinal of a message in one message queue: dense, never given twice. RocketMQ's QUEUEOFFSET.
    QueueOffset(u64)
}
ordinal! {
    /// One term of writing to a log: in each commit header, never used again, never falling with position.
    Epoch(u32)
}
ordinal! {
    /// The internal id of a message queue in one log: never used again, also when its topic is deleted and made anew.
    QueueId(u32)
}
