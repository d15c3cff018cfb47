//! The list of all guests: rows with live graphs, a search, the guest's menu, and a page for when there is nothing to list.

mod figure;
mod folding;
mod group;
mod heading;
mod item;
mod menu;
mod model;
mod order;
mod query;
mod row;
mod rows;
mod thumbnail;
mod view;

use std::{collections::HashMap, time::Instant};

use gtk::{accessible::Property, gdk, gio, graphene, prelude::*};
use relm4::prelude::*;

pub use menu::GuestRequest;
pub use view::{View, button as view_button};

use self::{
    group::Folding,
    item::GuestItem,
    menu::GuestActions,
    model::GuestModel,
    order::Order,
    query::Query,
    row::{GuestRow, RowRequest},
    rows::{Row, Rows, SharedView},
    thumbnail::Thumbnail,
    view::Column,
};
use crate::ui::{
    actions::{self, Action, Scope},
    backend::{Backend, GuestChange, GuestId, GuestView},
    i18n::gettext,
    widgets::text_button::TextButton,
};

/// The list.
pub struct GuestList {
    model: GuestModel,
    rows: Rows,
    actions: GuestActions,
    view: SharedView,
    backend: Backend,
    /// When the guests were last asked for their screens.
    asked: HashMap<GuestId, Instant>,
    /// When somebody last looked whom to ask.
    looked: Instant,
    /// Every tag that a guest has, and the menu's items for them.
    tags: (Vec<String>, gio::Menu),
    /// Whether guests have come, or it is known that there are none; until then the list is blank rather than "empty".
    loaded: bool,
}

/// What the list starts with.
pub struct GuestListInit {
    /// The manager.
    pub backend: Backend,
    /// How it is shown.
    pub view: View,
    /// The menu that gets an item for each tag.
    pub tags: gio::Menu,
}

/// What the list is told.
#[derive(Debug)]
pub enum GuestListMsg {
    /// Guests have changed.
    Apply(Vec<GuestChange>),
    /// The library was looked at, and is empty.
    NothingToCome,
    /// Show or hide the search entry.
    ToggleSearch,
    /// The search entry was shown or hidden.
    Searching(bool),
    /// The text to search for.
    Find(String),
    /// Show the guests that this finds.
    SearchFor(String),
    /// Show the guests with this tag.
    FindTag(String),
    /// List them in this order.
    Sort(Order),
    /// Show or hide a column.
    Toggle(Column),
    /// List them under headings of their tags, or without.
    GroupByTag(bool),
    /// Hide or show the guests of groups.
    Fold(Folding),
    /// A key was pressed that collapses the group that has the keyboard, or else expands it.
    FoldHere {
        /// Which of the two.
        collapse: bool,
    },
    /// Select the guests of the group whose heading is selected.
    SelectGroup,
    /// Other guests are selected.
    Selected,
    /// Select this guest.
    Select(GuestId),
    /// A row was activated.
    Activated(u32),
    /// Something is asked for the selected guests, by shortcut or menu.
    Request(GuestRequest),
    /// A row's buttons were pressed.
    Row(RowRequest),
    /// The second button was pressed at this place of the list.
    MenuAt(f64, f64),
    /// The list is wider now, or less wide.
    Resized,
}

/// What the list tells.
#[derive(Debug)]
pub enum GuestListOutput {
    /// A person wants this of these guests, one at least.
    Request(GuestRequest, Vec<GuestView>),
    /// The list is shown in another way.
    View(View),
    /// The search entry was shown or hidden.
    Searching(bool),
}

#[relm4::component(pub)]
impl Component for GuestList {
    type Init = GuestListInit;
    type Input = GuestListMsg;
    type Output = GuestListOutput;
    type CommandOutput = (GuestId, Option<Thumbnail>);

    view! {
        gtk::Box {
            set_orientation: gtk::Orientation::Vertical,

            #[name = "search_bar"]
            gtk::SearchBar {
                connect_search_mode_enabled_notify[sender] => move |bar| {
                    sender.input(GuestListMsg::Searching(bar.is_search_mode()));
                },

                #[wrap(Some)]
                set_child = &adw::Clamp {
                    set_maximum_size: 400,
                    set_hexpand: true,

                    #[name = "search_entry"]
                    gtk::SearchEntry {
                        set_placeholder_text: Some(&gettext("Search guests")),
                        update_property: &[Property::Label(&gettext("Search guests"))],
                        connect_search_changed[sender] => move |entry| {
                            sender.input(GuestListMsg::Find(entry.text().into()));
                        },
                        connect_activate => GuestListMsg::Request(GuestRequest::Open),
                    },
                },
            },

            #[name = "stack"]
            gtk::Stack {
                set_vexpand: true,
                set_vhomogeneous: false,

                add_named[Some("loading")] = &gtk::Box {},

                add_named[Some("empty")] = &adw::StatusPage {
                    set_icon_name: Some("org.lodgevm.Lodge"),
                    set_title: &gettext("No Guests Yet"),
                    set_description: Some(&gettext(
                        "Install an operating system from an image, or see the test card draw, count and listen in seconds.",
                    )),

                    gtk::Box {
                        set_orientation: gtk::Orientation::Vertical,
                        set_spacing: 12,
                        set_halign: gtk::Align::Center,

                        #[name = "new_button"]
                        gtk::Button {
                            set_button_text: &Action::NewGuest.entry().label,
                            set_action_name: Some(&Action::NewGuest.detailed_name()),
                            add_css_class: "pill",
                            add_css_class: "suggested-action",
                        },
                        gtk::Button {
                            set_button_text: &Action::TryTestCard.entry().label,
                            set_action_name: Some(&Action::TryTestCard.detailed_name()),
                            add_css_class: "pill",
                        },
                    },
                },

                add_named[Some("nothing-found")] = &adw::StatusPage {
                    set_icon_name: Some("system-search-symbolic"),
                    set_title: &gettext("No Guest Found"),
                    set_description: Some(&gettext("Try another part of its name.")),
                },

                #[name = "scrolled"]
                add_named[Some("guests")] = &gtk::ScrolledWindow {
                    set_hscrollbar_policy: gtk::PolicyType::Never,

                    #[name = "clamp"]
                    adw::ClampScrollable {
                        set_maximum_size: model.view.borrow().widest(),
                        set_tightening_threshold: 700,

                        #[name = "view"]
                        gtk::ListView {
                            set_css_classes: &["guest-list"],
                            set_model: Some(&model.model.selection),
                            set_factory: Some(&factory),
                            set_show_separators: true,
                            update_property: &[Property::Label(&gettext("Guests"))],
                            connect_activate[sender] => move |_, position| {
                                sender.input(GuestListMsg::Activated(position));
                            },
                        },
                    },
                },
            },
        }
    }

    fn init(init: GuestListInit, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let input = sender.input_sender().clone();
        let actions = GuestActions::new(move |request| input.emit(GuestListMsg::Request(request)));
        actions.insert_into(&root);
        let GuestListInit { backend, mut view, tags } = init;
        view.fit(0);
        let rows = Rows::default();
        let model = GuestModel::new(view.order, view.group_by_tag, view.collapsed.clone());
        let view = SharedView::new(view.into());
        let factory = rows::factory(backend.guests().clone(), &rows, &view, sender.input_sender());
        let (asked, looked, tags) = (HashMap::new(), Instant::now(), (Vec::new(), tags));
        let model = Self { model, rows, actions, view, backend, asked, looked, tags, loaded: false };
        model.model.selection.connect_selection_changed({
            let input = sender.input_sender().clone();
            move |_, _, _| input.emit(GuestListMsg::Selected)
        });
        let widgets = view_output!();
        widgets.search_bar.connect_entry(&widgets.search_entry);
        // Whoever types in the list searches.
        widgets.search_bar.set_key_capture_widget(Some(&widgets.view));
        widgets.view.add_controller(actions::shortcut_controller(Scope::Guest));
        widgets.view.add_controller(folding::keys(&widgets.view, sender.input_sender()));
        let input = sender.input_sender().clone();
        widgets.scrolled.hadjustment().connect_page_size_notify(move |_| input.emit(GuestListMsg::Resized));
        let second_button = gtk::GestureClick::builder().button(gdk::BUTTON_SECONDARY).build();
        second_button.connect_pressed(move |_, _, x, y| sender.input(GuestListMsg::MenuAt(x, y)));
        widgets.view.add_controller(second_button);
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: GuestListMsg,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        let page = self.page();
        match message {
            GuestListMsg::Apply(changes) => {
                let only_figures = changes.iter().all(|change| *change == GuestChange::Statistics);
                self.model.apply(changes);
                self.look_at_screens(&widgets.view, &sender);
                if !only_figures {
                    self.loaded = true;
                    self.enable_actions();
                    self.show_tags();
                }
            }
            GuestListMsg::NothingToCome => self.loaded = true,
            GuestListMsg::ToggleSearch => {
                let bar = &widgets.search_bar;
                bar.set_search_mode(!bar.is_search_mode());
            }
            GuestListMsg::Searching(searching) => {
                let _ = sender.output(GuestListOutput::Searching(searching));
            }
            GuestListMsg::Find(text) => self.model.search(&text),
            GuestListMsg::SearchFor(text) => {
                widgets.search_bar.set_search_mode(true);
                widgets.search_entry.set_text(&text);
            }
            GuestListMsg::FindTag(tag) => sender.input(GuestListMsg::SearchFor(Query::text_for(&tag))),
            GuestListMsg::Sort(order) => {
                self.view.borrow_mut().order = order;
                self.model.set_order(order);
                self.tell_view(&sender);
            }
            GuestListMsg::GroupByTag(grouped) => {
                self.view.borrow_mut().group_by_tag = grouped;
                self.model.set_grouped(grouped);
                self.tell_view(&sender);
            }
            GuestListMsg::Fold(folding) => self.fold(folding, &sender),
            GuestListMsg::FoldHere { collapse } => self.fold_here(collapse, &widgets.view, &sender),
            GuestListMsg::SelectGroup => {
                if let Some(heading) = self.selected_heading() {
                    self.model.select_group(&heading.group());
                    self.remember_folding(&sender);
                }
            }
            GuestListMsg::Toggle(column) => {
                self.view.borrow_mut().toggle(column);
                widgets.clamp.set_maximum_size(self.view.borrow().widest());
                self.fit(widgets);
                self.show_view();
                self.tell_view(&sender);
            }
            GuestListMsg::Resized => {
                if self.fit(widgets) {
                    self.show_view();
                }
            }
            GuestListMsg::Selected => self.enable_actions(),
            GuestListMsg::Select(id) => {
                if let Some(position) = self.model.select(&id) {
                    folding::scroll_to(&widgets.view, position);
                }
                self.remember_folding(&sender);
            }
            GuestListMsg::Activated(position) => {
                if let Some(heading) = self.model.heading_at(position) {
                    return self.fold(Folding::Toggle(heading.group()), &sender);
                }
                self.model.selection.select_item(position, true);
                self.request(GuestRequest::Open, widgets, &sender);
            }
            GuestListMsg::Request(request) => self.request(request, widgets, &sender),
            GuestListMsg::Row(RowRequest::Operate(id, operation)) => {
                self.model.select(&id);
                self.request(GuestRequest::Operate(operation), widgets, &sender);
            }
            GuestListMsg::Row(RowRequest::Menu(id)) => {
                self.model.select(&id);
                self.request(GuestRequest::Menu, widgets, &sender);
            }
            GuestListMsg::MenuAt(x, y) => self.menu_at(x, y, &widgets.view),
        }
        // Nothing around the rows changes when only they do, which is once a second.
        if page != self.page() {
            widgets.stack.set_visible_child_name(self.page());
        }
    }

    fn update_cmd(&mut self, (id, thumbnail): Self::CommandOutput, _: ComponentSender<Self>, _: &Self::Root) {
        if let (Some(item), Some(screen)) = (self.model.get(&id), thumbnail.and_then(Thumbnail::texture)) {
            item.set_screen(screen);
        }
    }
}

impl GuestList {
    /// Asks for new pictures of the screens whose rows can be seen. This is called with the figures, so only while somebody looks.
    fn look_at_screens(&mut self, view: &gtk::ListView, sender: &ComponentSender<Self>) {
        let now = Instant::now();
        if now.duration_since(self.looked) < thumbnail::LOOK_EVERY
            || !self.view.borrow().columns.contains(&Column::Screen)
        {
            return;
        }
        self.looked = now;
        let is_seen = |row: &GuestRow| {
            let bounds = row.compute_bounds(view);
            bounds.is_some_and(|bounds| bounds.y() + bounds.height() > 0.0 && bounds.y() < view.height() as f32)
        };
        let rows = self.rows.borrow();
        let runs = |row: &GuestRow| row.item().is_some_and(|item| item.view().state.is_active());
        let shown = rows.iter().filter(|(_, row)| runs(row) && is_seen(row));
        let shown = shown.map(|(id, _)| (id.clone(), self.asked.get(id).copied())).collect();
        for id in thumbnail::due(shown, now) {
            self.asked.insert(id.clone(), now);
            let backend = self.backend.clone();
            sender.oneshot_command(async move {
                // A guest that is just ending has none.
                let picture = backend.screenshot(&id).await.unwrap_or_default();
                let small = relm4::spawn_blocking(move || Thumbnail::of_png(&picture)).await;
                (id, small.ok().flatten())
            });
        }
    }

    /// Takes note of how wide the list is. Whether that changes how rows look.
    fn fit(&self, widgets: &GuestListWidgets) -> bool {
        self.view.borrow_mut().fit(widgets.scrolled.hadjustment().page_size() as i32)
    }

    fn show_view(&self) {
        let view = self.view.borrow();
        self.rows.borrow().values().for_each(|row| row.set_view(&view));
    }

    fn page(&self) -> &'static str {
        match (self.model.len(), self.model.shown()) {
            (0, _) if self.loaded => "empty",
            (0, _) => "loading",
            (_, 0) => "nothing-found",
            _ => "guests",
        }
    }

    fn enable_actions(&self) {
        self.actions.enable_for(&self.model.selected(), self.selected_heading().is_some());
    }

    fn show_tags(&mut self) {
        let tags = self.model.tags();
        if tags != self.tags.0 {
            view::show_tags(&self.tags.1, &tags);
            self.tags.0 = tags;
        }
    }

    fn request(&self, request: GuestRequest, widgets: &GuestListWidgets, sender: &ComponentSender<Self>) {
        let selected = self.model.selected();
        match (request, selected.first()) {
            (GuestRequest::SelectAll, _) => drop(self.model.selection.select_all()),
            (GuestRequest::Menu, None) => self.menu_of_heading(&widgets.view),
            (_, None) => {}
            (GuestRequest::Menu, Some(first)) => self.menu_of(first, selected.len() > 1, &widgets.view),
            _ => {
                let guests = request.allowed_of(&selected);
                if !guests.is_empty() {
                    let _ = sender.output(GuestListOutput::Request(request, guests));
                }
            }
        }
    }

    /// Opens the menu of the selected guests at the menu button of the first one's row.
    fn menu_of(&self, item: &GuestItem, several: bool, view: &gtk::ListView) {
        self.enable_actions();
        let rows = self.rows.borrow();
        let bounds = rows.get(&item.id()).and_then(|row| row.menu_button().compute_bounds(view));
        let place = bounds.map_or(gdk::Rectangle::new(0, 0, 1, 1), |bounds| rectangle(&bounds));
        menu::popup(view, place, Some(&item.view().state).filter(|_| !several));
    }

    fn menu_at(&mut self, x: f64, y: f64, view: &gtk::ListView) {
        let place = gdk::Rectangle::new(x as i32, y as i32, 1, 1);
        let item = match view.pick(x, y, gtk::PickFlags::DEFAULT).and_then(|widget| Row::at(&widget)) {
            Some(Row::Guest(item)) => item,
            Some(Row::Heading(heading)) => {
                self.model.select_heading(&heading.group());
                return menu::popup_of_group(view, place);
            }
            None => return,
        };
        let selected = self.model.selected();
        let several = selected.len() > 1 && selected.contains(&item);
        if !several {
            self.model.select(&item.id());
        }
        self.enable_actions();
        menu::popup(view, place, Some(&item.view().state).filter(|_| !several));
    }
}

fn rectangle(bounds: &graphene::Rect) -> gdk::Rectangle {
    gdk::Rectangle::new(bounds.x() as i32, bounds.y() as i32, bounds.width() as i32, bounds.height() as i32)
}
