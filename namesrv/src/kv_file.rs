//! Where the key-value configuration is saved.
//!
//! 1. Write all of it to `FILE.tmp` beside the file, and flush that. 2. Rename it over the file. 3. Flush the directory.
//!
//! A crash leaves the old file or the new one, whole; a left-over `FILE.tmp` is overwritten by the next change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::kv::KvConfig;

/// The file of a name server, and how much of the configuration is in it.
#[derive(Debug)]
pub(crate) struct KvFile {
    path: PathBuf,
    saved_changes: u64,
}

impl KvFile {
    /// Reads the file; one that is not there is an empty configuration.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, KvConfig)> {
        let config = match fs::read(path) {
            Ok(text) => KvConfig::from_json(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => KvConfig::default(),
            Err(error) => return Err(error),
        };
        Ok((Self { path: path.to_owned(), saved_changes: config.changes() }, config))
    }

    /// Whether the file has this change already, because a later one was saved.
    pub(crate) fn has(&self, changes: u64) -> bool {
        changes <= self.saved_changes
    }

    /// Saves a configuration.
    pub(crate) fn save(&mut self, config: &KvConfig) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = self.path.with_file_name(name);
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut file = File::create(&temporary)?;
        file.write_all(&config.to_json())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(directory)?.sync_all()?;
        self.saved_changes = config.changes();
        Ok(())
    }
}
