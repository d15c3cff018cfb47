//! A box that GTK's cairo renderer draws as one picture, made anew only when something in the box changes. Whenever a little of a
//! window has changed, that renderer goes through all its nodes, and each text and each icon costs it as much as one that is new.

use gtk::{
    cairo, glib, gsk,
    prelude::*,
    subclass::prelude::{ObjectSubclassExt, *},
};

use super::renders_with_cairo;

glib::wrapper! {
    /// The box.
    pub struct Still(ObjectSubclass<imp::Still>)
        @extends gtk::Box, gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget, gtk::Orientable;
}

impl Still {
    /// A horizontal box with so much room between its children, in logical pixels.
    pub fn new(spacing: i32) -> Self {
        glib::Object::builder().property("spacing", spacing).build()
    }
}

/// Draws what a node draws, as one picture for a display that has so many pixels for a logical one.
fn append(snapshot: &gtk::Snapshot, node: &gsk::RenderNode, scale: i32) -> Result<(), cairo::Error> {
    let bounds = node.bounds().round_extents();
    let (width, height) = (bounds.width() as i32, bounds.height() as i32);
    let picture = cairo::ImageSurface::create(cairo::Format::ARgb32, width * scale, height * scale)?;
    picture.set_device_scale(scale.into(), scale.into());
    let (x, y) = (f64::from(bounds.x()), f64::from(bounds.y()));
    picture.set_device_offset(-x * f64::from(scale), -y * f64::from(scale));
    node.draw(&cairo::Context::new(&picture)?);
    let context = snapshot.append_cairo(&bounds);
    context.set_source_surface(&picture, 0.0, 0.0)?;
    context.paint()
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct Still;

    #[glib::object_subclass]
    impl ObjectSubclass for Still {
        const NAME: &'static str = "LodgeStill";
        type Type = super::Still;
        type ParentType = gtk::Box;
    }

    impl ObjectImpl for Still {}

    impl WidgetImpl for Still {
        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let widget = self.obj();
            if !renders_with_cairo(&*widget) {
                return self.parent_snapshot(snapshot);
            }
            let parts = gtk::Snapshot::new();
            self.parent_snapshot(&parts);
            let Some(node) = parts.to_node() else { return };
            if let Err(error) = append(snapshot, &node, widget.scale_factor()) {
                tracing::debug!("a part of the window is drawn piece by piece: {error}");
                snapshot.append_node(node);
            }
        }
    }

    impl BoxImpl for Still {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::{painted_pixels, with_gtk};

    #[test]
    fn what_is_in_the_box_is_drawn_as_in_any_other() {
        with_gtk(|| {
            let label = || gtk::Label::builder().label("What is in it").css_classes(["heading"]).build();
            let (still, plain) = (Still::new(6), gtk::Box::new(gtk::Orientation::Horizontal, 6));
            still.append(&label());
            plain.append(&label());

            let (still, plain) = (painted_pixels(&still), painted_pixels(&plain));

            assert!(plain > 50, "{plain} pixels");
            assert_eq!(still, plain);
        });
    }
}
