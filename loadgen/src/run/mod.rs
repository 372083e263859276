//! A run from its arguments to its exit code: what is started, in which order, what is watched meanwhile, and what is reported.

mod modes;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ringmq_checker::compact::Account;

use crate::cli::{Api, Arguments, Mode};
use crate::cluster::{Cluster, NameServers};
use crate::control;
use crate::drive::TICK;
use crate::embedded::EmbeddedCluster;
use crate::failure::Failure;
use crate::outcome::{Outcome, TARGET_MESSAGES_PER_S};
use crate::plan::{ClusterPlan, DISK_OVERHEAD_BYTES, Plan};
use crate::report;
use watch::Watch;

pub use watch::interrupt;

/// Runs, prints, writes; gives the process's exit code.
pub fn run(arguments: &Arguments) -> ExitCode {
    let mut outcome = Outcome {
        mode: arguments.mode.map_or("main", Mode::name),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        ..Outcome::default()
    };
    let result = Plan::new(arguments).and_then(|plan| execute(&plan, &mut outcome));
    if let Err(failure) = &result {
        outcome.failure = Some(failure.to_string());
    }
    let code = match &result {
        Err(failure @ Failure::Unusable(_)) => {
            eprintln!("ringmq-loadgen: {failure}");
            failure.exit_code()
        }
        _ => {
            print!("{}", report::table(&outcome));
            println!("{}", report::verdict_line(&outcome));
            u8::from(!outcome.is_success())
        }
    };
    let written = [(&arguments.json, report::json(&outcome)), (&arguments.report, report::page(&outcome))];
    for (path, text) in written {
        if let Some(error) = path.as_deref().and_then(|path| write(path, &text).err()) {
            eprintln!("ringmq-loadgen: {error}");
            return ExitCode::from(code.max(1));
        }
    }
    ExitCode::from(code)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What all modes work with.
struct Run<'a> {
    plan: &'a Plan,
    topics: Arc<[String]>,
    namesrv: String,
    cluster: Arc<Cluster>,
    /// First and end offset of each queue before the run.
    before: Vec<control::Ends>,
    /// Messages that the disk has room for.
    room: Option<u64>,
    watch: Watch,
    outcome: &'a mut Outcome,
}

fn execute(plan: &Plan, outcome: &mut Outcome) -> Result<(), Failure> {
    outcome.title = plan.title();
    outcome.run_seed = plan.seed.0;
    outcome.rate = plan.rate;
    outcome.generator_threads = plan.cores.len();
    let mut embedded = None;
    let mut room = None;
    let names = match &plan.cluster {
        ClusterPlan::At(addresses) => NameServers::parse(addresses)?,
        ClusterPlan::Embedded(embedded_plan) => {
            let cluster = EmbeddedCluster::start(embedded_plan)?;
            let names = NameServers::parse(&cluster.namesrv_address())?;
            let message_bytes = DISK_OVERHEAD_BYTES.saturating_add(plan.size.largest() as u64);
            room = embedded_plan.retention_bytes.is_none().then(|| cluster.messages_max(message_bytes));
            embedded = Some(cluster);
            names
        }
    };
    let result = drive(plan, &names, room, outcome);
    if let Some(cluster) = embedded {
        outcome.message_commit_us = cluster.message_commits().filter(|_| outcome.send.is_some());
        let stopped = cluster.stop();
        return result.and(stopped);
    }
    result
}

fn drive(plan: &Plan, names: &NameServers, room: Option<u64>, outcome: &mut Outcome) -> Result<(), Failure> {
    let create = (plan.mode != Some(Mode::Consume)).then_some(plan.queues);
    let cluster = Arc::new(control::find(names, plan.dialect, &plan.topics, create)?);
    let topics: Arc<[String]> = plan.topics.clone().into();
    let before = control::ends(&cluster, plan.dialect, &topics)?;
    let watch = Watch::new(plan.progress, plan.broker_process);
    let mut run = Run { plan, topics, namesrv: names.to_string(), cluster, before, room, watch, outcome };
    let result = match plan.mode {
        None | Some(Mode::Produce) => run.produce(),
        Some(Mode::Consume) => run.consume(),
        Some(Mode::EndToEnd | Mode::Mixed) => run.produce_and_consume(),
        Some(Mode::Backlog) => run.backlog(),
    };
    run.conclude();
    result
}

impl Run<'_> {
    fn new_accounts(&self) -> Vec<Account> {
        (0..self.plan.connections).map(Account::new).collect()
    }

    /// Messages to send at most: what was asked for, and what the disk has room for.
    fn messages_max(&self) -> Option<u64> {
        match (self.plan.messages, self.room) {
            (Some(wanted), Some(room)) => Some(wanted.min(room)),
            (wanted, room) => wanted.or(room),
        }
    }

    /// What the watch saw goes into the outcome, and what is to be known beside the numbers.
    fn conclude(&mut self) {
        self.watch.end();
        self.outcome.samples = std::mem::take(&mut self.watch.samples);
        self.outcome.rss_bytes_max = self.watch.rss_bytes_max;
        let totals = self.outcome.samples.last().map(|last| last.totals).unwrap_or_default();
        self.outcome.errors += totals.errors;
        self.outcome.reconnects += totals.reconnects;
        if self.plan.rate.is_some() && self.plan.api == Api::Connection {
            let tick_us = TICK.as_micros();
            let text = format!(
                "open loop in ticks of {tick_us} us, which every latency includes: half of one on average each way"
            );
            self.outcome.notes.push(text);
        }
        let Some(send) = &self.outcome.send else { return };
        if self.room.is_some_and(|room| send.messages >= room) {
            self.outcome.notes.push("sending ended when the disk had no more room for the run".into());
        }
        // A generator that is as busy as its cores allow may be the limit, not the broker.
        let cores = send.generator_cores();
        if self.plan.rate.is_none() && cores > 0.9 * self.outcome.generator_threads as f64 {
            let broker = send.broker_cores().map_or_else(String::new, |cores| format!(" (the broker used {cores:.2})"));
            self.outcome
                .notes
                .push(format!("the generator used {cores:.2} cores, all it had{broker}: it may be the limit"));
        }
        if send.rate() < TARGET_MESSAGES_PER_S && self.plan.rate.is_none() {
            self.outcome.notes.push("fewer than the target: a verdict, not a failure".into());
        }
    }
}
