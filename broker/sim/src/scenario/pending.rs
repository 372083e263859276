//! Messages for later in random histories: taken, delivered, committed, rolled back, copied by retention, through crashes.
//!
//! The rules: what was promised is seen, once, and never before its time; a half that was rolled back is never seen.

use super::rig::message;
use super::{Got, Rig};
use crate::rng::Rng;
use ringmq_broker::disk::Directory;
use ringmq_broker::store::pending::{DueFound, DueLimits, NewPending, Pending, PendingKind, PendingRead, SettledBy};
use ringmq_broker::store::{Appended, Retention};
use ringmq_proto::ids::{LogPosition, QueueId};
use ringmq_proto::message::StoredMessage;
use std::collections::BTreeMap;

const SEGMENT: u64 = 64 << 10;
const HISTORIES: u64 = 12;
const STEPS: u64 = 150;

/// What is known of one message.
struct Taken {
    appended: Appended,
    kind: PendingKind,
    due_ms: u64,
    /// Taken in this life of the store, so that its promise can be asked for.
    fresh: bool,
    promised: bool,
    /// Its end as rolled back, and whether that was promised.
    rollback: Option<(Appended, bool)>,
    /// At this offset of the real queue.
    seen: Option<u64>,
}

/// So little memory that most of what is pending lies in runs, and these are merged; in some histories all is in memory.
fn due_limits(seed: u64) -> DueLimits {
    if seed.is_multiple_of(4) {
        return DueLimits::default();
    }
    DueLimits {
        recent_entry_count_max: 4,
        near_entry_count_max: 3,
        owed_entry_count_max: 5,
        uncovered_bytes_max: 16 << 10,
    }
}

struct History {
    rig: Rig,
    rng: Rng,
    waiting: QueueId,
    real: QueueId,
    taken: BTreeMap<Vec<u8>, Taken>,
}

/// A delayed message appears exactly once, at or after its time; a committed half once, a rolled back one never.
pub(super) fn pending_message_ends_exactly_once(alignment: usize) {
    for seed in 0..HISTORIES {
        let mut rig = Rig::new(seed, alignment, SEGMENT);
        rig.options.retention = Retention { bytes: Some(3 * SEGMENT), age_ms: None };
        // Both: a start goes back to the older of snapshot and index.
        rig.options.checkpoint_interval_bytes = 16 << 10;
        rig.options.index.uncovered_bytes_max = 16 << 10;
        rig.options.due = due_limits(seed);
        rig.kill();
        rig.open();
        let (waiting, real) = (rig.topic("waiting", 1)[0], rig.topic("real", 1)[0]);
        let filler = rig.topic("filler", 1)[0];
        let mut history = History { rig, rng: Rng::new(seed), waiting, real, taken: BTreeMap::new() };
        for step in 0..STEPS {
            history.step(step, filler);
        }
        history.finish(seed);
    }
}

/// A half that ended in a part of the log which retention took has ended, although the snapshot that a start finds is from
/// before, and places it where nothing is any more.
pub(super) fn pending_message_below_the_trim_has_ended(alignment: usize) {
    let mut rig = Rig::new(18, alignment, SEGMENT);
    rig.kill();
    rig.options.checkpoint_interval_bytes = 8 << 10;
    rig.open();
    let (waiting, filler) = (rig.topic("waiting", 1)[0], rig.topic("filler", 1)[0]);
    let now = rig.now();
    let new = NewPending { kind: PendingKind::Half, due_ms: now.wall_ms + 86_400_000, proof: 0 };
    let half = rig.store().append_pending(now, waiting, &message(now, b"half"), new);
    let half = half.unwrap_or_else(|refusal| panic!("{refusal}"));
    for _ in 0..5 {
        let _promised = rig.send(filler, &[0; 3000]);
    }
    rig.idle();
    rig.stop();
    assert!(!rig.disk.files(Directory::Snapshot).is_empty(), "a snapshot says that it is pending");
    // From now on there is no other.
    rig.options.checkpoint_interval_bytes = 192 << 20;
    rig.options.retention = Retention { bytes: Some(2 * SEGMENT), age_ms: None };
    rig.open();
    let entry = rig.store().pending_half(half.position).expect("it is pending");
    let ended = rig.store().settle(&entry, SettledBy::Cancelled);
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
    rig.settle();
    while rig.store().log_start() < LogPosition::new(SEGMENT) {
        let _promised = rig.send(filler, &[0; 3000]);
        rig.pass_ms(1100);
        rig.settle();
    }
    assert_eq!(rig.store().pending_counts().halves, 0, "before the start");
    rig.kill();
    rig.open();
    assert_eq!(rig.store().pending_counts().halves, 0, "it ended before the trim");
    assert_eq!(rig.store().pending_half(half.position), None);
}

impl History {
    fn step(&mut self, step: u64, filler: QueueId) {
        match self.rng.below(100) {
            0..30 => self.take(step),
            30..55 => self.deliver_due(),
            55..65 => self.end_early(),
            65..85 => {
                for _ in 0..3 {
                    let _sent = self.rig.append(filler, &[0; 3000]);
                }
            }
            85..88 => self.crash(),
            _ => {
                let ms = self.rng.between(1, 700);
                self.rig.pass_ms(ms);
            }
        }
        self.rig.turn();
        for _ in 0..self.rng.below(6) {
            let _more = self.rig.complete().expect("no fault is armed");
        }
        self.look();
    }

    fn take(&mut self, step: u64) {
        let kind = self.rng.pick(&[PendingKind::Delay, PendingKind::Timer, PendingKind::Half]);
        let due_ms = self.rig.wall_ms() + self.rng.pick(&[100, 2000, 60_000]);
        let body = format!("later {step}").into_bytes();
        let (now, queue) = (self.rig.now(), self.waiting);
        let new = NewPending { kind, due_ms, proof: 0 };
        let Ok(appended) = self.rig.store().append_pending(now, queue, &message(now, &body), new) else { return };
        let taken = Taken { appended, kind, due_ms, fresh: true, promised: false, rollback: None, seen: None };
        self.taken.insert(body, taken);
    }

    /// The bytes of a pending message, once they are read.
    fn read(&mut self, entry: &Pending) -> Option<Vec<u8>> {
        for _ in 0..20 {
            match self.rig.store().pending_message(entry) {
                PendingRead::Found(bytes) => {
                    return Some(StoredMessage::decode(&bytes).expect("sound").parts.body.to_vec());
                }
                PendingRead::Damaged(_) | PendingRead::Failed(_) => return None,
                PendingRead::NotYet => {
                    self.rig.turn();
                    let _loaded = self.rig.complete().expect("no fault is armed");
                }
            }
        }
        None
    }

    fn deliver_due(&mut self) {
        let wall_ms = self.rig.wall_ms();
        let mut due = Vec::new();
        self.rig.store().due(wall_ms, 8, &mut due);
        for entry in due {
            assert!(entry.due_ms <= wall_ms, "due at {}, delivered at {wall_ms}", entry.due_ms);
            if entry.kind == PendingKind::Half {
                let _asked = self.rig.store().postpone(entry.origin, wall_ms + 1000);
            } else {
                self.settle(&entry);
            }
        }
    }

    /// What is pending under that name, once it is read.
    fn find(&mut self, kind: PendingKind, due_ms: u64, origin: LogPosition) -> Option<Pending> {
        for _ in 0..40 {
            let found = match kind {
                PendingKind::Half => return self.rig.store().pending_half(origin),
                _ => self.rig.store().find_pending(due_ms, origin),
            };
            match found {
                DueFound::Pending(entry) => return Some(entry),
                DueFound::Nothing => return None,
                DueFound::Failed(why) => panic!("{why}"),
                DueFound::NotYet => {
                    self.rig.turn();
                    let _loaded = self.rig.complete().expect("no fault is armed");
                }
            }
        }
        panic!("the index is never loaded")
    }

    /// Delivers or commits what is pending there; as often as the store lets it.
    fn settle(&mut self, entry: &Pending) {
        let Some(body) = self.read(entry) else { return };
        // Reading took time.
        let Some(entry) = self.find(entry.kind, entry.due_ms, entry.origin) else { return };
        let (now, real) = (self.rig.now(), self.real);
        for _ in 0..2 {
            let to = (real, &message(now, &body));
            let _settled = self.rig.store().settle_with_message(now, &entry, SettledBy::Delivered, to, true);
        }
    }

    /// A half is committed or rolled back, a timed message is recalled.
    fn end_early(&mut self) {
        let ends: Vec<_> = self.taken.iter().filter(|(_, taken)| taken.kind != PendingKind::Delay).collect();
        if ends.is_empty() {
            return;
        }
        let index = self.rng.index(ends.len());
        let Taken { appended, kind, due_ms, .. } = ends[index].1;
        let (body, origin, kind, due_ms) = (ends[index].0.clone(), appended.position, *kind, *due_ms);
        let commit = kind == PendingKind::Half && self.rng.percent(60);
        // Positions of a life that ended before they were durable may be another's now.
        let ours = self.find(kind, due_ms, origin);
        let Some(ours) = ours.filter(|entry| self.read(entry).is_some_and(|found| found == body)) else { return };
        let Some(ours) = self.find(kind, ours.due_ms, origin) else { return };
        if commit {
            self.settle(&ours);
        } else if let Ok(Some(appended)) = self.rig.store().settle(&ours, SettledBy::Cancelled) {
            self.taken.get_mut(&body).expect("listed").rollback = Some((appended, false));
        }
    }

    fn crash(&mut self) {
        if self.rng.percent(50) {
            self.rig.cut_power();
        } else {
            self.rig.kill();
        }
        for taken in self.taken.values_mut() {
            taken.fresh = false;
            if taken.rollback.is_some_and(|(_, promised)| !promised) {
                // It may have become durable all the same: then it is gone, else it is pending.
                (taken.rollback, taken.promised) = (None, false);
            }
        }
        self.rig.open();
    }

    /// Notes promises and what has appeared.
    fn look(&mut self) {
        for taken in self.taken.values_mut() {
            taken.promised |= taken.fresh && self.rig.is_promised(&taken.appended);
            if let Some((appended, promised)) = &mut taken.rollback {
                *promised = *promised || self.rig.is_promised(appended);
            }
        }
        for (offset, got) in self.rig.read_all(self.real) {
            let Got::Message(body) = got else { panic!("offset {offset} is damaged on a sound disk") };
            let text = String::from_utf8_lossy(&body).into_owned();
            let taken = self.taken.get_mut(&body).unwrap_or_else(|| panic!("nobody sent {text}"));
            let before = taken.seen.replace(offset).unwrap_or(offset);
            assert_eq!(before, offset, "{text} appears twice");
            assert!(taken.rollback.is_none_or(|(_, promised)| !promised), "{text} was rolled back");
            assert!(taken.kind == PendingKind::Half || taken.due_ms <= self.rig.wall_ms(), "{text} is early");
        }
    }

    fn finish(mut self, seed: u64) {
        for _ in 0..130 {
            self.rig.pass_ms(500);
            self.deliver_due();
            self.rig.settle();
            self.look();
        }
        let halves = self.taken.values().filter(|taken| taken.kind == PendingKind::Half && taken.promised);
        let origins: Vec<_> = halves.map(|taken| taken.appended.position).collect();
        for origin in origins {
            if let Some(entry) = self.rig.store().pending_half(origin) {
                self.settle(&entry);
            }
            self.rig.settle();
            self.look();
        }
        for (body, taken) in &self.taken {
            let owed = taken.promised && taken.rollback.is_none();
            let text = String::from_utf8_lossy(body);
            assert!(!owed || taken.seen.is_some(), "seed {seed}: {text} ({:?}) was promised and is lost", taken.kind);
        }
    }
}
