//! The binary: reads the command line and starts the runtime.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn::cli::main()
}
