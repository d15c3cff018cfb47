//! A page of graphs: what is measured of a guest or of the host, over minutes to a day. A person chooses the range, points to
//! a moment to see its values, holds the page still, and exports what is shown.

mod toolbar;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gtk::{accessible::Property, gio, prelude::*};
use lodge::manager::statistics::rings::Sample;

use self::toolbar::{RANGES, Toolbar};
use crate::ui::{
    choosers,
    i18n::{gettext, gettext_f},
    operations::Place,
    widgets::chart::{Chart, Line, Unit},
    wording,
};

/// The most samples of a line that are drawn, about: more could not be told apart.
const SAMPLES: u64 = 360;
/// Graphs are drawn anew when they have moved this part of their width.
const MOVED: u64 = 600;

/// The most graphs in a row.
const IN_A_ROW: usize = 3;

/// A graph.
pub struct Figure<S> {
    /// Its heading.
    pub title: String,
    /// What its values are.
    pub unit: Unit,
    /// Its axis reaches this value, at least.
    pub top: f64,
    /// Its lines.
    pub series: Vec<Series<S>>,
}

/// Tells a line's value in a sample.
type Value<S> = dyn Fn(&S) -> Option<f64>;

/// A line of a graph.
pub struct Series<S> {
    /// What it is.
    pub name: String,
    /// Its value in a sample, if that is known.
    pub value: Box<Value<S>>,
}

impl<S> Series<S> {
    /// A line of what `value` says.
    pub fn new(name: String, value: impl Fn(&S) -> Option<f64> + 'static) -> Self {
        Self { name, value: Box::new(value) }
    }
}

/// Where samples come from.
pub trait Source<S> {
    /// The samples from `from` on, by `step` seconds at least, in connected stretches.
    fn since(&self, from: u64, step: u64) -> Vec<Vec<S>>;

    /// What is so now; nothing where nothing is measured now.
    fn latest(&self) -> Option<S>;

    /// A file of these samples: a proposed name and the text.
    fn export(&self, samples: Vec<S>) -> (String, String);
}

/// The page. Clones are the same one.
pub struct Figures<S>(Rc<Inner<S>>);

impl<S> Clone for Figures<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<S> {
    widget: gtk::Box,
    toolbar: Toolbar,
    flow: gtk::FlowBox,
    source: Box<dyn Source<S>>,
    shown: RefCell<Vec<Shown<S>>>,
    /// What is at the right edge of the graphs.
    until: Cell<u64>,
    mark: Cell<Option<u64>>,
}

struct Shown<S> {
    figure: Figure<S>,
    chart: Chart,
    child: gtk::FlowBoxChild,
}

impl<S: Sample + 'static> Figures<S> {
    /// A page without graphs. What is exported is said in `place`.
    pub fn new(place: &Place, source: impl Source<S> + 'static) -> Self {
        let flow = gtk::FlowBox::builder()
            .selection_mode(gtk::SelectionMode::None)
            .homogeneous(true)
            .min_children_per_line(1)
            .column_spacing(12)
            .row_spacing(12)
            .valign(gtk::Align::Start)
            // As high as its graphs, however much room there is.
            .vexpand(false)
            .css_classes(["charts"])
            .build();
        flow.update_property(&[Property::Label(&gettext("Graphs"))]);
        let toolbar = Toolbar::new();
        let widget = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(12).build();
        widget.append(toolbar.widget());
        widget.append(&flow);
        let page = Self(Rc::new(Inner {
            widget,
            toolbar,
            flow,
            source: Box::new(source),
            shown: RefCell::default(),
            until: Cell::default(),
            mark: Cell::default(),
        }));
        let weak = Rc::downgrade(&page.0);
        page.0.toolbar.connect_changed(move || {
            if let Some(page) = weak.upgrade().map(Self) {
                page.refresh();
            }
        });
        let (weak, place) = (Rc::downgrade(&page.0), place.clone());
        page.0.toolbar.connect_export(move || {
            if let Some(page) = weak.upgrade().map(Self) {
                page.export(&place);
            }
        });
        let weak = Rc::downgrade(&page.0);
        page.0.widget.connect_map(move |_| {
            if let Some(page) = weak.upgrade().map(Self) {
                page.refresh();
            }
        });
        page
    }

    /// The widget.
    pub fn widget(&self) -> &gtk::Box {
        &self.0.widget
    }

    /// Replaces the graphs.
    pub fn set_figures(&self, figures: Vec<Figure<S>>) {
        let inner = &self.0;
        for shown in inner.shown.borrow_mut().drain(..) {
            inner.flow.remove(&shown.child);
        }
        inner.flow.set_max_children_per_line(most_in_a_row(figures.len()));
        let shown = figures.into_iter().map(|figure| {
            let weak = Rc::downgrade(inner);
            let chart = Chart::new(&figure.title, figure.unit, move |mark| {
                if let Some(page) = weak.upgrade().map(Self) {
                    page.mark(mark);
                }
            });
            chart.set_names(figure.series.iter().map(|series| series.name.clone()));
            let child = gtk::FlowBoxChild::builder().child(chart.widget()).focusable(false).build();
            inner.flow.append(&child);
            Shown { figure, chart, child }
        });
        let shown: Vec<_> = shown.collect();
        inner.shown.replace(shown);
        self.refresh();
    }

    /// There is something new to show. Costs nothing while the page cannot be seen.
    pub fn sampled(&self) {
        let inner = &self.0;
        if !inner.widget.is_mapped() || inner.toolbar.is_paused() {
            return;
        }
        // The clock may have been put back.
        if wording::now().abs_diff(inner.until.get()) >= (inner.toolbar.range() / MOVED).max(1) {
            self.refresh();
        } else {
            self.show_values();
        }
    }

    /// Draws everything anew.
    fn refresh(&self) {
        let inner = &self.0;
        if !inner.toolbar.is_paused() {
            inner.until.set(wording::now());
        }
        let (from, until) = self.range();
        let stretches = self.stretches();
        for Shown { figure, chart, .. } in inner.shown.borrow().iter() {
            let line = |series: &Series<S>| Line::new(&stretches, S::time, &series.value);
            chart.draw(from, until, figure.series.iter().map(line).collect(), figure.top);
        }
        self.show_values();
    }

    /// What is between the edges of the graphs.
    fn stretches(&self) -> Vec<Vec<S>> {
        let (from, until) = self.range();
        let mut stretches = self.0.source.since(from, (until - from) / SAMPLES);
        // A page that is held still does not go on at its right edge.
        stretches.iter_mut().for_each(|stretch| stretch.retain(|sample| sample.time() <= until));
        stretches
    }

    fn range(&self) -> (u64, u64) {
        let until = self.0.until.get();
        (until.saturating_sub(self.0.toolbar.range()), until)
    }

    fn show_values(&self) {
        let inner = &self.0;
        let paused = inner.toolbar.is_paused();
        let latest =
            if paused { self.stretches().pop().and_then(|mut last| last.pop()) } else { inner.source.latest() };
        for Shown { figure, chart, .. } in inner.shown.borrow().iter() {
            let values = figure.series.iter().map(|series| (series.value)(latest.as_ref()?)).collect();
            chart.set_values(values, inner.mark.get());
        }
    }

    fn mark(&self, mark: Option<u64>) {
        if self.0.mark.replace(mark) != mark {
            self.0.shown.borrow().iter().for_each(|shown| shown.chart.mark(mark));
        }
    }

    /// Asks where to put a file of what is shown, and writes it.
    fn export(&self, place: &Place) {
        let (name, text) = self.0.source.export(self.stretches().concat());
        let place = place.clone();
        relm4::spawn_local(async move {
            let Some(file) = choosers::choose_new_file(&place.window, &gettext("Export Figures"), &name).await else {
                return;
            };
            let flags = gio::FileCreateFlags::REPLACE_DESTINATION;
            match file.replace_contents_future(text, None, false, flags).await {
                Ok(_) => place.toast(&gettext_f("“{name}” was written", &[("name", &base_name(&file))])),
                Err((_, error)) => place.complain(&gettext("The Figures Could Not Be Exported"), &error.into()),
            }
        });
    }
}

/// How many graphs of so many are in a row where there is room: two if that spares the last one to stand alone.
fn most_in_a_row(graphs: usize) -> u32 {
    let is_alone = |row: usize| graphs > row && graphs % row == 1;
    if is_alone(IN_A_ROW) && !is_alone(IN_A_ROW - 1) { IN_A_ROW as u32 - 1 } else { IN_A_ROW as u32 }
}

fn base_name(file: &gio::File) -> String {
    file.basename().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// How far back the longest range reaches, in seconds.
pub const LONGEST: u64 = RANGES[RANGES.len() - 1];

#[cfg(test)]
mod tests {
    use lodge::manager::statistics::host::HostPoint;

    use super::*;
    use crate::ui::testing::with_gtk;

    /// Nothing was ever measured.
    struct Nothing;

    impl Source<HostPoint> for Nothing {
        fn since(&self, _: u64, _: u64) -> Vec<Vec<HostPoint>> {
            Vec::new()
        }

        fn latest(&self) -> Option<HostPoint> {
            None
        }

        fn export(&self, _: Vec<HostPoint>) -> (String, String) {
            Default::default()
        }
    }

    #[test]
    fn graphs_take_no_room_that_they_do_not_fill() {
        with_gtk(|| {
            let place = Place::new(&gtk::Window::new(), &adw::ToastOverlay::new());
            let figures = Figures::new(&place, Nothing);
            figures.set_figures(vec![Figure {
                title: "CPU".into(),
                unit: Unit::Percent,
                top: 1.0,
                series: Vec::new(),
            }]);

            // What is below them in a high window would else be far away.
            assert!(!figures.widget().compute_expand(gtk::Orientation::Vertical));
        });
    }

    #[test]
    fn the_last_graph_stands_alone_only_when_it_must() {
        assert_eq!([1, 3, 4, 5, 6, 7, 10].map(most_in_a_row), [3, 3, 2, 3, 3, 3, 2]);
    }
}
