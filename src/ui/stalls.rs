//! How live the main loop is, for tests and benchmarks: with `LODGE_TRACE_STALLS=FILE` a thread asks again and again how long what
//! is as urgent as drawing has to wait, and writes down each long wait: a line with the moment when it began (seconds since 1970),
//! its length, and what of it the main loop's thread was at work (milliseconds): on a busy machine it waits for a processor too.

use std::{
    fs::File,
    io::{self, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gtk::glib;
use rustix::time::{ClockId, clock_gettime};

use super::pump::drawing;

/// Names the file.
const VARIABLE: &str = "LODGE_TRACE_STALLS";
/// The time between two questions.
const INTERVAL: Duration = Duration::from_millis(10);
/// Shorter waits are not worth a line.
const WORTH: Duration = Duration::from_millis(10);

/// Begins to trace, if that is wanted.
pub fn trace() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let begun =
        File::create(path).and_then(|file| thread::Builder::new().name("stalls".to_owned()).spawn(|| watch(file)));
    if let Err(error) = begun {
        tracing::warn!("{VARIABLE}: {error}");
    }
}

fn watch(mut file: File) -> io::Result<()> {
    let mut worked = Duration::ZERO;
    loop {
        let (asked, began) = (Instant::now(), SystemTime::now());
        let (answer, answered) = mpsc::channel();
        glib::idle_add_full(drawing(), move || {
            // Nobody has stopped waiting.
            let _ = answer.send(used());
            glib::ControlFlow::Break
        });
        let Ok(used) = answered.recv() else { return Ok(()) };
        let waited = asked.elapsed();
        let work = used.saturating_sub(std::mem::replace(&mut worked, used)).min(waited);
        if waited >= WORTH {
            let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
            let [waited, work] = [waited, work].map(|time| time.as_secs_f64() * 1000.0);
            writeln!(file, "{:.3} {waited:.1} {work:.1}", began.as_secs_f64())?;
        }
        thread::sleep(INTERVAL);
    }
}

/// The processor time that this thread has used.
fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
