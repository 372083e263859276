//! A name server and a broker in this process, for a run without a cluster.

use crate::directory::DataDirectory;
use crate::failure::Failure;
use crate::plan::EmbeddedPlan;

/// The running cluster.
pub struct EmbeddedCluster {
    namesrv: ringmq_namesrv::Handle,
    directory: DataDirectory,
}

impl EmbeddedCluster {
    /// Starts both; they serve when this returns.
    pub fn start(plan: &EmbeddedPlan) -> Result<Self, Failure> {
        drop(DataDirectory::choose(plan.data.as_deref())?);
        Err(Failure::unusable("the embedded broker is not built yet: give a cluster with --namesrv"))
    }

    /// Where the name server listens.
    pub fn namesrv_address(&self) -> String {
        self.namesrv.addr.to_string()
    }

    /// How many messages of `message_bytes` the disk has room for.
    pub fn messages_max(&self, message_bytes: u64) -> u64 {
        self.directory.messages_max(message_bytes)
    }

    /// Stops both cleanly.
    pub fn stop(self) -> Result<(), Failure> {
        self.namesrv.stop();
        Ok(())
    }
}
