//! The machine and the data directory before anything is started: what can be found out early is said early, in one
//! sentence.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use ringmq_proto::message::Host;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::config::{Config, shard_port};
use super::error::StartError;

/// Cores that this process may use.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn allowed_cores() -> Result<Vec<usize>, StartError> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|errno| StartError::io("asking for the cores of this process")(errno.into()))?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Where executors run and, if there are any left, where the kernel's helper threads may.
///
/// # Errors
/// When a core of the configuration may not be used.
pub(super) fn check_cores(config: &Config, allowed: &[usize]) -> Result<Vec<usize>, StartError> {
    if let Some(core) = config.cores.iter().find(|core| !allowed.contains(core)) {
        let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        return Err(StartError::Core { core: *core, allowed });
    }
    if config.cores.is_empty() {
        return Ok(Vec::new());
    }
    Ok(allowed.iter().copied().filter(|core| !config.cores.contains(core)).collect())
}

/// Every connection is a descriptor, and the usual soft limit is a relic of select(2).
pub(super) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(errno) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%errno, ?current, "the limit of open files stays as it is");
    }
}

/// How many shards the data directory has; for a new one, how many it gets.
///
/// Directories are made from the highest to the lowest, so that an interrupted start leaves no shard-0 and the directory
/// counts as new.
///
/// # Errors
/// When it holds another number than was asked for, or not all of them.
pub(super) fn shard_count(config: &Config) -> Result<u32, StartError> {
    let io = |source| StartError::io(format!("looking into {}", config.data.display()))(source);
    let mut found = existing_shards(&config.data).map_err(io)?;
    if !found.contains(&0) {
        for shard in found.drain(..) {
            // Empty ones of an interrupted start; one with files is not ours to judge, and is told below.
            if fs::remove_dir(config.shard_directory(shard)).is_err() {
                return Err(StartError::ShardMissing { path: config.data.clone(), found: 1, missing: 0 });
            }
        }
        let count = config.shards.unwrap_or(1);
        for shard in (0..count).rev() {
            fs::create_dir_all(config.shard_directory(shard)).map_err(io)?;
        }
        fs::File::open(&config.data).and_then(|directory| directory.sync_all()).map_err(io)?;
        return Ok(count);
    }
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    if let Some(missing) = (0..count).find(|shard| !found.contains(shard)) {
        return Err(StartError::ShardMissing { path: config.data.clone(), found: count, missing });
    }
    match config.shards {
        Some(asked) if asked != count => Err(StartError::ShardCount { path: config.data.clone(), found: count, asked }),
        _ => Ok(count),
    }
}

/// Indexes of the shards whose directories are there.
///
/// # Errors
/// When the data directory is there and cannot be read.
pub(super) fn existing_shards(data: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let index: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix("shard-")).and_then(|index| index.parse().ok());
        found.extend(index);
    }
    found.sort_unstable();
    Ok(found)
}

/// The address that clients are told for a shard that listens at `listening`.
///
/// # Errors
/// When the advertised name has no address.
pub(super) fn advertised(config: &Config, shard: u32, listening: SocketAddr) -> Result<Host, StartError> {
    let Some(advertise) = &config.advertise else {
        let ip = if listening.ip().is_unspecified() { outward_address(config) } else { listening.ip() };
        return Ok(SocketAddr::new(ip, listening.port()).into());
    };
    let (host, port) = split_advertised(advertise)?;
    let port = match port {
        Some(base) => shard_port(base, shard).map_err(StartError::Config)?,
        None => listening.port(),
    };
    let what = format!("the advertised address {host:?} has no IP address");
    let resolved = (host, port).to_socket_addrs().map_err(StartError::io(&what))?.next();
    resolved.map(Host::from).ok_or(StartError::Config(what))
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT` or a bare IPv6 address.
fn split_advertised(text: &str) -> Result<(&str, Option<u16>), StartError> {
    let wrong = || StartError::Config(format!("--advertise {text:?} is not HOST[:PORT]"));
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

/// The address from which a name server would see this host; loopback when none is known. No packet is sent.
fn outward_address(config: &Config) -> IpAddr {
    let ask = |server: &String| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        Ok(socket.local_addr()?.ip())
    };
    config.namesrv.iter().find_map(|server| ask(server).ok()).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &Path, shards: Option<u32>) -> Config {
        Config { data: data.to_owned(), shards, ..Config::default() }
    }

    #[test]
    fn number_of_shards_counts_for_a_new_directory_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        assert_eq!(shard_count(&config(&data, Some(3))).expect("made"), 3);
        assert_eq!(shard_count(&config(&data, None)).expect("found"), 3);
        assert_eq!(shard_count(&config(&data, Some(3))).expect("the same"), 3);
        let other = shard_count(&config(&data, Some(2))).expect_err("another number");
        assert!(matches!(other, StartError::ShardCount { found: 3, asked: 2, .. }), "{other}");
        fs::remove_dir(data.join("shard-1")).expect("empty");
        let gap = shard_count(&config(&data, None)).expect_err("one is gone");
        assert!(matches!(gap, StartError::ShardMissing { missing: 1, .. }), "{gap}");
    }

    #[test]
    fn interrupted_first_start_counts_as_none() {
        let directory = tempfile::tempdir().expect("a directory");
        for shard in ["shard-3", "shard-2"] {
            fs::create_dir(directory.path().join(shard)).expect("makes");
        }
        assert_eq!(shard_count(&config(directory.path(), Some(2))).expect("new"), 2);
        assert_eq!(existing_shards(directory.path()).expect("lists"), [0, 1]);
    }

    #[test]
    fn lost_first_shard_is_not_taken_for_a_new_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("shard-1/log")).expect("makes");
        assert!(matches!(
            shard_count(&config(directory.path(), None)),
            Err(StartError::ShardMissing { missing: 0, .. })
        ));
    }

    #[test]
    fn advertised_address_replaces_host_and_perhaps_port() {
        let listening = SocketAddr::from(([127, 0, 0, 1], 10921));
        let told = |advertise: Option<&str>| {
            let config = Config { advertise: advertise.map(Into::into), ..Config::default() };
            advertised(&config, 1, listening).map(|host| host.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(told(None).as_deref(), Ok("127.0.0.1:10921"));
        assert_eq!(told(Some("10.0.0.7")).as_deref(), Ok("10.0.0.7:10921"));
        assert_eq!(told(Some("10.0.0.7:20000")).as_deref(), Ok("10.0.0.7:20010"), "ten further on for shard 1");
        assert_eq!(told(Some("[::2]:20000")).as_deref(), Ok("[::2]:20010"));
        assert_eq!(told(Some("::2")).as_deref(), Ok("[::2]:10921"));
        for wrong in [":1", "h:x", "[::1]x", "h:65530"] {
            assert!(told(Some(wrong)).is_err_and(|error| error.lines().count() == 1), "{wrong}");
        }
    }

    #[test]
    fn helper_threads_get_the_cores_that_executors_leave() {
        let pinned = Config { cores: vec![1, 2], ..Config::default() };
        assert_eq!(check_cores(&pinned, &[0, 1, 2, 3]).expect("allowed"), [0, 3]);
        assert_eq!(check_cores(&Config::default(), &[0, 1]).expect("unpinned"), [] as [usize; 0]);
        assert!(matches!(check_cores(&pinned, &[0, 1]), Err(StartError::Core { core: 2, .. })));
    }
}
