//! Unique message ids (UNIQ_KEY), as RocketMQ's clients make them: address, process, a mark of the generator, milliseconds
//! of the month, a counter.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmq_proto::message::ids::UniqueId;

const DAY_SECONDS: u64 = 86_400;

/// The address of this host as `peer` would see it; 127.0.0.1 when that cannot be told. Sends nothing.
pub(crate) fn local_ip(peer: &str) -> IpAddr {
    let found = peer.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).and_then(|address| {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(address).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Makes ids. They differ within the process by counter and time, between processes by process id and mark.
#[derive(Debug)]
pub(crate) struct UniqueIds {
    ip: IpAddr,
}

impl UniqueIds {
    pub(crate) const fn new(ip: IpAddr) -> Self {
        Self { ip }
    }

    /// The next id.
    pub(crate) fn next(&self) -> String {
        static COUNTER: AtomicU16 = AtomicU16::new(0);
        static MARK: OnceLock<u32> = OnceLock::new();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = UniqueId {
            ip: self.ip,
            process: u16::from_be_bytes([std::process::id().to_be_bytes()[2], std::process::id().to_be_bytes()[3]]),
            // Java has the hash of its class loader here, which differs from run to run.
            loader: *MARK.get_or_init(|| (RandomState::new().hash_one(std::process::id()) >> 32) as u32),
            ms_of_month: ms_of_month(since),
            counter: COUNTER.fetch_add(1, Ordering::Relaxed),
        };
        id.to_string()
    }
}

/// Milliseconds since the first of the month.
fn ms_of_month(since_epoch: Duration) -> u32 {
    let seconds = since_epoch.as_secs();
    let day_ms = (seconds % DAY_SECONDS) * 1000 + u64::from(since_epoch.subsec_millis());
    let ms = (day_of_month(seconds / DAY_SECONDS) - 1) * DAY_SECONDS * 1000 + day_ms;
    // At most 31 days: below 2^32.
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// Day of the month, from 1, of a day counted from 1970-01-01: the civil calendar in eras of 400 years, which begin in
/// March.
const fn day_of_month(days: u64) -> u64 {
    let days = days + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_rocketmqs_and_differ() {
        let ids = UniqueIds::new([192, 0, 2, 2].into());
        let (first, second) = (ids.next(), ids.next());
        assert_eq!((first.len(), &first[..8]), (32, "C0000202"));
        assert_ne!(first, second);
        assert!(UniqueId::parse(first.as_bytes()).is_ok());
    }

    /// Days by `date -d`.
    #[test]
    fn the_day_of_the_month_is_the_calendars() {
        for (days, day) in
            [(0, 1), (30, 31), (31, 1), (58, 28), (59, 1), (789, 29), (790, 1), (20_513, 1), (11_016, 29)]
        {
            assert_eq!(day_of_month(days), day, "day {days}");
        }
        assert_eq!(ms_of_month(Duration::from_millis(86_400_000 * 31 + 5)), 5);
    }
}
