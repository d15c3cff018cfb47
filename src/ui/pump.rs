//! Takes what comes from tokio on the main loop in small helpings: however much comes, everything else has its turn in between,
//! and is drawn.

use std::{
    cell::Cell,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use gtk::{gdk, glib, prelude::*};
use tokio::sync::{mpsc::Receiver, oneshot};

/// What comes from one sender keeps the main loop busy for so long at a time.
const HELPING: Duration = Duration::from_millis(4);
/// Who sends more in this time floods, and waits.
const MANY: u32 = 32;
/// So long.
const PENALTY: Duration = Duration::from_millis(50);

/// Has `take` take all that comes, until the sender is gone or it wants no more.
pub async fn pump<T>(mut receiver: Receiver<T>, mut take: impl FnMut(T) -> ControlFlow<()>) {
    let (mut spent, mut taken) = (Duration::ZERO, 0);
    while let Some(item) = receiver.recv().await {
        let begin = Instant::now();
        if take(item).is_break() {
            return;
        }
        spent += begin.elapsed();
        taken += 1;
        if spent >= HELPING {
            rest(if taken > MANY { PENALTY } else { Duration::ZERO }).await;
            (spent, taken) = (Duration::ZERO, 0);
        }
    }
}

/// How urgent drawing is. What is less urgent than that may never have its turn while a guest's screen is in motion.
pub fn drawing() -> glib::Priority {
    // It is 120.
    glib::Priority::from(gdk::PRIORITY_REDRAW as i32)
}

/// Waits for `pause`, and until all has its turn that is as urgent as drawing.
pub async fn rest(pause: Duration) {
    glib::timeout_future_with_priority(drawing(), pause).await;
}

/// Waits until `widget` has been drawn, or has gone: what is shown in steps leaves time in between for all else. It is kept by nobody
/// meanwhile, and one that cannot be seen is waited for until it can.
pub fn drawn(widget: &gtk::Widget) -> impl Future<Output = ()> + use<> {
    let (drawn, is_drawn) = oneshot::channel::<()>();
    let drawn = Cell::new(Some(drawn));
    // The frame that begins here is drawn before anybody else has a turn.
    widget.add_tick_callback(move |_, _| {
        drop(drawn.take());
        glib::ControlFlow::Break
    });
    async {
        let _ = is_drawn.await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, thread};

    use super::*;
    use crate::ui::testing::{wait_until, with_gtk};

    #[test]
    fn a_stream_without_end_leaves_time_for_what_is_drawn() {
        with_gtk(|| {
            let (sender, receiver) = tokio::sync::mpsc::channel(8);
            let flood = thread::spawn(move || while sender.blocking_send(()).is_ok() {});
            let (drawn, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let draw = drawn.clone();
            let drawn_too = glib::idle_add_local_full(drawing(), move || {
                draw.set(draw.get() + 1);
                glib::ControlFlow::Continue
            });

            let (seen, told, begin) = (drawn.clone(), ended.clone(), Instant::now());
            relm4::spawn_local(async move {
                let take = |()| {
                    thread::sleep(Duration::from_micros(200));
                    match seen.get() >= 10 || begin.elapsed() > Duration::from_secs(10) {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                };
                pump(receiver, take).await;
                told.set(true);
            });
            wait_until("the stream is left", || ended.get());

            assert!(drawn.get() >= 10, "drawn {} times", drawn.get());
            drawn_too.remove();
            flood.join().unwrap();
        });
    }
}
