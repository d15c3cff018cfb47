//! `lodge-worker`: runs one guest. Started by `lodge` and `lodgectl`, never by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    // SAFETY: the first thing that the process does, and done once.
    unsafe { lodge::worker::run::run() }
}
