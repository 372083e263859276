//! `ringmq-broker check`: looks at every shard of a data directory without writing, and says what recovery would.

use std::fmt::Write;
use std::path::Path;

use super::StartError;
use super::machine::existing_shards;
use crate::disk::BlockPool;
use crate::disk::ring::{Access, RingDisk, RingOptions};
use crate::store::check::{CheckReport, check};

/// What the look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing that was promised is missing.
    pub sound: bool,
    /// For people, one paragraph a shard.
    pub text: String,
}

/// Looks at all shards below `data`.
///
/// # Errors
/// When it is no data directory, or in use.
pub fn check_directory(data: &Path) -> Result<Verdict, StartError> {
    let looking = || format!("looking into {}", data.display());
    let shards = existing_shards(data).map_err(StartError::io(looking()))?;
    if shards.is_empty() {
        return Err(StartError::Config(format!("{} holds no shard", data.display())));
    }
    let mut verdict = Verdict { sound: true, text: String::new() };
    let mut ring = RingDisk::new(BlockPool::new(8 << 20), RingOptions::default())
        .map_err(StartError::io("making the disk's ring"))?;
    for shard in shards {
        let slot = ring.add_shard(&data.join(format!("shard-{shard}")), Access::Look)?;
        match check(&mut ring.disk(slot)) {
            Ok(report) => {
                verdict.sound &= report.is_sound();
                verdict.text += &paragraph(shard, &report);
            }
            Err(error) => {
                verdict.sound = false;
                verdict.text += &format!("shard-{shard}: {error}\n");
            }
        }
    }
    Ok(verdict)
}

fn paragraph(shard: u32, report: &CheckReport) -> String {
    let mut text = String::new();
    let mut line = |what: String| writeln!(text, "{what}").expect("a string takes all");
    let sound = if report.is_sound() { "sound" } else { "DAMAGED" };
    let (identity, (from, end)) = (&report.identity, report.range);
    line(format!("shard-{shard}: {sound}: {} of cluster {}", identity.broker_name, identity.cluster));
    let stop = if report.superblock.clean { "clean" } else { "not clean" };
    line(format!("  log {from} to {end} in {} segments, last stop {stop}", report.segments.len()));
    let (commits, records, messages) = (report.commit_count, report.record_count, report.message_count);
    line(format!("  {commits} commits, {records} records, {messages} messages; end: {:?}", report.cut));
    for damaged in &report.damaged {
        line(format!("  damaged: {damaged:?}"));
    }
    for position in &report.bad_records {
        line(format!("  damaged: the record at {position}"));
    }
    text
}
