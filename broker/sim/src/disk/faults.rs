//! What goes wrong with a simulated disk, and when.

use ringmq_broker::disk::{DiskErrorKind, DiskOpKind, FileName};

/// Which operations a fault counts and hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every operation.
    Any,
    /// Writes, with and without a flush.
    Write,
    /// Flushes, and writes with a flush.
    Flush,
    /// Reads.
    Read,
    /// Creates, renames, removes and flushes of directories.
    Name,
}

impl Class {
    /// Whether `op` is of this class.
    pub fn covers(self, op: &DiskOpKind) -> bool {
        match self {
            Self::Any => true,
            Self::Write => matches!(op, DiskOpKind::Write { .. }),
            Self::Flush => matches!(op, DiskOpKind::Sync { .. } | DiskOpKind::Write { sync: true, .. }),
            Self::Read => matches!(op, DiskOpKind::Read { .. }),
            Self::Name => matches!(
                op,
                DiskOpKind::Create { .. }
                    | DiskOpKind::Rename { .. }
                    | DiskOpKind::Remove { .. }
                    | DiskOpKind::SyncDir { .. }
            ),
        }
    }
}

/// The n-th operation of a class fails, once or for ever.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What is counted and hit.
    pub class: Class,
    /// How many operations of the class succeed before.
    pub after: u64,
    /// What the operation says.
    pub kind: DiskErrorKind,
    /// Whether all later operations of the class fail too.
    pub forever: bool,
}

/// Faults that are armed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    armed: Vec<Fault>,
    /// Flushes say that they succeeded and make nothing durable.
    pub lying: bool,
    /// The write with this many writes before it lands one sector size further on.
    pub misdirect_after: Option<u64>,
    /// The read of a segment with this many before it gives wrong bytes, once: what is stored is right.
    pub garble_after: Option<u64>,
}

impl Faults {
    /// Arms one more fault; it starts to count now.
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&mut self) {
        *self = Self::default();
    }

    /// Counts `op`; says how it fails, if it does.
    pub fn strike(&mut self, op: &DiskOpKind) -> Option<DiskErrorKind> {
        let mut struck = None;
        self.armed.retain_mut(|fault| {
            if !fault.class.covers(op) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            struck = Some(fault.kind);
            fault.forever
        });
        struck
    }

    /// Counts a write; says whether it goes astray.
    pub fn misdirects(&mut self) -> bool {
        count_down(&mut self.misdirect_after)
    }

    /// Counts a read; says whether it gives wrong bytes.
    pub fn garbles(&mut self, file: FileName) -> bool {
        matches!(file, FileName::Segment(_)) && count_down(&mut self.garble_after)
    }
}

/// Whether this is the one.
fn count_down(left: &mut Option<u64>) -> bool {
    *left = match *left {
        None => return false,
        Some(0) => {
            *left = None;
            return true;
        }
        Some(left) => Some(left - 1),
    };
    false
}
