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
    let bar = bar(doing);
    let (asked, shown) = (stop.clone(), bar.clone());
    let mut task = tokio::task::spawn_blocking(move || work(&|done, total| show(&shown, &asked, done, total)));
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

/// The same for work that is done elsewhere, for which this program only waits.
pub(super) async fn wait<T>(doing: &'static str, work: impl AsyncFnOnce(Watch<'_>) -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    let bar = bar(doing);
    let watch = |done, total| show(&bar, &stop, done, total);
    let mut work = std::pin::pin!(work(&watch));
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            pressed = tokio::signal::ctrl_c() => {
                if stop.swap(true, Ordering::Relaxed) || pressed.is_err() {
                    break Err(CliError::Other("no longer waiting. Look what came of it with \"lodgectl list\"".to_owned()));
                }
            }
        }
    };
    bar.finish_and_clear();
    result
}

fn bar(doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_message(doing);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Shows how much is done, and says whether to go on.
fn show(bar: &ProgressBar, stop: &AtomicBool, done: u64, total: u64) -> bool {
    if bar.elapsed() >= QUICK {
        bar.set_length(total);
        bar.set_position(done);
    }
    !stop.load(Ordering::Relaxed)
}
