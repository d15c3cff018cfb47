//! A figure in small: what it is now as text, and how it was as a graph of shares between 0 and 1, newest at the right. The text has
//! the CSS `color` of the node `graph`, the graph the accent colour. It is one widget with one picture, since a list has hundreds.

mod picture;

use gtk::{
    accessible::Property,
    cairo, glib, graphene, gsk, pango,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};

use self::picture::{Look, pixels};

/// The heights of a line that can be told apart: graphs are as high as a line of text or two.
const STEPS: f32 = 128.0;
/// The graph's height, in logical pixels.
const HEIGHT: i32 = 32;
/// The room between the text and the graph, in logical pixels.
const SPACING: i32 = 9;
/// How much of the accent's background colour a graph has.
const GROUND: f32 = 0.06;

glib::wrapper! {
    /// The widget.
    pub struct Graph(ObjectSubclass<imp::Graph>)
        @extends gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget;
}

impl Graph {
    /// How many samples fit; older ones are not drawn.
    pub const CAPACITY: usize = 60;

    /// A graph that is so wide, in logical pixels, with room for a text of so many characters before it.
    pub fn new(width: i32, characters: i32) -> Self {
        let graph: Self = glib::Object::new();
        graph.imp().width.set(width);
        graph.imp().characters.set(characters);
        graph.set_valign(gtk::Align::Center);
        graph
    }

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
            self.imp().picture.replace(None);
            self.queue_draw();
        }
    }

    /// Sets whether there is a graph after the text; its room stays.
    pub fn set_drawn(&self, drawn: bool) {
        if self.imp().drawn.replace(drawn) != drawn {
            self.queue_draw();
        }
    }

    /// Sets whether there is room for the text only.
    pub fn set_narrow(&self, narrow: bool) {
        if self.imp().narrow.replace(narrow) != narrow {
            self.queue_resize();
        }
    }

    /// Sets what is written before the graph.
    pub fn set_text(&self, text: &str) {
        let imp = self.imp();
        if *imp.text.borrow() == text {
            return;
        }
        let before = imp.text_room();
        imp.text.replace(text.to_owned());
        imp.layout().set_text(text);
        match imp.text_room() == before {
            true => self.queue_draw(),
            false => self.queue_resize(),
        }
    }

    /// What is written before the graph.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.imp().text.borrow().clone()
    }

    /// What screen readers say of the graph.
    pub fn set_description(&self, text: &str) {
        self.update_property(&[Property::Label(text)]);
    }
}

mod imp {
    use std::cell::{Cell, OnceCell, RefCell};

    use super::*;

    #[derive(Default)]
    pub struct Graph {
        pub samples: RefCell<Vec<f32>>,
        pub text: RefCell<String>,
        pub width: Cell<i32>,
        pub characters: Cell<i32>,
        pub drawn: Cell<bool>,
        pub narrow: Cell<bool>,
        layout: OnceCell<pango::Layout>,
        /// How the samples look, as far as they were drawn.
        pub picture: RefCell<Option<(Look, gsk::CairoNode)>>,
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

    impl Graph {
        /// The text as it is written; it follows the widget's font by itself.
        pub fn layout(&self) -> &pango::Layout {
            self.layout.get_or_init(|| {
                let layout = self.obj().create_pango_layout(None);
                // Digits of one width: a text does not dance while it counts.
                let attributes = pango::AttrList::new();
                attributes.insert(pango::AttrFontFeatures::new("tnum=1"));
                layout.set_attributes(Some(&attributes));
                layout
            })
        }

        /// The room for the text, in logical pixels; none where there is never one.
        pub fn text_room(&self) -> i32 {
            let layout = self.layout();
            if self.characters.get() == 0 && self.text.borrow().is_empty() {
                return 0;
            }
            let metrics = layout.context().metrics(None, None);
            let character = metrics.approximate_char_width().max(metrics.approximate_digit_width());
            let wanted = (character * self.characters.get() + pango::SCALE - 1) / pango::SCALE;
            wanted.max(layout.pixel_size().0) + SPACING
        }

        /// The room for the graph, in logical pixels.
        fn graph_room(&self) -> i32 {
            if self.narrow.get() { 0 } else { self.width.get() }
        }

        /// The graph, at the origin. It is no texture: GTK's cairo renderer converts each pixel of those through floats, each time.
        fn picture(&self) -> gsk::CairoNode {
            let widget = self.obj();
            let color = |name: &str, opacity: f32| {
                let color = widget.style_context().lookup_color(name).unwrap_or_else(|| widget.style_context().color());
                [color.red(), color.green(), color.blue(), color.alpha() * opacity]
            };
            let look = Look {
                size: (self.width.get().max(1) as usize, HEIGHT as usize),
                scale: widget.scale_factor().max(1) as usize,
                line: color("accent_color", 1.0),
                ground: color("accent_bg_color", GROUND),
            };
            let mut picture = self.picture.borrow_mut();
            match &*picture {
                Some((drawn, node)) if *drawn == look => node.clone(),
                _ => {
                    let node =
                        gsk::CairoNode::new(&graphene::Rect::new(0.0, 0.0, look.size.0 as f32, look.size.1 as f32));
                    if let Err(error) = draw(&node.draw_context(), &look, &self.samples.borrow()) {
                        tracing::debug!("a graph cannot be drawn: {error}");
                    }
                    picture.replace((look, node.clone()));
                    node
                }
            }
        }
    }

    fn draw(context: &cairo::Context, look: &Look, samples: &[f32]) -> Result<(), cairo::Error> {
        let (width, height) = (look.size.0 * look.scale, look.size.1 * look.scale);
        let mut surface = cairo::ImageSurface::create(cairo::Format::ARgb32, width as i32, height as i32)?;
        surface.set_device_scale(look.scale as f64, look.scale as f64);
        if let Ok(mut data) = surface.data() {
            data.copy_from_slice(&pixels(look, samples, super::Graph::CAPACITY));
        }
        context.set_source_surface(&surface, 0.0, 0.0)?;
        context.paint()
    }

    impl WidgetImpl for Graph {
        fn measure(&self, orientation: gtk::Orientation, _for_size: i32) -> (i32, i32, i32, i32) {
            let size = match orientation {
                gtk::Orientation::Horizontal => self.text_room() + self.graph_room(),
                _ => self.layout().pixel_size().1.max(HEIGHT),
            };
            (size, size, -1, -1)
        }

        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let widget = self.obj();
            let (graph, height) = (self.graph_room() as f32, widget.height() as f32);
            // The text ends where the graph's room begins; all is the other way round from right to left.
            let (room, spacing) = (widget.width() as f32 - graph, SPACING as f32);
            let (text, x) = match widget.direction() {
                gtk::TextDirection::Rtl => (graph + spacing, 0.0),
                _ => (room - spacing - self.layout().pixel_size().0 as f32, room),
            };
            if !self.text.borrow().is_empty() {
                let middle = ((height - self.layout().pixel_size().1 as f32) / 2.0).round();
                snapshot.save();
                snapshot.translate(&graphene::Point::new(text, middle));
                snapshot.append_layout(self.layout(), &widget.style_context().color());
                snapshot.restore();
            }
            if self.drawn.get() && !self.narrow.get() {
                let top = ((height - HEIGHT as f32) / 2.0).round();
                snapshot.save();
                snapshot.translate(&graphene::Point::new(x, top));
                snapshot.append_node(self.picture());
                snapshot.restore();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing;

    #[test]
    fn only_the_newest_samples_are_kept_and_wild_ones_are_tamed() {
        testing::with_gtk(|| {
            let graph = Graph::new(60, 0);

            graph.set_samples((0..100).map(|index| if index == 99 { f32::NAN } else { index as f32 }));

            let samples = graph.imp().samples.borrow();
            assert_eq!(samples.len(), Graph::CAPACITY);
            assert_eq!((samples[0], samples[Graph::CAPACITY - 1]), (1.0, 0.0));
        });
    }

    #[test]
    fn a_text_is_written_and_a_graph_drawn_only_where_there_is_one() {
        testing::with_gtk(|| {
            let painted = |text: &str, drawn: bool| {
                let graph = Graph::new(60, 5);
                graph.set_text(text);
                graph.set_drawn(drawn);
                graph.set_samples([0.5; Graph::CAPACITY].into_iter());
                testing::painted_pixels(&graph)
            };

            let (text, graph) = (painted("100%", false), painted("", true));

            assert!(text > 20 && text < 1000, "the text has {text} pixels");
            assert!(graph > 60 * HEIGHT as usize - 20, "the graph has {graph} pixels");
        });
    }

    #[test]
    fn where_it_is_narrow_there_is_the_text_only() {
        testing::with_gtk(|| {
            let graph = Graph::new(60, 5);
            graph.set_text("100%");
            graph.set_drawn(true);
            let wide = graph.measure(gtk::Orientation::Horizontal, -1).0;

            graph.set_narrow(true);

            assert_eq!(graph.measure(gtk::Orientation::Horizontal, -1).0, wide - 60);
            let painted = testing::painted_pixels(&graph);
            assert!(painted > 20 && painted < 1000, "{painted} pixels");
        });
    }

    #[test]
    fn a_text_that_needs_more_room_gets_it() {
        testing::with_gtk(|| {
            let width = |text: &str| {
                let graph = Graph::new(60, 5);
                graph.set_text(text);
                graph.measure(gtk::Orientation::Horizontal, -1).0
            };

            assert_eq!(width("1%"), width("99%"));
            assert!(width("a good deal more than that") > width("99%"));
        });
    }
}
