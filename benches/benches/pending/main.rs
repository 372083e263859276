//! Millions of timed messages on one shard: what memory and disk they take, how long a start takes after kill -9, with their
//! index and without, and how late the last of 100 000 is that are due in one second. And a segment that owes a million.
//!
//! ```text
//! cargo bench -p ringmq-benches --bench pending -- all DIR [MESSAGES]
//! cargo bench -p ringmq-benches --bench pending -- leave DIR [MESSAGES]
//! ```
//! 10 000 000 by default, spread over 30 days, 450 B of disk each; 1 000 000 that one segment owes. DIR must not exist, and
//! stays. One process fills the shard through its store and is killed while it goes on sending; each that opens it again is a
//! process of its own.

mod burst;
mod fill;
mod filler;
mod leave;
mod rebuild;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a part in a process of its own until it ends, or says "go on": then it is killed.
fn run(arguments: &[&str]) {
    let program = std::env::current_exe().expect("it runs");
    let mut child = Command::new(&program).args(arguments).stdout(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for line in lines.map_while(Result::ok) {
        if line == "go on" {
            std::thread::sleep(Duration::from_millis(1500));
            child.kill().expect("it is ours");
            drop(child.wait());
            return;
        }
        println!("{line}");
    }
    assert!(child.wait().is_ok_and(|status| status.success()), "{arguments:?} failed");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<u64>().ok());
    let Some(directory) = arguments.get(1) else {
        println!("say what to do, and give a directory to be made");
        return;
    };
    let path = Path::new(directory);
    let make = || std::fs::create_dir(path).expect("a directory that is not there yet");
    match arguments[0].as_str() {
        "fill" => fill::fill(path, number(2).expect("a count")),
        "burst" => burst::burst(path, number(2).expect("a count"), number(3).expect("which")),
        "rebuild" => rebuild::rebuild(path),
        "leave" => {
            make();
            leave::leave(path, number(2).unwrap_or(1_000_000));
        }
        "all" => {
            make();
            let count = number(2).unwrap_or(10_000_000).to_string();
            run(&["fill", directory, &count]);
            for which in ["0", "1", "2"] {
                run(&["burst", directory, &count, which]);
            }
            run(&["rebuild", directory]);
        }
        other => println!("{other} is none of: all, leave; and, in a directory that is there: fill, burst, rebuild"),
    }
}
