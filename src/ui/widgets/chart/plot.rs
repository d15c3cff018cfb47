//! What a chart draws: lines over time in their colours, a grid with values and times, and a mark at a moment. The colours
//! are `chart_0`, `chart_1`, … of the style sheet.

use std::{cell::RefCell, rc::Rc};

use gtk::{
    gdk, glib, graphene, pango,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};

use super::{line::Line, scale::Unit};

/// How many colours there are.
pub const COLORS: usize = 8;

glib::wrapper! {
    /// The widget.
    pub struct Plot(ObjectSubclass<imp::Plot>)
        @extends gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget;
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The time at the left edge, in seconds since 1970.
    pub from: u64,
    /// The time at the right edge.
    pub until: u64,
    /// The lines.
    pub lines: Vec<Line>,
    /// What they are.
    pub unit: Unit,
    /// The axis reaches this value, at least.
    pub top: f64,
}

impl Default for Plot {
    fn default() -> Self {
        glib::Object::new()
    }
}

impl Plot {
    /// A plot of nothing. `marked` is called when a person points to a moment, or (`None`) no longer does.
    pub fn new(marked: impl Fn(Option<u64>) + 'static) -> Self {
        let plot = Self::default();
        plot.set_focusable(true);
        let marked: Rc<dyn Fn(Option<u64>)> = Rc::new(marked);
        let motion = gtk::EventControllerMotion::new();
        let point = {
            let (weak, marked) = (plot.downgrade(), marked.clone());
            move |x: f64| {
                if let Some(plot) = weak.upgrade() {
                    marked(plot.imp().moment(x));
                }
            }
        };
        let pointed = point.clone();
        motion.connect_enter(move |_, x, _| pointed(x));
        motion.connect_motion(move |_, x, _| point(x));
        let left = marked.clone();
        motion.connect_leave(move |_| left(None));
        plot.add_controller(motion);
        follow_keys(&plot, marked);
        plot
    }

    /// Draws something else.
    pub fn set_drawn(&self, drawn: Option<Drawn>) {
        if *self.imp().drawn.borrow() != drawn {
            self.imp().drawn.replace(drawn);
            self.queue_draw();
        }
    }

    /// Looks at what is drawn.
    pub fn with_drawn<T>(&self, look: impl FnOnce(&Drawn) -> T) -> Option<T> {
        self.imp().drawn.borrow().as_ref().map(look)
    }

    /// The colour of a line.
    pub fn color(&self, index: usize) -> gdk::RGBA {
        let context = self.style_context();
        context.lookup_color(&format!("chart_{}", index % COLORS)).unwrap_or_else(|| context.color())
    }

    /// Marks a moment.
    pub fn set_mark(&self, mark: Option<u64>) {
        if self.imp().mark.replace(mark) != mark {
            self.queue_draw();
        }
    }
}

/// Arrows move the mark, Escape removes it.
fn follow_keys(plot: &Plot, marked: Rc<dyn Fn(Option<u64>)>) {
    let keys = gtk::EventControllerKey::new();
    let (weak, moved) = (plot.downgrade(), marked.clone());
    keys.connect_key_pressed(move |_, key, _, _| {
        let Some(plot) = weak.upgrade() else { return glib::Propagation::Proceed };
        let mark = plot.imp().mark.get();
        let Some((from, until)) = plot.with_drawn(|drawn| (drawn.from, drawn.until)) else {
            return glib::Propagation::Proceed;
        };
        let step = (until.saturating_sub(from) / 60).max(1);
        let now = mark.unwrap_or(until);
        let mark = match key {
            gdk::Key::Left => Some(now.saturating_sub(step).max(from)),
            gdk::Key::Right => Some(now.saturating_add(step).min(until)),
            gdk::Key::Home => Some(from),
            gdk::Key::End => Some(until),
            gdk::Key::Escape if mark.is_some() => None,
            _ => return glib::Propagation::Proceed,
        };
        moved(mark);
        glib::Propagation::Stop
    });
    let focus = gtk::EventControllerFocus::new();
    focus.connect_leave(move |_| marked(None));
    plot.add_controller(keys);
    plot.add_controller(focus);
}

mod imp {
    use std::cell::Cell;

    use super::{super::scale, *};

    /// Room for the times below the plot and for half a value above it.
    const BELOW: f32 = 18.0;
    const ABOVE: f32 = 7.0;
    /// The least room for values at the left, so that plots below each other are in line.
    const LEFT: f32 = 56.0;
    /// Room for half of the line's width at the right.
    const RIGHT: f32 = 2.0;
    /// The least distance between two labels on the axis of time.
    const LABEL: f32 = 64.0;

    #[derive(Default)]
    pub struct Plot {
        pub drawn: RefCell<Option<Drawn>>,
        pub mark: Cell<Option<u64>>,
        left: Cell<f32>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Plot {
        const NAME: &'static str = "LodgePlot";
        type Type = super::Plot;
        type ParentType = gtk::Widget;

        fn class_init(class: &mut Self::Class) {
            class.set_css_name("plot");
            class.set_accessible_role(gtk::AccessibleRole::Img);
        }
    }

    impl ObjectImpl for Plot {}

    impl WidgetImpl for Plot {
        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let drawn = self.drawn.borrow();
            let Some(drawn) = drawn.as_ref() else { return };
            let top = drawn.unit.top(drawn.lines.iter().map(Line::largest).fold(drawn.top, f64::max));
            let area = self.axes(snapshot, drawn, top);
            if area.width() < 2.0 || area.height() < 2.0 {
                return;
            }
            let bounds = graphene::Rect::new(0.0, 0.0, self.obj().width() as f32, self.obj().height() as f32);
            let cairo = snapshot.append_cairo(&bounds);
            let done = self.lines(&cairo, drawn, top, &area).and_then(|()| self.marks(&cairo, drawn, top, &area));
            if let Err(error) = done {
                tracing::debug!("the chart cannot be drawn: {error}");
            }
        }
    }

    impl Plot {
        /// The moment at this place.
        pub fn moment(&self, x: f64) -> Option<u64> {
            let drawn = self.drawn.borrow();
            let drawn = drawn.as_ref()?;
            let (left, width) = (f64::from(self.left.get()), f64::from(self.obj().width()) - f64::from(RIGHT));
            let share = (x - left) / (width - left).max(1.0);
            let span = drawn.until.saturating_sub(drawn.from) as f64;
            (0.0..=1.0).contains(&share).then(|| drawn.from + (share * span).round() as u64)
        }

        /// Draws grid and labels, and returns the place that is left for the lines.
        fn axes(&self, snapshot: &gtk::Snapshot, drawn: &Drawn, top: f64) -> graphene::Rect {
            let widget = self.obj();
            let (width, height) = (widget.width() as f32, widget.height() as f32);
            let values =
                [0.0, 0.5, 1.0].map(|share| (share, widget.create_pango_layout(Some(&drawn.unit.text(top * share)))));
            let widest = values.iter().map(|(_, layout)| layout.pixel_size().0).max().unwrap_or(0);
            let left = (widest as f32 + 8.0).max(LEFT);
            self.left.set(left);
            let area = graphene::Rect::new(left, ABOVE, width - left - RIGHT, height - ABOVE - BELOW);
            let color = widget.style_context().color();
            let (dim, grid) = (faded(&color, 0.6), faded(&color, 0.12));
            for (share, layout) in &values {
                let y = (area.y() + area.height() * (1.0 - *share as f32)).round();
                let (text, line) = layout.pixel_size();
                write(snapshot, layout, (left - 8.0 - text as f32, y - line as f32 / 2.0), &dim);
                snapshot.append_color(&grid, &graphene::Rect::new(left, y, area.width(), 1.0));
            }
            let most = (area.width() / LABEL).max(1.0) as usize;
            for (time, label) in scale::moments(drawn.from, drawn.until, most) {
                let x = x_of(time, drawn, &area).round();
                let layout = widget.create_pango_layout(Some(&label));
                let text = layout.pixel_size().0 as f32;
                // A label that does not fit at its place stands a little beside it.
                let start = (x - text / 2.0).clamp(left, (width - text).max(left));
                write(snapshot, &layout, (start, height - BELOW + 2.0), &dim);
                snapshot.append_color(&grid, &graphene::Rect::new(x, area.y(), 1.0, area.height()));
            }
            area
        }

        fn lines(
            &self,
            cairo: &gtk::cairo::Context,
            drawn: &Drawn,
            top: f64,
            area: &graphene::Rect,
        ) -> Result<(), gtk::cairo::Error> {
            let (left, bottom) = (f64::from(area.x()), f64::from(area.y() + area.height()));
            cairo.save()?;
            // A line's width above and below, so that the highest and lowest values are drawn whole.
            cairo.rectangle(
                left,
                f64::from(area.y()) - 2.0,
                f64::from(area.width() + RIGHT),
                f64::from(area.height()) + 4.0,
            );
            cairo.clip();
            cairo.set_line_width(1.5);
            cairo.set_line_join(gtk::cairo::LineJoin::Round);
            cairo.set_line_cap(gtk::cairo::LineCap::Round);
            let tint = if drawn.lines.len() <= 2 { 0.14 } else { 0.0 };
            for (index, line) in drawn.lines.iter().enumerate() {
                let color = self.obj().color(index);
                for stretch in &line.stretches {
                    let places = || stretch.iter().map(|point| place(*point, drawn, top, area));
                    let (Some((first, _)), Some((last, _))) = (places().next(), places().next_back()) else { continue };
                    places().for_each(|(x, y)| cairo.line_to(x, y));
                    let path = cairo.copy_path()?;
                    cairo.line_to(last, bottom);
                    cairo.line_to(first, bottom);
                    cairo.close_path();
                    set_color(cairo, &faded(&color, tint));
                    cairo.fill()?;
                    cairo.append_path(&path);
                    set_color(cairo, &color);
                    cairo.stroke()?;
                }
            }
            cairo.restore()
        }

        /// The mark: a line through the moment, and a dot on every line of the chart.
        fn marks(
            &self,
            cairo: &gtk::cairo::Context,
            drawn: &Drawn,
            top: f64,
            area: &graphene::Rect,
        ) -> Result<(), gtk::cairo::Error> {
            let inside = |mark: &u64| (drawn.from..=drawn.until).contains(mark);
            let Some(mark) = self.mark.get().filter(inside) else { return Ok(()) };
            set_color(cairo, &faded(&self.obj().style_context().color(), 0.4));
            cairo.rectangle(f64::from(x_of(mark, drawn, area).round()), area.y().into(), 1.0, area.height().into());
            cairo.fill()?;
            for (index, line) in drawn.lines.iter().enumerate() {
                let Some(point) = line.near(mark, drawn.until - drawn.from) else { continue };
                let (x, y) = place(point, drawn, top, area);
                set_color(cairo, &self.obj().color(index));
                cairo.arc(x, y, 3.5, 0.0, std::f64::consts::TAU);
                cairo.fill()?;
            }
            Ok(())
        }
    }

    fn x_of(time: u64, drawn: &Drawn, area: &graphene::Rect) -> f32 {
        let span = drawn.until.saturating_sub(drawn.from).max(1) as f64;
        let share = (time as f64 - drawn.from as f64) / span;
        area.x() + area.width() * share as f32
    }

    fn place((time, value): (u64, f64), drawn: &Drawn, top: f64, area: &graphene::Rect) -> (f64, f64) {
        let y = f64::from(area.y()) + f64::from(area.height()) * (1.0 - (value / top).clamp(0.0, 1.0));
        (x_of(time, drawn, area).into(), y)
    }

    fn write(snapshot: &gtk::Snapshot, layout: &pango::Layout, (x, y): (f32, f32), color: &gdk::RGBA) {
        snapshot.save();
        snapshot.translate(&graphene::Point::new(x.round(), y.round()));
        snapshot.append_layout(layout, color);
        snapshot.restore();
    }

    fn faded(color: &gdk::RGBA, share: f32) -> gdk::RGBA {
        color.with_alpha(color.alpha() * share)
    }

    fn set_color(cairo: &gtk::cairo::Context, color: &gdk::RGBA) {
        let [red, green, blue, alpha] = [color.red(), color.green(), color.blue(), color.alpha()].map(f64::from);
        cairo.set_source_rgba(red, green, blue, alpha);
    }
}
