//! Where the embedded broker's data goes: on a disk, never in memory, and with room for the run. A flush to tmpfs proves nothing.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::failure::Failure;

/// File systems in memory: tmpfs and ramfs.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What must be free for any run at all, bytes.
pub const FREE_BYTES_MIN: u64 = 2 << 30;

/// What a run leaves free, bytes.
const FREE_BYTES_LEFT: u64 = 1 << 30;

/// A chosen directory.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Removed when dropped; `None` when the caller named the directory.
    temporary: Option<tempfile::TempDir>,
    free_bytes: u64,
}

impl DataDirectory {
    /// `wanted`, or a temporary one on the first disk with room.
    pub fn choose(wanted: Option<&Path>) -> Result<Self, Failure> {
        if let Some(wanted) = wanted {
            std::fs::create_dir_all(wanted)
                .map_err(|error| Failure::unusable(format!("--data {}: {error}", wanted.display())))?;
            let free_bytes = usable(wanted).map_err(Failure::unusable)?;
            return Ok(Self { path: wanted.to_owned(), temporary: None, free_bytes });
        }
        let mut reasons = Vec::new();
        for base in [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from(".")] {
            let free_bytes = match usable(&base) {
                Ok(free_bytes) => free_bytes,
                Err(reason) => {
                    reasons.push(reason);
                    continue;
                }
            };
            match tempfile::Builder::new().prefix("ringmq-loadgen-").tempdir_in(&base) {
                Ok(directory) => {
                    let path = directory.path().to_owned();
                    return Ok(Self { path, temporary: Some(directory), free_bytes });
                }
                Err(error) => reasons.push(format!("{}: {error}", base.display())),
            }
        }
        Err(Failure::unusable(format!(
            "no directory for the broker's data ({}): name one with --data",
            reasons.join("; ")
        )))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes away after the run.
    pub const fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// How many messages that take `message_bytes` on disk each fit, with some room left.
    pub fn messages_max(&self, message_bytes: u64) -> u64 {
        self.free_bytes.saturating_sub(FREE_BYTES_LEFT) / message_bytes.max(1)
    }
}

/// The free bytes of the file system under `path`, or why it cannot be used.
fn usable(path: &Path) -> Result<u64, String> {
    let of = statfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let kind = u64::try_from(of.f_type).unwrap_or(0);
    if MEMORY_FILE_SYSTEMS.contains(&kind) {
        return Err(format!("{} is in memory, where a flush proves nothing", path.display()));
    }
    let free_bytes = of.f_bavail.saturating_mul(u64::try_from(of.f_bsize).unwrap_or(0));
    if free_bytes < FREE_BYTES_MIN {
        return Err(format!(
            "{} has {} MiB free, fewer than {}",
            path.display(),
            free_bytes >> 20,
            FREE_BYTES_MIN >> 20
        ));
    }
    Ok(free_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_refused_as_a_disk() {
        if Path::new("/dev/shm").exists() {
            let failure = DataDirectory::choose(Some(Path::new("/dev/shm"))).expect_err("tmpfs");
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn a_temporary_directory_goes_away_and_a_named_one_stays() {
        let temporary = DataDirectory::choose(None).expect("a disk");
        let path = temporary.path().to_owned();
        assert!(path.exists() && temporary.is_temporary() && temporary.messages_max(200) > 1_000_000);
        drop(temporary);
        assert!(!path.exists());
    }
}
