//! What goes wrong with a simulated disk, and when.

use ringmq_broker::disk::{DiskErrorKind, DiskOpKind};

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
        match self.misdirect_after {
            Some(0) => {
                self.misdirect_after = None;
                true
            }
            Some(left) => {
                self.misdirect_after = Some(left - 1);
                false
            }
            None => false,
        }
    }
}
