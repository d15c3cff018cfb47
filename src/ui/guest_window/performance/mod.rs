//! The page of what the guest uses: graphs of CPU, memory, disks, network and exits.

mod graphs;

use std::{cell::RefCell, rc::Rc};

use lodge::manager::statistics::{Point, csv};

use crate::ui::{
    backend::{Backend, GuestView},
    figures::{Figures, LONGEST, Source},
    i18n::gettext,
    operations::Place,
    wording,
};
use graphs::Shape;

const GRAPHS: &str = "graphs";
const NOTHING: &str = "nothing";

/// The page.
pub struct PerformancePage {
    stack: gtk::Stack,
    figures: Figures<Point>,
    history: GuestHistory,
    shape: RefCell<Option<Shape>>,
}

/// What is known of the guest.
#[derive(Clone)]
struct GuestHistory {
    backend: Backend,
    guest: Rc<RefCell<GuestView>>,
}

impl PerformancePage {
    /// The page of this guest.
    pub fn new(backend: &Backend, place: &Place, guest: &GuestView) -> Self {
        let history = GuestHistory { backend: backend.clone(), guest: Rc::new(RefCell::new(guest.clone())) };
        let figures = Figures::new(place, history.clone());
        let graphs = adw::Clamp::builder()
            .maximum_size(1400)
            .tightening_threshold(1400)
            .child(figures.widget())
            .margin_top(12)
            .margin_bottom(12)
            .margin_start(12)
            .margin_end(12)
            .build();
        let scrolled = gtk::ScrolledWindow::builder().hscrollbar_policy(gtk::PolicyType::Never).child(&graphs).build();
        let nothing = adw::StatusPage::builder()
            .icon_name("power-profile-performance-symbolic")
            .title(gettext("No Figures Yet"))
            .description(gettext("Figures are taken while the guest runs and a window of Lodge is open."))
            .build();
        let stack = gtk::Stack::new();
        stack.add_named(&nothing, Some(NOTHING));
        stack.add_named(&scrolled, Some(GRAPHS));
        let page = Self { stack, figures, history, shape: RefCell::default() };
        page.sampled();
        page
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::Stack {
        &self.stack
    }

    /// The guest's definition or state has changed.
    pub fn show(&self, guest: &GuestView) {
        self.history.guest.replace(guest.clone());
        self.sampled();
    }

    /// There may be something new to show.
    pub fn sampled(&self) {
        if self.stack.visible_child_name().as_deref() != Some(GRAPHS) && !self.history.is_empty() {
            self.stack.set_visible_child_name(GRAPHS);
        }
        let shape = Shape::of(&self.history.guest.borrow(), self.history.latest_known().as_ref());
        if self.shape.borrow().as_ref() != Some(&shape) {
            self.figures.set_figures(graphs::all(&shape));
            self.shape.replace(Some(shape));
        }
        self.figures.sampled();
    }
}

impl GuestHistory {
    fn is_empty(&self) -> bool {
        self.since(wording::now().saturating_sub(LONGEST), 60).is_empty()
    }

    /// The newest point, however old it is.
    fn latest_known(&self) -> Option<Point> {
        let id = self.guest.borrow().id.clone();
        self.backend.guests().with_history(&id, |history| history.latest().cloned())?
    }
}

impl Source<Point> for GuestHistory {
    fn since(&self, from: u64, step: u64) -> Vec<Vec<Point>> {
        let id = self.guest.borrow().id.clone();
        self.backend.guests().with_history(&id, |history| history.rings().since(from, step)).unwrap_or_default()
    }

    fn latest(&self) -> Option<Point> {
        self.latest_known().filter(|_| self.guest.borrow().state.is_active())
    }

    fn export(&self, samples: Vec<Point>) -> (String, String) {
        (format!("{}.csv", self.guest.borrow().name), csv::file(&samples))
    }
}
