//! `lodgectl`: guests from a shell. The verbs are in [`lodge::cli`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Silent unless RUST_LOG asks for more: what matters is told by the verbs themselves.
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    lodge::cli::main()
}
