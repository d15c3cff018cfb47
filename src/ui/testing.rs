//! What the components' tests share.

use std::{
    sync::OnceLock,
    sync::mpsc,
    time::{Duration, Instant},
};

use gtk::{gdk, glib, graphene, prelude::*};
use lodge::manager::definition::Definition;

use super::backend::{GuestId, GuestState, GuestView};

type Job = Box<dyn FnOnce() + Send>;

/// Runs `test` on the one thread that GTK may be used from. Without a display it is skipped, in CI it fails: run the tests
/// with `dbus-run-session -- xvfb-run -a -s '-screen 0 1600x1000x24' cargo test --bin lodge`.
pub fn with_gtk(test: impl FnOnce() + Send + 'static) {
    static JOBS: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let display = gtk::init().is_ok() && adw::init().is_ok();
            ready.send(display).expect("the thread that waits is there");
            for job in jobs {
                job();
            }
        });
        is_ready.recv().expect("the thread answers").then_some(sender)
    });
    let Some(jobs) = jobs else {
        assert!(std::env::var_os("CI").is_none(), "there is no display");
        eprintln!("skipped: there is no display");
        return;
    };
    let (done, is_done) = mpsc::channel();
    let job = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        done.send(result).expect("the test waits");
    };
    jobs.send(Box::new(job)).expect("GTK's thread lives as long as the tests");
    if let Err(panic) = is_done.recv().expect("GTK's thread answers") {
        std::panic::resume_unwind(panic);
    }
}

/// Lets GTK work until `condition` holds; fails after a minute.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    // Wakes the main loop when nothing else does, so that the deadline is seen.
    let tick = glib::timeout_add_local(Duration::from_millis(20), || glib::ControlFlow::Continue);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        glib::MainContext::default().iteration(true);
    }
    tick.remove();
}

/// Shows the widget and counts the pixels that it paints something on.
pub fn painted_pixels(widget: &impl IsA<gtk::Widget>) -> usize {
    let window = gtk::Window::builder().child(widget).build();
    window.present();
    wait_until("the widget is drawn", || widget.width() > 0 && picture(widget.upcast_ref()).is_some());
    let texture = picture(widget.upcast_ref()).expect("it was there");
    let (width, height) = (texture.width() as usize, texture.height() as usize);
    let mut bytes = vec![0; width * height * 4];
    texture.download(&mut bytes, width * 4);
    window.destroy();
    bytes.chunks_exact(4).filter(|pixel| pixel.iter().any(|byte| *byte != 0)).count()
}

fn picture(widget: &gtk::Widget) -> Option<gdk::Texture> {
    let paintable = gtk::WidgetPaintable::new(Some(widget));
    let (width, height) = (widget.width(), widget.height());
    let snapshot = gtk::Snapshot::new();
    paintable.snapshot(&snapshot, width.into(), height.into());
    let bounds = graphene::Rect::new(0.0, 0.0, width as f32, height as f32);
    Some(widget.native()?.renderer()?.render_texture(snapshot.to_node()?, Some(&bounds)))
}

/// A guest that is off.
pub fn guest_view(name: &str) -> GuestView {
    let definition = Definition::new(name);
    GuestView {
        id: GuestId::Known(definition.uuid),
        name: name.to_owned(),
        definition: Ok(definition),
        running: None,
        state: GuestState::Off,
        last_used: None,
        network_problems: Vec::new(),
    }
}
