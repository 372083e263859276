//! The command line of the simulator.
//!
//! `ringmq-sim run` searches seeds for a violation, `replay` shows one history step by step, `mutants` proves that the
//! search would have found something. Leaves with 0 when nothing was found (for `mutants`: when everything was), 1 for a
//! violation or a survivor, 2 for unusable arguments.

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use ringmq_broker::mutant::{self, Mutant};
use ringmq_sim::runner::{self, Job, Kill, Summary};
use ringmq_sim::scenario;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(
    name = "ringmq-sim",
    version,
    about = "Runs a RingMQ shard in a simulated world that tears, fails and crashes"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one history for each seed and stops at the first violations.
    Run {
        /// From the first seed to the one before the last: `0..1000000`.
        #[arg(long, value_parser = parse_seeds, default_value = "0..100000")]
        seeds: Range<u64>,
        /// Histories at the same time; all cores when left out.
        #[arg(long)]
        threads: Option<usize>,
        /// Go on until so many violations are found.
        #[arg(long, default_value_t = 5)]
        violations: usize,
    },
    /// Runs the history of one seed again.
    Replay {
        /// The seed that a violation was reported with.
        #[arg(long)]
        seed: u64,
        /// Print every step.
        #[arg(long)]
        trace: bool,
        /// The planted bug, by its name.
        #[arg(long, value_parser = parse_mutant)]
        mutant: Option<Mutant>,
    },
    /// Runs one scenario, or all of them, with both alignments.
    Scenario {
        /// Its name; all when left out.
        name: Option<String>,
    },
    /// Plants each bug in turn and counts the seeds until it is found.
    Mutants {
        /// A mutant survives when so many histories do not find it.
        #[arg(long, default_value_t = 20_000)]
        seeds_max: u64,
        /// Histories at the same time; all cores when left out.
        #[arg(long)]
        threads: Option<usize>,
        /// Only this one, by its name.
        #[arg(long, value_parser = parse_mutant)]
        only: Option<Mutant>,
    },
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |part: &str| part.replace('_', "").parse::<u64>().map_err(|error| format!("{part}: {error}"));
    let (first, end) = text.split_once("..").ok_or("write a range, for example 0..100000")?;
    let range = number(first)?..number(end)?;
    if range.is_empty() { Err("the range is empty".into()) } else { Ok(range) }
}

fn parse_mutant(text: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}").eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| format!("no such mutant; there are {:?}", Mutant::ALL))
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { seeds, threads, violations } => run(seeds, cores(threads), violations),
        Command::Replay { seed, trace, mutant } => replay(seed, trace, mutant),
        Command::Scenario { name } => scenarios(name.as_deref()),
        Command::Mutants { seeds_max, threads, only } => mutants(seeds_max, cores(threads), only),
    }
}

fn cores(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// A panic is the violation of its seed: its text is reported there, not by every thread in between.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn run(seeds: Range<u64>, threads: usize, violations_max: usize) -> ExitCode {
    quiet_panics();
    let bar = ProgressBar::new(seeds.end - seeds.start);
    bar.set_style(
        ProgressStyle::with_template(
            "{elapsed_precise} {wide_bar} {human_pos}/{human_len} histories, {per_sec}, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let started = Instant::now();
    let job = Job { seeds: seeds.clone(), threads, violations_max, mutant: None };
    let summary = runner::run(&job, &|histories| bar.inc(histories));
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let Summary { tally, violations } = &summary;
    println!("seeds {}..{} on {threads} threads", seeds.start, seeds.end);
    println!("{tally}");
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = tally.histories as f64 / seconds;
    println!("{rate:.0} histories/s, {seconds:.1} s");
    for violation in violations {
        println!("\nVIOLATION at seed {}\n{}", violation.seed, indent(&violation.what));
        println!("  again: {}", runner::replay_command(violation.seed, None));
    }
    println!("{} violations", violations.len());
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, trace: bool, mutant: Option<Mutant>) -> ExitCode {
    if mutant.is_some() && !mutant::PLANTABLE {
        eprintln!("this build has no mutants: {}", runner::replay_command(seed, mutant));
        return ExitCode::from(2);
    }
    let (tally, violation) = runner::run_seed(seed, mutant, trace);
    println!("seed {seed}\n{tally}");
    match violation {
        None => {
            println!("sound");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("VIOLATION\n{}", indent(&violation.what));
            ExitCode::FAILURE
        }
    }
}

fn scenarios(name: Option<&str>) -> ExitCode {
    let chosen: Vec<_> = scenario::ALL.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = scenario::ALL.iter().map(|(known, _)| *known).collect();
        eprintln!("no such scenario; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    quiet_panics();
    let mut failed = 0;
    for (name, scenario) in chosen {
        for alignment in [512, 4096] {
            match runner::run_scenario(*scenario, alignment, None) {
                Ok(()) => println!("{name} at {alignment}: holds"),
                Err(what) => {
                    failed += 1;
                    println!("{name} at {alignment}: DOES NOT HOLD\n{}", indent(&what));
                }
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mutants(seeds_max: u64, threads: usize, only: Option<Mutant>) -> ExitCode {
    if !mutant::PLANTABLE {
        eprintln!("this build has no mutants: cargo run --release -p ringmq-sim --features mutants -- mutants");
        return ExitCode::from(2);
    }
    quiet_panics();
    let (mut count, mut survivors) = (0, 0);
    println!("{:<26} {:>8}  how it was found", "mutant", "seeds");
    for &mutant in Mutant::ALL.iter().filter(|mutant| only.is_none_or(|only| only == **mutant)) {
        let (seeds, how) = match runner::hunt(mutant, seeds_max, threads) {
            Kill::Seeds(seeds, what) => (seeds.to_string(), what),
            Kill::Scenario(name, what) => ("-".into(), format!("scenario {name}: {what}")),
            Kill::Survived => {
                survivors += 1;
                ("-".into(), "SURVIVED".into())
            }
        };
        let how: String = how.lines().next().unwrap_or_default().chars().take(110).collect();
        println!("{:<26} {seeds:>8}  {how}", format!("{mutant:?}"));
        count += 1;
    }
    print!("{count} planted, ");
    println!("{survivors} survivors");
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
