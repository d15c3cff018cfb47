//! A small graph of shares between 0 and 1 over time: a line over a tinted area, newest at the right. Its colour is the CSS
//! `color` of the node `graph`.

use gtk::{
    accessible::Property,
    cairo, gdk, glib, graphene,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};

/// The heights of a line that can be told apart: graphs are as high as a line of text or two.
const STEPS: f32 = 128.0;

glib::wrapper! {
    /// The widget.
    pub struct Graph(ObjectSubclass<imp::Graph>)
        @extends gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget;
}

impl Default for Graph {
    fn default() -> Self {
        glib::Object::new()
    }
}

impl Graph {
    /// How many samples fit; older ones are not drawn.
    pub const CAPACITY: usize = 60;

    /// Sets what is drawn, oldest first. Draws anew only if something has changed that can be seen.
    pub fn set_samples(&self, samples: impl ExactSizeIterator<Item = f32>) {
        let surplus = samples.len().saturating_sub(Self::CAPACITY);
        let mut drawn = self.imp().samples.borrow_mut();
        let mut changed = false;
        let mut count = 0;
        for sample in samples.skip(surplus) {
            let sample = if sample.is_finite() { (sample.clamp(0.0, 1.0) * STEPS).round() / STEPS } else { 0.0 };
            match drawn.get_mut(count) {
                Some(old) => changed |= std::mem::replace(old, sample) != sample,
                None => {
                    drawn.push(sample);
                    changed = true;
                }
            }
            count += 1;
        }
        changed |= drawn.len() > count;
        drawn.truncate(count);
        if changed {
            self.queue_draw();
        }
    }

    /// What screen readers say of the graph.
    pub fn set_description(&self, text: &str) {
        self.update_property(&[Property::Label(text)]);
    }
}

/// The points of the line through `samples` (0 to 1) in an area of `width` by `height`: the newest at the right edge, a
/// full history reaching the left one.
fn points(samples: &[f32], width: f64, height: f64) -> impl DoubleEndedIterator<Item = (f64, f64)> {
    let step = width / (Graph::CAPACITY - 1) as f64;
    let start = width - step * samples.len().saturating_sub(1) as f64;
    samples
        .iter()
        .enumerate()
        .map(move |(index, sample)| (start + step * index as f64, height * (1.0 - f64::from(*sample))))
}

mod imp {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    pub struct Graph {
        pub samples: RefCell<Vec<f32>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Graph {
        const NAME: &'static str = "LodgeGraph";
        type Type = super::Graph;
        type ParentType = gtk::Widget;

        fn class_init(class: &mut Self::Class) {
            class.set_css_name("graph");
            class.set_accessible_role(gtk::AccessibleRole::Img);
        }
    }

    impl ObjectImpl for Graph {}

    impl WidgetImpl for Graph {
        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let widget = self.obj();
            let (width, height) = (widget.width() as f32, widget.height() as f32);
            let samples = self.samples.borrow();
            // Room for half of the line's width above and below, so that 0 and 1 are drawn whole.
            let inset = 1.0;
            if samples.len() < 2 || width <= 2.0 || height <= 2.0 * inset {
                return;
            }
            let color = widget.style_context().color();
            let cairo = snapshot.append_cairo(&graphene::Rect::new(0.0, 0.0, width, height));
            cairo.translate(0.0, f64::from(inset));
            let drawn = draw(&cairo, &samples, f64::from(width), f64::from(height - 2.0 * inset), &color);
            if let Err(error) = drawn {
                tracing::debug!("the graph cannot be drawn: {error}");
            }
        }
    }

    fn draw(
        cairo: &cairo::Context,
        samples: &[f32],
        width: f64,
        height: f64,
        color: &gdk::RGBA,
    ) -> Result<(), cairo::Error> {
        let set_color = |alpha: f64| {
            let [red, green, blue, opacity] = [color.red(), color.green(), color.blue(), color.alpha()].map(f64::from);
            cairo.set_source_rgba(red, green, blue, opacity * alpha);
        };
        for (x, y) in points(samples, width, height) {
            cairo.line_to(x, y);
        }
        let line = cairo.copy_path()?;
        cairo.line_to(width, height);
        cairo.line_to(points(samples, width, height).next().map_or(0.0, |(x, _)| x), height);
        cairo.close_path();
        set_color(0.2);
        cairo.fill()?;
        cairo.append_path(&line);
        cairo.set_line_width(1.5);
        cairo.set_line_join(cairo::LineJoin::Round);
        set_color(1.0);
        cairo.stroke()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing;

    #[test]
    fn the_newest_sample_is_at_the_right_edge_and_a_full_history_reaches_the_left() {
        let some: Vec<_> = points(&[0.0, 1.0], 59.0, 20.0).collect();
        let full: Vec<_> = points(&[0.5; Graph::CAPACITY], 59.0, 20.0).collect();

        assert_eq!(some, [(58.0, 20.0), (59.0, 0.0)]);
        assert_eq!((full[0], full[Graph::CAPACITY - 1]), ((0.0, 10.0), (59.0, 10.0)));
    }

    #[test]
    fn only_the_newest_samples_are_kept_and_wild_ones_are_tamed() {
        testing::with_gtk(|| {
            let graph = Graph::default();

            graph.set_samples((0..100).map(|index| if index == 99 { f32::NAN } else { index as f32 }));

            let samples = graph.imp().samples.borrow();
            assert_eq!(samples.len(), Graph::CAPACITY);
            assert_eq!((samples[0], samples[Graph::CAPACITY - 1]), (1.0, 0.0));
        });
    }

    #[test]
    fn a_busy_guest_paints_more_than_an_idle_one() {
        testing::with_gtk(|| {
            let painted = |share: f32| {
                let graph = Graph::default();
                graph.set_size_request(60, 20);
                graph.set_samples([share; Graph::CAPACITY].into_iter());
                testing::painted_pixels(&graph)
            };

            let (idle, busy) = (painted(0.0), painted(0.9));

            assert!(busy > idle + 400, "idle {idle}, busy {busy}");
        });
    }
}
