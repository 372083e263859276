//! Regenerates `proto/src/native/generated/native_generated.rs` from `proto/schema/native.fbs`.
//!
//! `cargo run -p ringmq-codegen` writes it; with `-- --check` it only compares, and ends with 1 when they differ. The
//! generator is built from C++ (minutes, cmake), so the package is not among the default members, the result is
//! committed, and a test of ringmq-proto (`generated_code`) notices a changed schema by a hash alone.

mod content_hash;

use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("usage: ringmq-codegen [--check]");
            return Ok(ExitCode::from(2));
        }
    };
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let schema_path = proto.join("schema/native.fbs");
    let target_path = proto.join("src/native/generated/native_generated.rs");

    let body = generate(&schema_path)?;
    let wanted = content_hash::header(&fs::read_to_string(&schema_path)?, &body) + &body;
    if fs::read_to_string(&target_path).is_ok_and(|present| present == wanted) {
        println!("{} is what the schema says", target_path.display());
        return Ok(ExitCode::SUCCESS);
    }
    if check {
        eprintln!("{} is not what the schema says: run `cargo run -p ringmq-codegen`", target_path.display());
        return Ok(ExitCode::FAILURE);
    }
    fs::write(&target_path, wanted)?;
    println!("wrote {}", target_path.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs flatc in a folder of its own and gives what it wrote.
fn generate(schema_path: &Path) -> Result<String> {
    let folder = std::env::temp_dir().join(format!("ringmq-codegen-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let status = Command::new(flatc_fork::flatc()).arg("--rust").arg("-o").arg(&folder).arg(schema_path).status()?;
    let body = fs::read_to_string(folder.join("native_generated.rs"));
    fs::remove_dir_all(&folder)?;
    if !status.success() {
        return Err(Error::other(format!("flatc ended with {status}")));
    }
    body
}
