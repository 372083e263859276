//! What each mode does, as a script of phases.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringmq_checker::compact::{Account, Reading, of_readings, reconcile};
use ringmq_checker::identity::PRODUCER_COUNT_MAX;

use super::Run;
use super::watch::STALL_TIMEOUT;
use crate::cli::Mode;
use crate::control::{self, Ends};
use crate::count::Board;
use crate::failure::Failure;
use crate::outcome::Phase;
use crate::reading::{Read, Readers, ReadersSetup};
use crate::resources::CpuTime;
use crate::send_times::SendTimes;
use crate::sending::{DRAIN_TIMEOUT, Sending, SendingSetup, Sent};

/// A replay may last this many times the time that was given to sending.
const REPLAY_TIMES_MAX: u32 = 30;

/// A shorter replay says little about the producers' p99.
const REPLAY_MIN: Duration = Duration::from_secs(1);

/// How long a broker may take to put what it acknowledged into its queues.
const QUEUED_TIMEOUT: Duration = Duration::from_secs(30);

/// When a reading is to end before the ends of the queues.
#[derive(Clone, Copy, Default)]
struct ReadLimit {
    time: Option<Duration>,
    messages: Option<u64>,
}

impl ReadLimit {
    fn is_reached(self, elapsed: Duration, read: u64) -> bool {
        self.time.is_some_and(|time| elapsed >= time) || self.messages.is_some_and(|messages| read >= messages)
    }
}

/// One sending: how much, how fast, how long.
struct Order {
    name: &'static str,
    messages_max: Option<u64>,
    rate: Option<f64>,
    send_for: Duration,
}

impl Run<'_> {
    /// Send; then read back and verify.
    pub(super) fn produce(&mut self) -> Result<(), Failure> {
        let order = Order {
            name: "send",
            messages_max: self.messages_max(),
            rate: self.plan.rate,
            send_for: self.plan.send_for,
        };
        let (phase, accounts) = self.send(&order, self.new_accounts())?;
        let acknowledged = phase.messages;
        self.outcome.send = Some(phase);
        if !self.plan.read_back {
            return Ok(());
        }
        let ends = self.ends_behind(acknowledged)?;
        let starts = self.before.iter().map(|&(_, end)| end).collect();
        let (phase, read) = self.read("read back", starts, &ends, self.plan.connections, ReadLimit::default())?;
        self.outcome.read = Some(phase);
        self.judge(&accounts, &read);
        Ok(())
    }

    /// Read a topic from its first to its last message.
    pub(super) fn consume(&mut self) -> Result<(), Failure> {
        let (starts, ends) = (self.before.iter().map(|&(start, _)| start).collect(), self.before.clone());
        let limit = ReadLimit { time: self.plan.read_for, messages: self.plan.messages };
        let (phase, read) = self.read("read", starts, &ends, PRODUCER_COUNT_MAX, limit)?;
        self.outcome.read = Some(phase);
        self.note_unreadable(&read)?;
        let verdict = of_readings(&read.readings);
        self.outcome.read_back = Some(verdict.read_back);
        if verdict.repeated > 0 {
            let repeated = verdict.repeated;
            self.outcome
                .notes
                .push(format!("{repeated} messages were there more than once: of several runs, or duplicates"));
        }
        self.outcome.verdict = Some(verdict);
        Ok(())
    }

    /// Send and read at the same time.
    pub(super) fn produce_and_consume(&mut self) -> Result<(), Failure> {
        let order = Order {
            name: "send",
            messages_max: self.messages_max(),
            rate: self.plan.rate,
            send_for: self.plan.send_for,
        };
        let starts = self.before.iter().map(|&(_, end)| end).collect();
        let is_timed = self.plan.mode == Some(Mode::EndToEnd);
        let (send, read_phase, accounts, read) =
            self.send_while_reading(&order, self.new_accounts(), starts, is_timed, |_| true)?;
        self.outcome.send = Some(send);
        self.outcome.read = Some(read_phase);
        if is_timed {
            self.outcome.end_to_end = Some(read.end_to_end.clone());
            if read.unmeasured > 0 {
                let text = format!("{} messages came too late for their latency to be measured", read.unmeasured);
                self.outcome.notes.push(text);
            }
        }
        self.judge(&accounts, &read);
        Ok(())
    }

    /// Pile up, send at a rate, then the same while the pile is replayed.
    pub(super) fn backlog(&mut self) -> Result<(), Failure> {
        let (rate, send_for) = (self.plan.rate, self.plan.send_for);
        let pile_up = Order {
            name: "pile up",
            messages_max: self.messages_max(),
            rate: None,
            send_for: Duration::from_secs(3600),
        };
        let (phase, accounts) = self.send(&pile_up, self.new_accounts())?;
        let piled_up = phase.messages;
        self.outcome.further.push(phase);
        let alone = Order { name: "send without replay", messages_max: None, rate, send_for };
        let (alone_phase, accounts) = self.send(&alone, accounts)?;
        let while_replaying =
            Order { name: "send while replaying", messages_max: None, rate, send_for: send_for * REPLAY_TIMES_MAX };
        let starts = self.before.iter().map(|&(_, end)| end).collect();
        let is_replayed = |read: u64| read >= piled_up;
        let (send, read_phase, accounts, read) =
            self.send_while_reading(&while_replaying, accounts, starts, false, is_replayed)?;
        let p99 = |phase: &Phase| phase.latencies.quantile_us(0.99);
        let (before_us, while_us) = (p99(&alone_phase), p99(&send));
        let change = (while_us / before_us - 1.0) * 100.0;
        self.outcome.notes.push(format!(
            "producers' p99: {before_us:.0} us without replay, {while_us:.0} us while {piled_up} messages are replayed ({change:+.0} %)"
        ));
        if read_phase.elapsed < REPLAY_MIN {
            let text = "the replay was over before much could be measured: use more --messages";
            self.outcome.notes.push(text.into());
        }
        self.outcome.further.push(alone_phase);
        self.outcome.send = Some(send);
        self.outcome.read = Some(read_phase);
        self.judge(&accounts, &read);
        Ok(())
    }

    /// First and end offset of each queue when the messages that this run has had acknowledged are in them. Apache's brokers put a
    /// message into its queue after acknowledging it, sometimes seconds after; who has lost one is waited for in vain.
    fn ends_behind(&self, acknowledged: u64) -> Result<Vec<Ends>, Failure> {
        let deadline = Instant::now() + QUEUED_TIMEOUT;
        loop {
            let ends = control::ends(&self.cluster, self.plan.dialect, &self.topics)?;
            let queued: u64 = ends.iter().zip(&self.before).map(|(now, before)| now.1.saturating_sub(before.1)).sum();
            if queued >= acknowledged || Instant::now() > deadline {
                return Ok(ends);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn send(&mut self, order: &Order, accounts: Vec<Account>) -> Result<(Phase, Vec<Account>), Failure> {
        self.watch.phase(order.name);
        let cores = self.plan.cores.clone();
        let board = Arc::new(Board::new(cores.len()));
        let mut sending = Sending::prepare(&self.setup(order, &board, &cores, None), accounts)?;
        let broker_ns = self.watch.broker.cpu_ns();
        sending.start();
        let watched = self.watch_sending(order, &board, &sending, |_| false);
        let cpu_broker_ns = self.broker_ns_since(broker_ns);
        self.watch.close(&board);
        let sent = sending.join()?;
        let phase = self.sent(order.name, &board, &sent, cpu_broker_ns);
        let accounted = self.account_for(&sent);
        if let Err(failure) = watched.and(accounted) {
            // What was sent until then is still told.
            self.outcome.send = Some(phase);
            return Err(failure);
        }
        Ok((phase, sent.accounts))
    }

    /// Stops the senders when their time is over (or `is_enough` of what was read), and waits for the last answers.
    fn watch_sending(
        &mut self,
        order: &Order,
        board: &Arc<Board>,
        sending: &Sending,
        is_enough: impl Fn(u64) -> bool,
    ) -> Result<(), Failure> {
        let mut last = (0, Duration::ZERO);
        let watched = self.watch.until(board, |elapsed, totals| {
            if totals.acknowledged != last.0 {
                last = (totals.acknowledged, elapsed);
            }
            let is_stalled = elapsed - last.1 > STALL_TIMEOUT;
            let is_all_sent = order.messages_max.is_some_and(|messages_max| totals.sent >= messages_max);
            elapsed >= order.send_for || is_stalled || is_all_sent || sending.is_ended() || is_enough(totals.read)
        });
        board.stop_sending.store(true, Ordering::Relaxed);
        watched?;
        self.watch.until(board, |elapsed, _| {
            if elapsed > DRAIN_TIMEOUT {
                board.abort();
            }
            sending.is_ended()
        })
    }

    fn send_while_reading(
        &mut self,
        order: &Order,
        accounts: Vec<Account>,
        starts: Vec<u64>,
        is_timed: bool,
        is_replayed: impl Fn(u64) -> bool,
    ) -> Result<(Phase, Phase, Vec<Account>, Read), Failure> {
        self.watch.phase(order.name);
        let (sender_cores, reader_cores) = halves(&self.plan.cores);
        let board = Arc::new(Board::new(sender_cores.len() + reader_cores.len()));
        let producer_count = self.plan.connections;
        let send_times = is_timed.then(|| Arc::new(SendTimes::new(producer_count)));
        let mut sending = Sending::prepare(&self.setup(order, &board, &sender_cores, send_times.clone()), accounts)?;
        let setup = ReadersSetup {
            plan: self.plan,
            cluster: &self.cluster,
            topics: &self.topics,
            board: &board,
            send_times,
            cores: &reader_cores,
            first_thread: sender_cores.len(),
            producer_count,
        };
        let readers = Readers::start(&setup, starts, None)?;
        let broker_ns = self.watch.broker.cpu_ns();
        sending.start();
        // A replay ends the sending; else its time does.
        let by_replay = order.name == "send while replaying";
        let watched = self.watch_sending(order, &board, &sending, |read| by_replay && is_replayed(read));
        let cpu_broker_ns = self.broker_ns_since(broker_ns);
        let sent = sending.join()?;
        let send_phase = self.sent(order.name, &board, &sent, cpu_broker_ns);
        let accounted = self.account_for(&sent);
        watched.and(accounted)?;
        readers.end_at(&self.ends_behind(send_phase.messages)?);
        let watched = self.watch.until_read(&board, |_, _| readers.is_ended());
        self.watch.close(&board);
        let read = readers.join()?;
        let read_phase = self.was_read("read", &board, &read, None);
        self.outcome.read_back = Some(total_read(&read.readings));
        watched?;
        Ok((send_phase, read_phase, sent.accounts, read))
    }

    fn read(
        &mut self,
        name: &'static str,
        starts: Vec<u64>,
        ends: &[Ends],
        producer_count: u32,
        limit: ReadLimit,
    ) -> Result<(Phase, Read), Failure> {
        self.watch.phase(name);
        let cores = self.plan.cores.clone();
        let board = Arc::new(Board::new(cores.len()));
        let setup = ReadersSetup {
            plan: self.plan,
            cluster: &self.cluster,
            topics: &self.topics,
            board: &board,
            send_times: None,
            cores: &cores,
            first_thread: 0,
            producer_count,
        };
        let broker_ns = self.watch.broker.cpu_ns();
        let readers = Readers::start(&setup, starts, Some(ends))?;
        let mut watched = self
            .watch
            .until_read(&board, |elapsed, totals| limit.is_reached(elapsed, totals.read) || readers.is_ended());
        if !readers.is_ended() {
            if watched.is_ok() {
                self.outcome.notes.push("reading ended before the end of the queues, as was asked".into());
            }
            board.abort();
            watched = watched.and(self.watch.until_read(&board, |_, _| readers.is_ended()));
        }
        let cpu_broker_ns = self.broker_ns_since(broker_ns);
        self.watch.close(&board);
        let read = readers.join()?;
        let phase = self.was_read(name, &board, &read, cpu_broker_ns);
        self.outcome.read_back = Some(total_read(&read.readings));
        watched?;
        Ok((phase, read))
    }

    fn setup<'s>(
        &'s self,
        order: &Order,
        board: &'s Arc<Board>,
        cores: &'s [usize],
        send_times: Option<Arc<SendTimes>>,
    ) -> SendingSetup<'s> {
        SendingSetup {
            plan: self.plan,
            cluster: &self.cluster,
            topics: &self.topics,
            namesrv: &self.namesrv,
            board,
            send_times,
            cores,
            messages_max: order.messages_max,
            rate: order.rate,
        }
    }

    fn broker_ns_since(&self, before_ns: Option<u64>) -> Option<u64> {
        Some(self.watch.broker.cpu_ns()?.saturating_sub(before_ns?))
    }

    fn sent(&self, name: &'static str, board: &Board, sent: &Sent, broker_ns: Option<u64>) -> Phase {
        let totals = board.totals();
        Phase {
            name,
            messages: totals.acknowledged,
            body_bytes: totals.acknowledged_bytes,
            elapsed: sent.elapsed,
            latencies: sent.latencies.clone(),
            cpu: CpuTime { broker_ns, generator_ns: sent.cpu_ns },
        }
    }

    fn was_read(&self, name: &'static str, board: &Board, read: &Read, broker_ns: Option<u64>) -> Phase {
        let totals = board.totals();
        Phase {
            name,
            messages: totals.read,
            body_bytes: totals.read_bytes,
            elapsed: read.elapsed,
            latencies: read.latencies.clone(),
            cpu: CpuTime { broker_ns, generator_ns: read.cpu_ns },
        }
    }

    /// What is known after a sending, whatever follows.
    fn account_for(&mut self, sent: &Sent) -> Result<(), Failure> {
        let acknowledged: u64 = sent.accounts.iter().map(Account::acknowledged).sum();
        self.outcome.acknowledged = Some(acknowledged);
        self.outcome.unknown = sent.accounts.iter().map(Account::unknown).sum();
        let complaints = sent.complaints.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        if acknowledged == 0 {
            return Err(Failure::failed(format!("nothing was acknowledged: {complaints}")));
        }
        if !complaints.is_empty() {
            self.outcome.notes.push(complaints);
        }
        Ok(())
    }

    fn judge(&mut self, accounts: &[Account], read: &Read) {
        let verdict = reconcile(accounts, &read.readings);
        self.outcome.read_back = Some(verdict.read_back);
        self.outcome.verdict = Some(verdict);
        if let Err(failure) = self.note_unreadable(read) {
            self.outcome.failure = Some(failure.to_string());
        }
    }

    fn note_unreadable(&mut self, read: &Read) -> Result<(), Failure> {
        self.outcome.notes.extend(read.complaints.iter().take(3).cloned());
        if read.unreadable > 0 {
            let first = read.complaints.first().map_or("", String::as_str);
            return Err(Failure::failed(format!("{} answers to pulls were wrong: {first}", read.unreadable)));
        }
        Ok(())
    }
}

fn total_read(readings: &[Reading]) -> u64 {
    readings.iter().map(Reading::read).sum()
}

/// Cores of senders and of readers; one core alone serves both.
fn halves(cores: &[usize]) -> (Vec<usize>, Vec<usize>) {
    if cores.len() == 1 {
        return (cores.to_vec(), cores.to_vec());
    }
    let (senders, readers) = cores.split_at(cores.len() / 2);
    (senders.to_vec(), readers.to_vec())
}
