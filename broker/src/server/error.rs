//! Why a process cannot start. Each is one sentence that says what is wrong and what to do; the exit code is 2.

use std::io;
use std::path::PathBuf;

use crate::disk::probe::ProbeError;
use crate::disk::ring::OpenDirectoryError;
use crate::net::listen::ListenError;
use crate::store::OpenError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Choices that are not understood or do not fit together.
    #[error("{0}")]
    Config(String),
    /// The machine lacks something.
    #[error(transparent)]
    Machine(#[from] ProbeError),
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Certificates, keys or their settings cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] ringmq_tls::TlsError),
    /// A directory cannot be taken.
    #[error(transparent)]
    Directory(#[from] OpenDirectoryError),
    /// A shard cannot be recovered.
    #[error("shard {shard}: {source}")]
    Store {
        /// Which.
        shard: u32,
        /// Why.
        source: OpenError,
    },
    /// The data directory was made with another number of shards.
    #[error(
        "{} holds {found} shards and --shards says {asked}: leave --shards out, or choose another data directory", path.display()
    )]
    ShardCount {
        /// The data directory.
        path: PathBuf,
        /// What is there.
        found: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Directories of shards are gone.
    #[error("{} holds {found} shards but not shard-{missing}: put that directory back", path.display())]
    ShardMissing {
        /// The data directory.
        path: PathBuf,
        /// What is there.
        found: u32,
        /// The first that is not.
        missing: u32,
    },
    /// A core cannot be used.
    #[error("core {core} of --cores is not among those that this process may use ({allowed})")]
    Core {
        /// Which.
        core: usize,
        /// All that may be used.
        allowed: String,
    },
    /// glommio cannot have its rings.
    #[error("an executor could not be made ({0}): if it speaks of memory, raise `ulimit -l` to 8 MiB or more")]
    Executor(String),
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    /// An error of the operating system with what was being done.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
