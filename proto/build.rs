//! Tells `build_info` which commit is built.
//!
//! Only a release build asks git: were every build tied to HEAD, each commit would compile the whole workspace anew. What
//! is measured and shipped is a release build.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = if is_release { commit() } else { None };
    println!("cargo::rustc-env=RINGMQ_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The short id of HEAD, with a plus sign when tracked files differ from it; `None` outside a git checkout.
fn commit() -> Option<String> {
    let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // HEAD's log changes with each commit and checkout, whether HEAD names a branch or not.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty()) {
        commit.push('+');
    }
    Some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
