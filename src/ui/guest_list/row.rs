//! A row of the guest list: a picture of its screen or an icon, name, tags and state, figures with their graphs, a button for the
//! likeliest thing to do and one for the guest's menu. Rows are made for what fits on the screen and bound to other guests as the
//! list scrolls.

use gtk::{
    accessible::Property,
    glib, pango,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};
use lodge::manager::{guests::Guests, statistics::Point};

use super::{
    figure::Figure,
    item::GuestItem,
    view::{Column, View},
};
use crate::ui::{
    backend::{GuestId, GuestView, Operation},
    i18n::{gettext, gettext_f},
    widgets::{graph::Graph, set_tooltip, still::Still},
    wording,
};

/// How wide the picture of a screen is, in logical pixels.
const SCREEN_WIDTH: i32 = 64;
/// How many characters of the name there is room for at least.
const NAME_WIDTH: i32 = 8;

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
    pub fn new(guests: Guests, view: &View, request: impl Fn(RowRequest) + Clone + 'static) -> Self {
        let row: Self = glib::Object::new();
        row.build(request);
        row.set_view(view);
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
        imp.icon.set_halign(gtk::Align::Center);
        imp.icon.set_hexpand(true);
        imp.icon.set_accessible_role(gtk::AccessibleRole::Presentation);

        let texts = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(3).hexpand(true).build();
        texts.set_valign(gtk::Align::Center);
        imp.name.set_css_classes(&["heading"]);
        imp.status.set_css_classes(&["caption", "guest-status"]);
        imp.tags.set_css_classes(&["caption", "guest-tags"]);
        for label in [&imp.name, &imp.status, &imp.tags] {
            label.set_xalign(0.0);
            label.set_ellipsize(pango::EllipsizeMode::End);
        }
        // However much is shown of guests, they can be told apart.
        imp.name.set_width_chars(NAME_WIDTH);
        imp.warning.set_icon_name(Some("dialog-warning-symbolic"));
        imp.warning.set_css_classes(&["warning"]);
        imp.warning.set_accessible_role(gtk::AccessibleRole::Img);
        self.set_has_tooltip(true);
        self.connect_query_tooltip(|row, _, _, _, tooltip| {
            let cut = row.cut_off();
            tooltip.set_text(Some(&cut));
            !cut.is_empty()
        });
        let below = gtk::Box::builder().spacing(6).build();
        below.append(&imp.warning);
        below.append(&imp.status);
        below.append(&imp.tags);
        texts.append(&imp.name);
        texts.append(&below);

        let figures = [Column::Cpu, Column::Memory, Column::Disk, Column::Network].map(Figure::new);

        imp.operate.set_css_classes(&["flat", "circular"]);
        imp.operate.set_valign(gtk::Align::Center);
        // What most rows have is set while GTK need not ask the display whether the pointer is there.
        imp.operate.set_tooltip_text(Some(&gettext("Run")));
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
        imp.menu.set_tooltip_text(Some(&gettext("Menu")));
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
        // The icon is in the middle of it, which must not make it wider.
        imp.face.set_hexpand(false);
        imp.face.append(&imp.icon);
        let (before, after) = (Still::new(12), Still::new(12));
        before.append(&imp.face);
        before.append(&texts);
        after.append(&imp.operate);
        after.append(&imp.menu);
        self.append(&before);
        figures.iter().for_each(|figure| self.append(figure.widget()));
        self.append(&after);
        imp.figures.replace(figures.into());
    }

    /// Shows these columns from now on.
    pub fn set_view(&self, view: &View) {
        let screens = view.columns.contains(&Column::Screen);
        self.imp().shows_screens.set(screens);
        self.imp().face.set_width_request(if screens { SCREEN_WIDTH } else { -1 });
        self.imp().columns.replace(view.columns.clone());
        self.imp().figures.borrow().iter().for_each(|figure| figure.widget().set_narrow(view.is_narrow));
        if let Some(item) = self.item() {
            self.show_screen(&item);
            self.show_figures(&item);
        }
    }

    /// What of the row's texts there is no room for, each on a line.
    fn cut_off(&self) -> String {
        let imp = self.imp();
        let cut = [&imp.name, &imp.status, &imp.tags].into_iter();
        let cut = cut.filter(|label| label.is_visible() && label.layout().is_ellipsized());
        cut.map(|label| label.label().to_string()).collect::<Vec<_>>().join("\n")
    }

    /// Shows the columns that say something of the guest: what others do not need is room for its name and its state.
    fn show_figures(&self, item: &GuestItem) {
        for figure in self.imp().figures.borrow().iter() {
            let wanted = self.imp().columns.borrow().contains(&figure.column);
            figure.widget().set_visible(wanted && figure.has_place(&item.view()));
        }
        self.show_statistics(item);
    }

    fn show_screen(&self, item: &GuestItem) {
        let imp = self.imp();
        let screen = item.screen().filter(|_| imp.shows_screens.get());
        imp.icon.set_visible(screen.is_none());
        if screen.is_some() || imp.screen.get().is_some() {
            let picture = imp.screen.get_or_init(|| self.add_screen());
            picture.set_visible(screen.is_some());
            picture.set_paintable(screen.as_ref());
        }
    }

    /// The picture for the first screen: rows of guests that are off have none.
    fn add_screen(&self) -> gtk::Picture {
        let picture = gtk::Picture::builder().can_shrink(true).css_classes(["guest-screen"]).build();
        picture.set_size_request(SCREEN_WIDTH, SCREEN_WIDTH * 5 / 8);
        picture.set_overflow(gtk::Overflow::Hidden);
        picture.set_accessible_role(gtk::AccessibleRole::Presentation);
        let clamp = adw::Clamp::builder().maximum_size(SCREEN_WIDTH).tightening_threshold(SCREEN_WIDTH).build();
        clamp.set_child(Some(&picture));
        clamp.set_valign(gtk::Align::Center);
        self.imp().face.append(&clamp);
        picture
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
        let network = wording::network_problems(&view);
        imp.warning.set_visible(network.is_some());
        if set_tooltip(&imp.warning, network.as_deref()) {
            imp.warning.update_property(&[Property::Label(network.as_deref().unwrap_or_default())]);
        }
        let icon = wording::guest_icon(&view);
        if imp.icon.icon_name().as_deref() != Some(icon) {
            imp.icon.set_icon_name(Some(icon));
        }
        // New classes are a new style for all that is in the row.
        let class = wording::state_class(&view);
        if imp.state_class.replace(class) != class {
            self.set_css_classes(&["guest-row", class]);
        }
        let tags = view.definition.as_ref().map(|definition| definition.tags.join(" · ")).unwrap_or_default();
        imp.tags.set_visible(!tags.is_empty());
        imp.tags.set_label(&tags);

        self.show_buttons(&view);
        // The list's own row widget is what screen readers stop at.
        if let Some(list_row) = self.parent() {
            let status = network.map_or(status.clone(), |network| format!("{status}. {network}"));
            let label = gettext_f("{name}, {status}", &[("name", &view.name), ("status", &status)]);
            list_row.update_property(&[Property::Label(&label)]);
        }
        drop(view);
        self.show_screen(item);
        self.show_figures(item);
    }

    fn show_buttons(&self, view: &GuestView) {
        let imp = self.imp();
        let name = [("name", view.name.as_str())];
        let operation = likeliest(view);
        imp.operate.set_sensitive(operation.is_some());
        let (icon, tooltip, label) = match operation {
            Some(Operation::Pause) => {
                ("media-playback-pause-symbolic", gettext("Pause"), gettext_f("Pause {name}", &name))
            }
            _ => ("media-playback-start-symbolic", gettext("Run"), gettext_f("Run {name}", &name)),
        };
        if imp.operate.icon_name().as_deref() != Some(icon) {
            imp.operate.set_icon_name(icon);
        }
        set_tooltip(&imp.operate, Some(&tooltip));
        imp.operate.update_property(&[Property::Label(&label)]);
        imp.menu.update_property(&[Property::Label(&gettext_f("Menu of {name}", &name))]);
    }

    fn show_statistics(&self, item: &GuestItem) {
        let imp = self.imp();
        let view = item.view();
        let figures = imp.figures.borrow();
        let show = |points: &[&Point]| {
            figures.iter().filter(|figure| figure.widget().is_visible()).for_each(|figure| figure.show(&view, points));
        };
        let guests = imp.guests.borrow();
        let shown = guests.as_ref().filter(|_| view.state.is_active()).and_then(|guests| {
            guests.with_history(&view.id, |history| {
                let points = history.fine();
                let surplus = points.len().saturating_sub(Graph::CAPACITY);
                show(&points.skip(surplus).collect::<Vec<_>>());
            })
        });
        if shown.is_none() {
            show(&[]);
        }
    }
}

/// What a person most likely wants to do to the guest.
fn likeliest(view: &GuestView) -> Option<Operation> {
    let readable = view.definition.is_ok();
    [Operation::Run, Operation::Pause].into_iter().find(|operation| readable && operation.allowed(&view.state))
}

mod imp {
    use std::cell::{Cell, OnceCell, RefCell};

    use super::*;

    pub struct Bound {
        pub item: GuestItem,
        pub signals: [glib::SignalHandlerId; 2],
    }

    #[derive(Default)]
    pub struct GuestRow {
        /// The icon, or the screen in its place.
        pub face: gtk::Box,
        pub icon: gtk::Image,
        pub screen: OnceCell<gtk::Picture>,
        pub shows_screens: Cell<bool>,
        /// The style class for the guest's state.
        pub state_class: Cell<&'static str>,
        /// The columns that were chosen.
        pub columns: RefCell<Vec<Column>>,
        pub name: gtk::Label,
        pub status: gtk::Label,
        /// Something is wrong that the guest goes on with.
        pub warning: gtk::Image,
        pub tags: gtk::Label,
        pub figures: RefCell<Vec<Figure>>,
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
    fn a_row_warns_of_a_network_that_does_not_work_until_it_does() {
        with_gtk(|| {
            let works = GuestView { state: GuestState::Running, ..guest_view("web") };
            let problem = "net0: passt has ended".to_owned();
            let item = GuestItem::new(GuestView { network_problems: vec![problem], ..works.clone() });
            let row: GuestRow = glib::Object::new();
            row.build(|_| {});

            row.bind(&item);
            let warning = row.imp().warning.clone();
            let warned = (warning.get_visible(), warning.tooltip_text().map(String::from));
            item.set_view(works);

            assert_eq!(warned, (true, Some("Network: net0: passt has ended".to_owned())));
            assert!(!warning.get_visible());
        });
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
