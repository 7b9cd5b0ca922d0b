//! `make demo`: runs the demo and writes target/demo.json; `demo --sweep` deletes what a killed run left behind.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--sweep") => {
            tests::sweep();
            ExitCode::SUCCESS
        }
        Some(report) => {
            if tests::demo::run(Path::new(report)) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        None => {
            eprintln!("usage: demo REPORT.json | demo --sweep");
            ExitCode::from(2)
        }
    }
}
