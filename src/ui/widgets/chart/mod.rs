//! A chart of values over time: its title, a legend with the values of now or of a marked moment, and the plot.

mod line;
mod plot;
mod scale;

use std::{cell::RefCell, rc::Rc};

use gtk::{accessible::Property, gdk, glib, prelude::*};

pub use self::{
    line::Line,
    plot::{COLORS, Drawn},
    scale::Unit,
};
use self::{plot::Plot, scale::moment};
use crate::ui::i18n::gettext_f;

/// What is written where a value is not known.
const UNKNOWN: &str = "–";
/// How wide a legend wants to be, in characters.
const LEGEND_WIDTH: i32 = 36;

/// The widget. Clones are the same one.
#[derive(Clone)]
pub struct Chart(Rc<Inner>);

struct Inner {
    widget: gtk::Box,
    plot: Plot,
    unit: Unit,
    /// The moment that is marked.
    moment: gtk::Label,
    legend: gtk::Label,
    /// What the lines are.
    names: RefCell<Vec<String>>,
    /// The values of now.
    latest: RefCell<Vec<Option<f64>>>,
}

impl Chart {
    /// A chart of nothing. `marked` is called when a person points to a moment, or (`None`) no longer does.
    pub fn new(title: &str, unit: Unit, marked: impl Fn(Option<u64>) + 'static) -> Self {
        let plot = Plot::new(marked);
        plot.set_vexpand(true);
        plot.set_size_request(280, 120);
        plot.update_property(&[Property::Label(&gettext_f("Graph: {title}", &[("title", title)]))]);
        let heading = gtk::Label::builder().label(title).xalign(0.0).hexpand(true).css_classes(["heading"]).build();
        let moment = gtk::Label::builder().css_classes(["caption", "dim-label", "numeric"]).build();
        let head = gtk::Box::new(gtk::Orientation::Horizontal, 6);
        head.append(&heading);
        head.append(&moment);
        // Long legends take another line and do not make the chart wider.
        let legend = gtk::Label::builder()
            .xalign(0.0)
            .wrap(true)
            .max_width_chars(LEGEND_WIDTH)
            .css_classes(["caption", "numeric"])
            .build();
        let widget = gtk::Box::builder()
            .orientation(gtk::Orientation::Vertical)
            .spacing(6)
            .css_classes(["card", "chart"])
            .build();
        widget.append(&head);
        widget.append(&legend);
        widget.append(&plot);
        let (names, latest) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Inner { widget, plot, unit, moment, legend, names, latest }))
    }

    /// The widget.
    pub fn widget(&self) -> &gtk::Box {
        &self.0.widget
    }

    /// Names the lines.
    pub fn set_names(&self, names: impl Iterator<Item = String>) {
        self.0.names.replace(names.collect());
    }

    /// Draws these lines from `from` to `until`, with an axis that reaches `top` at least.
    pub fn draw(&self, from: u64, until: u64, lines: Vec<Line>, top: f64) {
        self.0.plot.set_drawn(Some(Drawn { from, until, lines, unit: self.0.unit, top }));
    }

    /// Shows a marked moment's values in the legend, else these.
    pub fn set_values(&self, latest: Vec<Option<f64>>, mark: Option<u64>) {
        self.0.latest.replace(latest);
        self.mark(mark);
    }

    /// Marks a moment, and shows its values in the legend.
    pub fn mark(&self, mark: Option<u64>) {
        let inner = &self.0;
        inner.plot.set_mark(mark);
        set(&inner.moment, &mark.map(moment).unwrap_or_default());
        let latest = inner.latest.borrow();
        let at = |index: usize, mark: u64| {
            inner.plot.with_drawn(|drawn| Some(drawn.lines.get(index)?.near(mark, drawn.until - drawn.from)?.1))
        };
        let entry = |(index, name): (usize, &String)| {
            let value = match mark {
                Some(mark) => at(index, mark).flatten(),
                None => latest.get(index).copied().flatten(),
            };
            let value = value.map_or_else(|| UNKNOWN.to_owned(), |value| inner.unit.text(value));
            // Translators: what a line of a graph is, and its value.
            gettext_f("{name}: {value}", &[("name", name), ("value", &value)])
        };
        self.show_legend(inner.names.borrow().iter().enumerate().map(entry).collect());
    }

    fn show_legend(&self, entries: Vec<String>) {
        let colored = |(index, entry): (usize, &String)| {
            let text = glib::markup_escape_text(&entry.replace(' ', "\u{a0}"));
            format!("<span foreground=\"{}\">■</span>\u{a0}{text}", hexadecimal(&self.0.plot.color(index)))
        };
        let markup = entries.iter().enumerate().map(colored).collect::<Vec<_>>().join("   ");
        if self.0.legend.label() != markup {
            self.0.legend.set_markup(&markup);
            self.0.legend.update_property(&[Property::Label(&entries.join(", "))]);
        }
    }
}

/// A colour as markup has it.
fn hexadecimal(color: &gdk::RGBA) -> String {
    let [red, green, blue] = [color.red(), color.green(), color.blue()].map(|part| (part * 255.0).round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Changes a label only when it has to change.
fn set(label: &gtk::Label, text: &str) {
    if label.label() != text {
        label.set_label(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing;

    fn chart() -> Chart {
        let chart = Chart::new("Disks", Unit::ByteRate, |_| {});
        chart.set_names(["Read".to_owned(), "Written".to_owned()].into_iter());
        let samples = [vec![(100, 1024.0), (101, 2048.0)]];
        let line = |times: f64| Line::new(&samples, |sample| sample.0, move |sample| Some(sample.1 * times));
        chart.draw(0, 200, vec![line(1.0), line(2.0)], 0.0);
        chart
    }

    fn legend(chart: &Chart) -> String {
        chart.0.legend.text().replace('\u{a0}', " ")
    }

    #[test]
    fn the_legend_has_the_values_of_now_or_of_the_marked_moment() {
        testing::with_gtk(|| {
            let chart = chart();

            chart.set_values(vec![Some(0.0), None], None);
            assert_eq!(legend(&chart), "■ Read: 0 bytes/s   ■ Written: –");

            chart.mark(Some(101));
            assert_eq!(legend(&chart), "■ Read: 2 KiB/s   ■ Written: 4 KiB/s");
            chart.mark(Some(10));
            assert_eq!(legend(&chart), "■ Read: –   ■ Written: –");
        });
    }

    #[test]
    fn lines_paint_more_than_the_axes_alone() {
        testing::with_gtk(|| {
            let samples = [(0..200).map(|time| (time, 1024.0)).collect::<Vec<_>>()];
            let painted = |lines| {
                let plot = Plot::new(|_| {});
                plot.set_size_request(280, 120);
                plot.set_drawn(Some(Drawn { from: 0, until: 200, lines, unit: Unit::ByteRate, top: 0.0 }));
                testing::painted_pixels(&plot)
            };
            let line = Line::new(&samples, |sample| sample.0, |sample| Some(sample.1));

            assert!(painted(vec![line]) > painted(Vec::new()) + 1000);
        });
    }
}
