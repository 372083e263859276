//! The books of all producers and readers, brought together.

use std::fmt;

use super::reading::Seen;
use super::{Account, Reading};
use crate::anomaly::{Anomalies, Anomaly, AnomalyKind};
use crate::identity::MessageId;
use crate::judge::QueueIndex;

/// What a large run came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Messages that left.
    pub sent: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that were refused definitely.
    pub failed: u64,
    /// Messages without an outcome.
    pub unknown: u64,
    /// Of those without an outcome: how many were read.
    pub unknown_found: u64,
    /// Messages that were read, sound or not.
    pub read_back: u64,
    /// Acknowledged messages that were read with every byte as it was sent.
    pub verified: u64,
    /// Messages whose place was compared with the one their acknowledgement named.
    pub places_compared: u64,
    /// Messages that were read more than once; only of [`of_readings`], where that is no fault.
    pub repeated: u64,
    /// What is wrong. Empty means sound.
    pub anomalies: Anomalies,
}

impl Verdict {
    /// Everything acknowledged was read and verified, and nothing else is wrong.
    pub fn is_sound(&self) -> bool {
        self.anomalies.is_empty() && self.verified == self.acknowledged
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged {}, read back {}, verified {}", self.acknowledged, self.read_back, self.verified)?;
        if self.unknown > 0 {
            write!(f, ", unknown {} (of these found {})", self.unknown, self.unknown_found)?;
        }
        write!(f, ": {}", self.anomalies)
    }
}

/// Judges a run whose readers read every queue to its end. Accounts and readings of any order; at most one account for a
/// producer.
pub fn reconcile(accounts: &[Account], readings: &[Reading]) -> Verdict {
    let (mut verdict, seen) = gather(readings);
    let nothing = Seen::default();
    for account in accounts {
        judge(account, seen.get(account.producer as usize).unwrap_or(&nothing), &mut verdict);
    }
    // What was read of producers without books: nobody sent it.
    for (producer, seen) in (0u32..).zip(&seen) {
        if seen.once.count() > 0 && !accounts.iter().any(|account| account.producer == producer) {
            let first = MessageId::new(producer, seen.once.end() - 1);
            let anomaly = Anomaly::new(AnomalyKind::Phantom).of(first);
            verdict.anomalies.report(anomaly.other(seen.once.count()));
        }
    }
    verdict
}

/// Judges what was read where nobody knows any more what was sent: every body must be a message of the run, and the offsets dense.
/// Messages that were read more than once are counted, not reported: several runs may have used the same seed.
pub fn of_readings(readings: &[Reading]) -> Verdict {
    let (mut verdict, seen) = gather(readings);
    verdict.anomalies.excuse(AnomalyKind::Duplicate);
    verdict.acknowledged = verdict.read_back;
    verdict.verified = readings.iter().map(|reading| reading.verified).sum();
    verdict.repeated = seen.iter().map(|seen| seen.twice.count()).sum();
    verdict
}

/// All readers' books in one.
fn gather(readings: &[Reading]) -> (Verdict, Vec<Seen>) {
    let mut verdict = Verdict::default();
    let producer_count = readings.iter().map(|reading| reading.producers.len()).max().unwrap_or(0);
    let mut seen: Vec<Seen> = vec![Seen::default(); producer_count];
    for reading in readings {
        verdict.read_back += reading.read;
        verdict.anomalies.absorb(&reading.anomalies);
        for (producer, (all, part)) in (0u32..).zip(seen.iter_mut().zip(&reading.producers)) {
            merge(producer, all, part, &mut verdict.anomalies);
        }
    }
    (verdict, seen)
}

fn merge(producer: u32, all: &mut Seen, part: &Seen, anomalies: &mut Anomalies) {
    let Seen { once, twice, placements } = all;
    placements.absorb(&part.placements);
    once.absorb(&part.once, |sequence| {
        if !twice.insert(sequence) {
            anomalies.report(Anomaly::new(AnomalyKind::Duplicate).of(MessageId::new(producer, sequence)));
        }
    });
    twice.absorb(&part.twice, |sequence| {
        anomalies.report(Anomaly::new(AnomalyKind::Duplicate).of(MessageId::new(producer, sequence)));
    });
}

fn judge(account: &Account, seen: &Seen, verdict: &mut Verdict) {
    let message = |sequence| MessageId::new(account.producer, sequence);
    verdict.sent += account.sent;
    verdict.acknowledged += account.acknowledged();
    verdict.failed += account.failed();
    verdict.unknown += account.unknown();
    let anomalies = &mut verdict.anomalies;
    for _ in 0..account.outcomes_invented {
        anomalies.report(Anomaly::new(AnomalyKind::OutcomeWithoutSend).of(message(0)));
    }
    let highest_read = seen.once.end();
    let mut lost = 0;
    account.acknowledged.for_each_not_in(&seen.once, |sequence| {
        let kind = if sequence < highest_read { AnomalyKind::Lost } else { AnomalyKind::UnseenTail };
        anomalies.report(Anomaly::new(kind).of(message(sequence)));
        lost += 1;
    });
    verdict.verified += account.acknowledged() - lost;
    account.failed.for_each_in_both(&seen.once, |sequence| {
        anomalies.report(Anomaly::new(AnomalyKind::AbortedRead).of(message(sequence)));
    });
    seen.once.for_each_not_in(&account.acknowledged, |sequence| {
        if sequence >= account.sent {
            anomalies.report(Anomaly::new(AnomalyKind::Phantom).of(message(sequence)));
        } else if !account.failed.contains(sequence) {
            verdict.unknown_found += 1;
        }
    });
    seen.twice.for_each_not_in(&account.maybe_twice, |sequence| {
        anomalies.report(Anomaly::new(AnomalyKind::Duplicate).of(message(sequence)));
    });
    let places = account.placements.0.iter().zip(&seen.placements.0);
    for (slot, (promised, found)) in (0u64..).zip(places) {
        let (Some(promised), Some((queue, offset))) = (promised.get(), found.get()) else { continue };
        let sequence = slot * super::PLACEMENT_STRIDE;
        verdict.places_compared += 1;
        // One that may be there twice may have been read at its other place.
        if promised != (queue, offset) && !account.maybe_twice.contains(sequence) {
            let anomaly = Anomaly::new(AnomalyKind::OffsetConflict).at(QueueIndex(queue), offset);
            anomalies.report(anomaly.of(message(sequence)).other(promised.1));
        }
    }
}
