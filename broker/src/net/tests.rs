use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringmq_tls::ServerTls;

use super::StepMachine;
use super::driver::{Counts, Ended};
use super::listen::listen;
use super::plane::{Mail, Outside, Receiving, Start, serve};
use crate::disk::BlockPool;
use crate::disk::ring::{Access, RingDisk, RingOptions, WakeHandle};
use crate::now::Now;
use crate::shard::io::{Chunk, CloseReason, ConnectionId, ControlInput, ControlOutput, Effects, Input, Output};

pub(super) const BIG_BYTES: usize = 8 << 20;

/// Does what the bytes that it receives say; everything else it sends back.
#[derive(Default)]
struct Obedient {
    output: HashMap<ConnectionId, Vec<Chunk>>,
    turn_for: Option<ConnectionId>,
    tick_for: Option<ConnectionId>,
    drained: usize,
}

impl Obedient {
    fn say(&mut self, connection: ConnectionId, chunk: Vec<u8>, fx: &mut Effects) {
        self.output.entry(connection).or_default().push(Chunk::Owned(chunk));
        if !fx.output.contains(&connection) {
            fx.output.push(connection);
        }
    }
}

impl StepMachine for Obedient {
    fn step(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        match input {
            Input::Received { connection, bytes } => match bytes {
                b"panic" => panic!("as it was told"),
                b"turn" => {
                    self.turn_for = Some(connection);
                    fx.turn_wanted = true;
                }
                b"tick" => {
                    self.tick_for = Some(connection);
                    fx.wake_at_boot_ns = Some(now.boot_ns + 20_000_000);
                }
                b"pause" => {
                    fx.pause.push(connection);
                    self.tick_for = Some(connection);
                    fx.wake_at_boot_ns = Some(now.boot_ns + 50_000_000);
                }
                b"close" => {
                    self.say(connection, b"bye".to_vec(), fx);
                    fx.close.push((connection, CloseReason::Answered));
                }
                b"big" => {
                    for piece in 0..200_u8 {
                        self.say(connection, vec![piece; BIG_BYTES / 200], fx);
                    }
                }
                b"drained" => self.say(connection, self.drained.to_string().into_bytes(), fx),
                _ => self.say(connection, bytes.to_vec(), fx),
            },
            Input::Turn => {
                if let Some(connection) = self.turn_for.take() {
                    self.say(connection, b"turned".to_vec(), fx);
                }
            }
            Input::Tick => {
                if fx.wake_at_boot_ns.is_some_and(|at| at <= now.boot_ns)
                    && let Some(connection) = self.tick_for.take()
                {
                    fx.wake_at_boot_ns = None;
                    fx.resume.push(connection);
                    self.say(connection, b"ticked".to_vec(), fx);
                }
            }
            Input::Drained { .. } => self.drained += 1,
            Input::Control(ControlInput::ReportTopics) => fx.control.push(ControlOutput::Topics(Vec::new())),
            Input::Stop => fx.stopped = true,
            _ => {}
        }
    }

    fn take_output(&mut self, connection: ConnectionId, output: &mut Output) {
        output.chunks.append(&mut self.output.remove(&connection).unwrap_or_default());
    }

    fn recycle(&mut self, _buffer: Vec<u8>) {}
}

#[derive(Debug)]
pub(super) enum Heard {
    Control(usize, ControlOutput),
    Counts(Counts),
    Ended(usize, Ended),
}

struct Test {
    mail: RefCell<Receiver<(usize, Mail)>>,
    heard: Sender<Heard>,
}

impl Outside<Obedient> for Test {
    fn mail(&self, shard: usize) -> Vec<Mail> {
        // The tests send one letter at a time.
        if shard > 0 {
            return Vec::new();
        }
        self.mail.borrow().try_iter().map(|(_, mail)| mail).collect()
    }
    fn control(&self, shard: usize, message: ControlOutput) {
        self.heard.send(Heard::Control(shard, message)).expect("the test listens");
    }
    fn publish(&self, _: usize, _: &Obedient, counts: &Counts, _: usize) {
        self.heard.send(Heard::Counts(counts.clone())).expect("the test listens");
    }
    fn ended(&self, shard: usize, ended: &Ended) {
        self.heard.send(Heard::Ended(shard, ended.clone())).expect("the test listens");
    }
}

pub(super) struct Running {
    addresses: Vec<SocketAddr>,
    wake: WakeHandle,
    mail: Sender<(usize, Mail)>,
    heard: Receiver<Heard>,
    thread: JoinHandle<()>,
    directory: tempfile::TempDir,
}

fn run(shard_count: usize, connection_count_max: usize, receiving: Receiving) -> Running {
    run_with(shard_count, connection_count_max, receiving, None)
}

pub(super) fn run_with(
    shard_count: usize,
    connection_count_max: usize,
    receiving: Receiving,
    tls: Option<Arc<ServerTls>>,
) -> Running {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let (mail, letters) = channel();
    let (heard_by, heard) = channel();
    let (ready, started) = channel();
    let thread = std::thread::spawn(move || {
        let builder = glommio::LocalExecutorBuilder::default().io_memory(256 << 10).ring_depth(128);
        builder.preempt_timer(Duration::from_millis(1)).make().expect("an executor").run(async move {
            let mut ring = RingDisk::new(BlockPool::new(0), RingOptions::default()).expect("a ring");
            let mut addresses = Vec::new();
            let mut starts = Vec::new();
            for number in 0..shard_count {
                let slot = ring.add_shard(&path.join(number.to_string()), Access::Serve).expect("a directory");
                let listener = listen(([127, 0, 0, 1], 0).into()).expect("listens");
                addresses.push(listener.local_addr().expect("bound"));
                let machine = Obedient::default();
                starts.push(Start { machine, slot, listeners: vec![listener], connection_count_max, tls: tls.clone() });
            }
            ready.send((addresses, ring.wake_handle())).expect("the test waits");
            let outside = Test { mail: RefCell::new(letters), heard: heard_by };
            serve(ring, starts, Rc::new(outside), receiving).await.expect("serves");
        });
    });
    let (addresses, wake) = started.recv().expect("starts");
    Running { addresses, wake, mail, heard, thread, directory }
}

impl Running {
    pub(super) fn connect(&self, shard: usize) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[shard]).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("sets");
        stream
    }

    fn send(&self, mail: Mail) {
        self.mail.send((0, mail)).expect("serves");
        self.wake.wake();
    }

    pub(super) fn stop(self) -> Vec<Heard> {
        self.send(Mail::Stop);
        self.thread.join().expect("the executor did not panic");
        let mut ring = RingDisk::new(BlockPool::new(0), RingOptions::default()).expect("a ring");
        ring.add_shard(&self.directory.path().join("0"), Access::Serve).expect("the directory is free again");
        self.heard.try_iter().collect()
    }
}

pub(super) fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).expect("sends");
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer).expect("is answered");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

fn bytes_turns_and_ticks_reach_the_shard_and_its_answers_the_client(receiving: Receiving) {
    let running = run(1, 10, receiving);
    let mut client = running.connect(0);
    assert_eq!(ask(&mut client, "hello"), "hello");
    assert_eq!(ask(&mut client, "turn"), "turned");
    let asked = Instant::now();
    assert_eq!(ask(&mut client, "tick"), "ticked");
    assert!(asked.elapsed() >= Duration::from_millis(20));
    assert_eq!(ask(&mut client, "close"), "bye", "output is offered before the connection is closed");
    assert_eq!(client.read(&mut [0; 8]).expect("ends"), 0);
    let heard = running.stop();
    let closed = heard.iter().find_map(|heard| match heard {
        Heard::Counts(counts) if !counts.closed.is_empty() => Some(counts.closed.clone()),
        _ => None,
    });
    assert_eq!(closed.and_then(|closed| closed.get(&CloseReason::Answered).copied()), Some(1));
    assert!(matches!(heard.last(), Some(Heard::Ended(0, Ended::Stopped))), "{heard:?}");
}

fn output_that_the_kernel_does_not_take_arrives_whole_and_in_order_and_is_drained_once(receiving: Receiving) {
    let running = run(1, 10, receiving);
    let mut client = running.connect(0);
    client.write_all(b"big").expect("sends");
    std::thread::sleep(Duration::from_millis(50));
    // Others are served while this one does not read.
    assert_eq!(ask(&mut running.connect(0), "hello"), "hello");
    let mut all = vec![0; BIG_BYTES / 200 * 200];
    client.read_exact(&mut all).expect("arrives");
    assert!(all.chunks(BIG_BYTES / 200).zip(0..).all(|(piece, number)| piece.iter().all(|byte| *byte == number)));
    assert_eq!(ask(&mut client, "drained"), "2", "once for the hello, once for the big one");
    running.stop();
}

fn paused_connection_is_not_read_until_resumed(receiving: Receiving) {
    let running = run(1, 10, receiving);
    let mut client = running.connect(0);
    client.write_all(b"pause").expect("sends");
    std::thread::sleep(Duration::from_millis(10));
    client.write_all(b"later").expect("sends");
    let mut answer = [0; 11];
    client.read_exact(&mut answer).expect("is answered");
    assert_eq!(&answer, b"tickedlater");
    running.stop();
}

fn panic_ends_one_shard_and_its_port_while_its_neighbour_serves_on(receiving: Receiving) {
    let running = run(2, 10, receiving);
    let (mut first, mut second) = (running.connect(1), running.connect(0));
    assert_eq!(ask(&mut second, "hello"), "hello");
    first.write_all(b"panic").expect("sends");
    assert_eq!(first.read(&mut [0; 8]).unwrap_or(0), 0, "the connection is closed");
    let reason = running.heard.iter().find_map(|heard| match heard {
        Heard::Ended(1, Ended::Failed(fatal)) => Some(fatal.0),
        _ => None,
    });
    assert!(reason.is_some_and(|reason| reason.contains("as it was told")));
    std::thread::sleep(Duration::from_millis(50));
    assert!(TcpStream::connect(running.addresses[1]).is_err(), "the port is closed");
    assert_eq!(ask(&mut second, "hello"), "hello");
    running.stop();
}

fn connection_beyond_the_bound_is_closed_and_counted(receiving: Receiving) {
    let running = run(1, 2, receiving);
    let mut kept = [running.connect(0), running.connect(0)];
    for client in &mut kept {
        assert_eq!(ask(client, "hello"), "hello");
    }
    assert_eq!(running.connect(0).read(&mut [0; 8]).unwrap_or(0), 0);
    drop(kept);
    // A place is free again once the shard has heard of the end.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(ask(&mut running.connect(0), "hello"), "hello");
    running.stop();
}

/// What a test asks again and again while other threads take the processors away; the longest wait for an answer.
fn longest_answer(mut client: TcpStream, asks: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..asks {
        let asked = Instant::now();
        match number % 3 {
            0 => assert_eq!(ask(&mut client, "hello"), "hello"),
            1 => assert_eq!(ask(&mut client, "turn"), "turned"),
            _ => {
                // The executor falls asleep, most times just when the next question comes.
                std::thread::sleep(Duration::from_micros(number as u64 % 7 * 50));
                assert_eq!(ask(&mut client, "hello"), "hello");
            }
        }
        longest = longest.max(asked.elapsed());
    }
    longest
}

fn executor_that_loses_its_core_again_and_again_never_sleeps_over_work(receiving: Receiving) {
    let running = run(1, 10, receiving);
    let over = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        for _ in 0..2 * std::thread::available_parallelism().map_or(4, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let client = running.connect(0);
        let asking = scope.spawn(move || longest_answer(client, 300));
        let longest = asking.join();
        over.store(true, Ordering::Relaxed);
        longest.expect("every question is answered")
    });
    // What is slept over is found by the next second's publishing, if by nothing else; a busy machine takes less.
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    running.stop();
}

fn letters_of_another_thread_are_heard_each_while_the_executor_falls_asleep(receiving: Receiving) {
    let running = run(1, 10, receiving);
    for number in 0..2000_u64 {
        let left = Instant::now();
        running.send(Mail::Control(ControlInput::ReportTopics));
        let answered = running.heard.iter().find(|heard| matches!(heard, Heard::Control(..)));
        assert!(answered.is_some() && left.elapsed() < Duration::from_millis(900), "{number}: {:?}", left.elapsed());
        if number % 5 == 0 {
            std::thread::sleep(Duration::from_micros(number % 11 * 20));
        }
    }
    running.stop();
}

fn messages_of_other_threads_wake_a_sleeping_executor(receiving: Receiving) {
    let running = run(1, 10, receiving);
    running.send(Mail::Control(ControlInput::ReportTopics));
    let answered = running.heard.iter().find(|heard| matches!(heard, Heard::Control(..)));
    assert!(matches!(answered, Some(Heard::Control(0, ControlOutput::Topics(topics))) if topics.is_empty()));
    running.stop();
}

/// Every claim holds whoever says that there is something to receive.
macro_rules! with_both {
    ($($claim:ident)*) => {
        mod by_glommio {
            $(#[test] fn $claim() { super::$claim(crate::net::plane::Receiving::Glommio); })*
        }
        mod by_ring {
            $(#[test] fn $claim() { super::$claim(crate::net::plane::Receiving::Ring); })*
        }
    };
}

pub(super) use with_both;

with_both! {
    bytes_turns_and_ticks_reach_the_shard_and_its_answers_the_client
    output_that_the_kernel_does_not_take_arrives_whole_and_in_order_and_is_drained_once
    paused_connection_is_not_read_until_resumed
    panic_ends_one_shard_and_its_port_while_its_neighbour_serves_on
    connection_beyond_the_bound_is_closed_and_counted
    messages_of_other_threads_wake_a_sleeping_executor
    letters_of_another_thread_are_heard_each_while_the_executor_falls_asleep
    executor_that_loses_its_core_again_and_again_never_sleeps_over_work
}
