//! Lodge's desktop application. Its parts are in [`ui`]; everything that is not a window is in the `lodge` library.

// But for the memory of a guest's screen, which cairo is shown: src/ui/console/surface.rs.
#![deny(unsafe_code)]

mod ui;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// What `lodge` understands on its command line.
#[derive(Parser)]
#[command(name = "lodge", version, about = "A desktop virtual machine manager with its own KVM engine")]
#[command(after_help = "Without a display use lodgectl, which does the same from a shell.")]
struct Arguments {
    /// Go on with making a new guest
    #[arg(long)]
    new_guest: bool,
}

fn main() -> ExitCode {
    let Arguments { new_guest } = Arguments::parse();
    let filter = EnvFilter::try_from_env("LODGE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match ui::app::run(new_guest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
