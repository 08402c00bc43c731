//! The `muster` binary: arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    muster::cli::main()
}
