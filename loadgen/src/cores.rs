//! Who runs where. Generator and embedded shards never share a core unless the machine has one only: else one would measure
//! the other's waiting.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cli::Arguments;
use crate::failure::Failure;

/// Generator threads at most, when the cores are not given: more only take from each other on one machine.
const GENERATOR_THREADS_DEFAULT_MAX: usize = 4;

/// The choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// One generator thread each.
    pub generator: Vec<usize>,
    /// Of the embedded broker's shards.
    pub broker: Vec<usize>,
}

/// Chooses from the arguments and from what this process may use.
pub fn choose(arguments: &Arguments) -> Result<Cores, Failure> {
    let usable = usable()?;
    let given = |list: &Option<crate::cli::CoreList>| list.as_ref().map(|list| list.0.clone());
    let (generator, broker) = (given(&arguments.cores), given(&arguments.broker_cores));
    for core in generator.iter().chain(&broker).flatten() {
        if !usable.contains(core) {
            return Err(Failure::unusable(format!(
                "processor {core} is not one that this process may use: {usable:?}"
            )));
        }
    }
    let shards = if arguments.namesrv.is_some() { 0 } else { arguments.shards as usize };
    Ok(fill(&usable, shards, generator, broker))
}

/// Broker shards from the second core on, the generator on the last ones; the first is left to the system while there
/// are four or more.
fn fill(usable: &[usize], shards: usize, generator: Option<Vec<usize>>, broker: Option<Vec<usize>>) -> Cores {
    let spare = usize::from(usable.len() >= 4);
    let broker = broker.unwrap_or_else(|| {
        let mut free: Vec<usize> =
            usable.iter().copied().filter(|core| !generator.iter().flatten().any(|g| g == core)).collect();
        if free.len() > 1 {
            free.remove(0);
        }
        let room = if generator.is_some() { free.len() } else { free.len() - free.len() / 2 };
        free.truncate(shards.min(room.max(1)));
        if free.is_empty() { usable[..1.min(shards)].to_vec() } else { free }
    });
    let generator = generator.unwrap_or_else(|| {
        let mut free: Vec<usize> = usable.iter().copied().filter(|core| !broker.contains(core)).collect();
        if free.len() > 1 {
            free.drain(..spare.min(free.len() - 1));
        }
        let excess = free.len().saturating_sub(GENERATOR_THREADS_DEFAULT_MAX);
        free.drain(..excess);
        if free.is_empty() { usable[usable.len() - 1..].to_vec() } else { free }
    });
    Cores { generator, broker }
}

fn usable() -> Result<Vec<usize>, Failure> {
    let set =
        sched_getaffinity(None).map_err(|error| Failure::unusable(format!("cannot read the processors: {error}")))?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect();
    if usable.is_empty() { Err(Failure::unusable("no processor to run on")) } else { Ok(usable) }
}

/// Pins the calling thread. A core that went away meanwhile leaves it where it is.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!("cannot pin a thread to processor {core}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_and_broker_share_no_core_from_two_cores_on() {
        for count in 2..=64 {
            let usable: Vec<usize> = (0..count).collect();
            for shards in 1..=count {
                let cores = fill(&usable, shards, None, None);
                assert!(!cores.generator.is_empty() && !cores.broker.is_empty());
                assert!(
                    cores.generator.iter().all(|core| !cores.broker.contains(core)),
                    "{count}, {shards}: {cores:?}"
                );
            }
        }
    }

    #[test]
    fn four_cores_are_shared_out_as_the_handbook_says() {
        let cores = fill(&[0, 1, 2, 3], 1, None, None);
        assert_eq!((cores.broker, cores.generator), (vec![1], vec![2, 3]));
        let alone = fill(&[5], 1, None, None);
        assert_eq!((alone.broker, alone.generator), (vec![5], vec![5]));
        assert_eq!(fill(&[0, 1, 2, 3], 0, None, None).broker, Vec::<usize>::new());
        assert_eq!(fill(&[0, 1, 2, 3], 2, Some(vec![3]), None).broker, vec![1, 2]);
    }
}
