//! How live the main loop is, for tests and benchmarks: with `LODGE_TRACE_STALLS=FILE` a thread asks again and again how long what
//! is as urgent as drawing has to wait, and writes down each long wait: a line with the moment when it began (seconds since 1970)
//! and its length (milliseconds).

use std::{
    fs::File,
    io::{self, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gtk::glib;

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
    loop {
        let (asked, began) = (Instant::now(), SystemTime::now());
        let (answer, answered) = mpsc::channel();
        glib::idle_add_full(drawing(), move || {
            // Nobody has stopped waiting.
            let _ = answer.send(());
            glib::ControlFlow::Break
        });
        if answered.recv().is_err() {
            return Ok(());
        }
        let waited = asked.elapsed();
        if waited >= WORTH {
            let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
            writeln!(file, "{:.3} {:.1}", began.as_secs_f64(), waited.as_secs_f64() * 1000.0)?;
        }
        thread::sleep(INTERVAL);
    }
}
