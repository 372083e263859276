//! What happened in one history, or in a million: so that a clean run can be seen to have tried something.

use std::fmt;

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Counts of what happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* }

        impl Tally {
            /// Adds another's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let parts = [$(($text, self.$name)),*];
                let said: Vec<String> = parts.iter().map(|(text, count)| format!("{count} {text}")).collect();
                f.write_str(&said.join(", "))
            }
        }
    };
}

tally! {
    /// Histories that ended.
    histories = "histories",
    /// Power cuts, those during recovery included.
    power_cuts = "power cuts",
    /// Of these, during recovery.
    power_cuts_in_recovery = "of them in recovery",
    /// Processes killed on a machine that lived.
    kills = "kills",
    /// Clean stops.
    stops = "clean stops",
    /// Shards that stopped because their disk failed.
    fatals = "fenced shards",
    /// Times that the store was opened.
    opens = "openings",
    /// Unflushed sectors that power cuts took back.
    sectors_lost = "torn sectors",
    /// Unflushed names that power cuts took back.
    names_lost = "lost names",
    /// Disk operations that failed by a fault.
    faults = "disk faults",
    /// Bits flipped at rest.
    flips = "flipped bits",
    /// Writes that landed elsewhere.
    astray = "writes astray",
    /// Times that the wall clock was set.
    clock_sets = "clocks set",
    /// Requests of clients.
    requests = "requests",
    /// Messages for later that were accepted: delayed, timed, first halves of transactions.
    later = "messages for later",
    /// Ends of transactions, recalls and messages sent back that were acknowledged.
    ends = "ends of them",
    /// Messages acknowledged or read, as the final drain found them.
    drained = "messages read back",
    /// Segments rolled to.
    rolls = "segments rolled",
    /// Segments that retention gave up.
    trims = "segments trimmed",
    /// Times that live and recovered state were compared.
    comparisons = "state comparisons",
}
