//! A row of the guest list: icon, name and state, CPU graph, memory, a button for the likeliest thing to do and one for the
//! guest's menu. Rows are made for what fits on the screen and bound to other guests as the list scrolls.

use gtk::{
    accessible::Property,
    glib, pango,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};
use lodge::manager::guests::Guests;

use super::item::GuestItem;
use crate::ui::{
    backend::{GuestId, GuestView, Operation},
    i18n::{gettext, gettext_f},
    widgets::graph::Graph,
    wording,
};

glib::wrapper! {
    /// The row.
    pub struct GuestRow(ObjectSubclass<imp::GuestRow>)
        @extends gtk::Box, gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget, gtk::Orientable;
}

/// What a person wants of a row's guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowRequest {
    /// Do this to it.
    Operate(GuestId, Operation),
    /// Show its menu.
    Menu(GuestId),
}

impl GuestRow {
    /// An unbound row.
    pub fn new(guests: Guests, request: impl Fn(RowRequest) + Clone + 'static) -> Self {
        let row: Self = glib::Object::new();
        row.build(request);
        row.imp().guests.replace(Some(guests));
        row
    }

    fn build(&self, request: impl Fn(RowRequest) + Clone + 'static) {
        let imp = self.imp();
        self.set_spacing(12);
        self.add_css_class("guest-row");

        imp.icon.set_pixel_size(24);
        imp.icon.set_css_classes(&["guest-icon"]);
        imp.icon.set_valign(gtk::Align::Center);
        imp.icon.set_accessible_role(gtk::AccessibleRole::Presentation);

        let texts = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(3).hexpand(true).build();
        texts.set_valign(gtk::Align::Center);
        imp.name.set_css_classes(&["heading"]);
        imp.status.set_css_classes(&["caption", "guest-status"]);
        for label in [&imp.name, &imp.status] {
            label.set_xalign(0.0);
            label.set_ellipsize(pango::EllipsizeMode::End);
            texts.append(label);
        }

        imp.graph.set_size_request(112, 32);
        imp.graph.set_valign(gtk::Align::Center);
        for (label, width) in [(&imp.cpu, 5), (&imp.memory, 8)] {
            label.set_css_classes(&["caption", "numeric", "dim-label"]);
            label.set_xalign(1.0);
            label.set_width_chars(width);
        }

        imp.operate.set_css_classes(&["flat", "circular"]);
        imp.operate.set_valign(gtk::Align::Center);
        imp.operate.connect_clicked(glib::clone!(
            #[weak(rename_to = row)]
            self,
            #[strong]
            request,
            move |_| {
                if let Some(item) = row.item()
                    && let Some(operation) = likeliest(&item.view())
                {
                    request(RowRequest::Operate(item.id(), operation));
                }
            }
        ));
        imp.menu.set_icon_name("view-more-symbolic");
        imp.menu.set_css_classes(&["flat", "circular"]);
        imp.menu.set_valign(gtk::Align::Center);
        imp.menu.connect_clicked(glib::clone!(
            #[weak(rename_to = row)]
            self,
            move |_| {
                if let Some(item) = row.item() {
                    request(RowRequest::Menu(item.id()));
                }
            }
        ));
        let children: [&gtk::Widget; 7] = [
            imp.icon.upcast_ref(),
            texts.upcast_ref(),
            imp.cpu.upcast_ref(),
            imp.graph.upcast_ref(),
            imp.memory.upcast_ref(),
            imp.operate.upcast_ref(),
            imp.menu.upcast_ref(),
        ];
        children.into_iter().for_each(|child| self.append(child));
    }

    /// The guest that the row shows.
    pub fn item(&self) -> Option<GuestItem> {
        self.imp().bound.borrow().as_ref().map(|bound| bound.item.clone())
    }

    /// The button that the guest's menu points to.
    pub fn menu_button(&self) -> &gtk::Button {
        &self.imp().menu
    }

    /// Shows this guest from now on.
    pub fn bind(&self, item: &GuestItem) {
        let changed = item.connect_changed(glib::clone!(
            #[weak(rename_to = row)]
            self,
            move |item| row.show(item)
        ));
        let sampled = item.connect_sampled(glib::clone!(
            #[weak(rename_to = row)]
            self,
            move |item| row.show_statistics(item)
        ));
        self.imp().bound.replace(Some(imp::Bound { item: item.clone(), signals: [changed, sampled] }));
        self.show(item);
    }

    /// Shows no guest any more.
    pub fn unbind(&self) {
        if let Some(imp::Bound { item, signals }) = self.imp().bound.take() {
            signals.into_iter().for_each(|signal| item.disconnect(signal));
        }
    }

    fn show(&self, item: &GuestItem) {
        let imp = self.imp();
        let view = item.view();
        let status = wording::status(&view);
        imp.name.set_label(&view.name);
        imp.status.set_label(&status);
        self.set_tooltip_text(status.contains(':').then_some(status.as_str()));
        imp.icon.set_icon_name(Some(wording::guest_icon(&view)));
        self.set_css_classes(&["guest-row", wording::state_class(&view)]);
        let memory = view.definition.as_ref().map(|definition| wording::bytes(definition.memory.bytes()));
        imp.memory.set_label(memory.as_deref().unwrap_or_default());

        let name = [("name", view.name.as_str())];
        let operation = likeliest(&view);
        imp.operate.set_sensitive(operation.is_some());
        let (icon, tooltip, label) = match operation {
            Some(Operation::Pause) => {
                ("media-playback-pause-symbolic", gettext("Pause"), gettext_f("Pause {name}", &name))
            }
            _ => ("media-playback-start-symbolic", gettext("Run"), gettext_f("Run {name}", &name)),
        };
        imp.operate.set_icon_name(icon);
        imp.operate.set_tooltip_text(Some(&tooltip));
        imp.operate.update_property(&[Property::Label(&label)]);
        imp.menu.set_tooltip_text(Some(&gettext("Menu")));
        imp.menu.update_property(&[Property::Label(&gettext_f("Menu of {name}", &name))]);
        // The list's own row widget is what screen readers stop at.
        if let Some(list_row) = self.parent() {
            let label = gettext_f("{name}, {status}", &[("name", &view.name), ("status", &status)]);
            list_row.update_property(&[Property::Label(&label)]);
        }
        self.describe_graph(&view.name, &imp.cpu.label());
        drop(view);
        self.show_statistics(item);
    }

    fn show_statistics(&self, item: &GuestItem) {
        let imp = self.imp();
        let view = item.view();
        let vcpus = view.definition.as_ref().map_or(1, |definition| definition.vcpus.max(1));
        let share = |percent: f32| percent / 100.0 / vcpus as f32;
        let active = view.state.is_active();
        imp.graph.set_opacity(if active { 1.0 } else { 0.0 });
        let guests = imp.guests.borrow();
        let latest = guests.as_ref().filter(|_| active).and_then(|guests| {
            guests.with_history(&view.id, |history| {
                let points = history.fine();
                let surplus = points.len().saturating_sub(Graph::CAPACITY);
                imp.graph.set_samples(points.skip(surplus).map(|point| share(point.cpu)));
                history.latest().map(|point| share(point.cpu))
            })
        });
        if latest.is_none() {
            imp.graph.set_samples(std::iter::empty());
        }
        let text = latest.flatten().map(|share| wording::percent(share.min(1.0))).unwrap_or_default();
        if imp.cpu.label() != text {
            imp.cpu.set_label(&text);
            self.describe_graph(&view.name, &text);
        }
    }

    fn describe_graph(&self, name: &str, share: &str) {
        let words = [("name", name), ("share", share)];
        let text = if share.is_empty() {
            gettext_f("CPU graph of {name}", &words)
        } else {
            gettext_f("CPU use of {name}: {share}", &words)
        };
        self.imp().graph.set_description(&text);
    }
}

/// What a person most likely wants to do to the guest.
fn likeliest(view: &GuestView) -> Option<Operation> {
    let readable = view.definition.is_ok();
    [Operation::Run, Operation::Pause].into_iter().find(|operation| readable && operation.allowed(&view.state))
}

mod imp {
    use std::cell::RefCell;

    use super::*;

    pub struct Bound {
        pub item: GuestItem,
        pub signals: [glib::SignalHandlerId; 2],
    }

    #[derive(Default)]
    pub struct GuestRow {
        pub icon: gtk::Image,
        pub name: gtk::Label,
        pub status: gtk::Label,
        pub cpu: gtk::Label,
        pub graph: Graph,
        pub memory: gtk::Label,
        pub operate: gtk::Button,
        pub menu: gtk::Button,
        pub guests: RefCell<Option<Guests>>,
        pub bound: RefCell<Option<Bound>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GuestRow {
        const NAME: &'static str = "LodgeGuestRow";
        type Type = super::GuestRow;
        type ParentType = gtk::Box;
    }

    impl ObjectImpl for GuestRow {}
    impl WidgetImpl for GuestRow {}
    impl BoxImpl for GuestRow {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{
        backend::GuestState,
        testing::{guest_view, with_gtk},
    };

    #[test]
    fn the_button_of_a_row_runs_what_is_off_and_pauses_what_runs() {
        let off = guest_view("web");
        let running = GuestView { state: GuestState::Running, ..off.clone() };
        let broken = GuestView { definition: Err("unknown field".into()), ..off.clone() };

        assert_eq!(likeliest(&off), Some(Operation::Run));
        assert_eq!(likeliest(&running), Some(Operation::Pause));
        assert_eq!(likeliest(&broken), None);
    }

    #[test]
    fn an_unbound_row_no_longer_follows_its_guest() {
        with_gtk(|| {
            let off = guest_view("web");
            let item = GuestItem::new(off.clone());
            let row: GuestRow = glib::Object::new();
            row.build(|_| {});
            row.bind(&item);
            item.set_view(GuestView { state: GuestState::Running, ..off.clone() });
            assert_eq!(row.imp().status.label(), "Running");

            row.unbind();
            item.set_view(GuestView { state: GuestState::PAUSED, ..off });

            assert_eq!(row.imp().status.label(), "Running");
        });
    }
}
