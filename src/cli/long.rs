//! Operations that take long: a bar in the terminal, and Ctrl+C.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CliError, Result};
use crate::manager::storage::progress::Watch;

/// How the bar looks. A terminal that is none gets nothing.
const BAR: &str = "{msg} [{bar:40}] {percent:>3} %  {elapsed}, {eta} left";
/// A bar that has been there for less is not shown.
const QUICK: Duration = Duration::from_millis(300);

/// Runs `work` beside a bar that says `doing`. The first Ctrl+C asks it to stop, the second one waits for nothing.
pub(super) async fn run<T: Send + 'static, E: Into<CliError> + Send + 'static>(
    doing: &'static str,
    work: impl FnOnce(Watch<'_>) -> std::result::Result<T, E> + Send + 'static,
) -> Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let bar = ProgressBar::no_length().with_message(doing);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style.progress_chars("=> "));
    }
    let (asked, shown) = (stop.clone(), bar.clone());
    let mut task = tokio::task::spawn_blocking(move || {
        let watch = |done: u64, total: u64| {
            if shown.elapsed() >= QUICK {
                shown.set_length(total);
                shown.set_position(done);
            }
            !asked.load(Ordering::Relaxed)
        };
        work(&watch)
    });
    let result = loop {
        tokio::select! {
            result = &mut task => break result,
            pressed = tokio::signal::ctrl_c() => {
                if stop.swap(true, Ordering::Relaxed) || pressed.is_err() {
                    bar.finish_and_clear();
                    return Err(CliError::Other("stopped. Repeat the command when you want it".to_owned()));
                }
            }
        }
    };
    bar.finish_and_clear();
    match result {
        Ok(result) => result.map_err(E::into),
        Err(error) => Err(CliError::Other(format!("this program has failed: {error}. Report it"))),
    }
}
