//! The name server as a program: what scripts and service managers rely on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-namesrv"));
    command.env_remove("RINGMQ_NAMESRV_LISTEN").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it and waits for its first line.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = program().args(arguments).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    (child, line)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it still runs");
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn it_says_where_it_listens_and_stops_cleanly() {
    for stop in [Signal::TERM, Signal::INT] {
        let (child, line) = start(&["--listen", "127.0.0.1:0"]);
        let address: SocketAddr = line.strip_prefix("ready namesrv ").unwrap().trim_end().parse().unwrap();
        assert_ne!(address.port(), 0);
        let _held = TcpStream::connect(address).unwrap();
        signal(&child, stop);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        assert_eq!(status.code(), Some(0));
        assert_eq!(text(&stdout), "", "one line was all");
        assert!(text(&stderr).contains("stopped"), "{}", text(&stderr));
        assert!(!text(&stderr).contains("access control"), "{}", text(&stderr));
    }
}

#[test]
fn a_log_that_takes_nothing_does_not_end_it() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = program().args(["--listen", "127.0.0.1:0"]).stderr(full).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("ready namesrv ").unwrap().trim_end().to_owned();
    // A frame that breaks the protocol is worth a line, and so is the end.
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&[0xff; 8]).unwrap();
        assert!(!matches!(stream.read(&mut [0; 8]), Ok(1..)));
    }
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn unusable_arguments_end_with_2() {
    for arguments in [&["--listen", "nonsense"][..], &["--listen", "127.0.0.1"], &["--unknown"], &["stray"]] {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_taken_port_ends_with_2_and_a_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().args(["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("cannot listen on {address}")) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_client_that_is_refused_for_want_of_tls_costs_one_line() {
    let (child, line) = start(&["--listen", "127.0.0.1:0", "--tls-mode", "enforcing"]);
    let address = line.strip_prefix("ready namesrv ").unwrap().trim_end();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[0, 0, 0, 8]).unwrap();
        // Closed, or reset.
        assert!(!matches!(stream.read(&mut [0; 8]), Ok(1..)));
    }
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert_eq!(said.lines().filter(|line| line.contains("without TLS was refused")).count(), 1, "{said}");
}

#[test]
fn settings_of_tls_that_cannot_work_end_with_2_and_a_sentence() {
    for arguments in [
        &["--tls-mode", "on"][..],
        &["--tls-cert", "/nowhere/a.crt", "--tls-key", "/nowhere/a.key"],
        &["--tls-cert", "/nowhere/a.crt"],
        &["--set", "tls.server.need.client.auth=maybe"],
    ] {
        let output = program().args(arguments).args(["--listen", "127.0.0.1:0"]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
    }
}

#[test]
fn the_address_can_come_from_the_environment() {
    let (child, line) = {
        let mut child = program().env("RINGMQ_NAMESRV_LISTEN", "localhost:0").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    };
    signal(&child, Signal::TERM);
    assert!(line.starts_with("ready namesrv "), "{line}");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn the_version_names_commit_and_format() {
    let output = program().arg("--version").output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(said.starts_with("ringmq-namesrv 0.1.0 (commit ") && said.trim_end().ends_with(", format 1)"), "{said}");
}
