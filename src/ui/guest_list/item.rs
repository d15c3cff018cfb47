//! A guest as an item of GTK's list models. The list's rows listen to its signals, so that only rows that are on the screen
//! do any work when a guest changes.

use gtk::{
    gdk, glib,
    prelude::*,
    subclass::prelude::{ObjectSubclassIsExt, *},
};

use super::{group::Group, query::Query};
use crate::ui::backend::{GuestId, GuestView};

glib::wrapper! {
    /// The item.
    pub struct GuestItem(ObjectSubclass<imp::GuestItem>);
}

impl GuestItem {
    /// An item for this guest.
    pub fn new(view: GuestView) -> Self {
        let item: Self = glib::Object::new();
        item.imp().set_view(view);
        item
    }

    /// What is known of the guest.
    pub fn view(&self) -> std::cell::Ref<'_, GuestView> {
        self.imp().view()
    }

    /// Which guest it is.
    pub fn id(&self) -> GuestId {
        self.view().id.clone()
    }

    /// The guest's name.
    pub fn name(&self) -> String {
        self.view().name.clone()
    }

    /// What the list is sorted by: names with numbers in their natural order.
    pub fn sort_key(&self) -> std::cell::Ref<'_, glib::FilenameCollationKey> {
        self.imp().sort_key()
    }

    /// The group that it is in.
    pub fn group(&self) -> std::cell::Ref<'_, Group> {
        self.imp().group()
    }

    /// Whether a search finds the guest.
    pub fn is_found_by(&self, query: &Query) -> bool {
        query.finds(&self.imp().folded_name.borrow(), self.view().definition.as_ref().ok())
    }

    /// Takes over what has changed and tells the row.
    pub fn set_view(&self, view: GuestView) {
        if *self.view() != view {
            self.imp().set_view(view);
            self.emit_by_name::<()>("changed", &[]);
        }
    }

    /// A small picture of its screen, if one was seen since it runs.
    pub fn screen(&self) -> Option<gdk::Texture> {
        self.imp().screen.borrow().clone()
    }

    /// Takes over a new picture and tells the row.
    pub fn set_screen(&self, screen: gdk::Texture) {
        if self.view().state.is_active() {
            self.imp().screen.replace(Some(screen));
            self.emit_by_name::<()>("changed", &[]);
        }
    }

    /// Tells the row that the guest's history has a new point.
    pub fn tell_sampled(&self) {
        self.emit_by_name::<()>("sampled", &[]);
    }

    /// Calls back when anything but the history has changed.
    pub fn connect_changed(&self, callback: impl Fn(&Self) + 'static) -> glib::SignalHandlerId {
        self.connect_local("changed", false, move |values| {
            callback(&values[0].get().expect("the signal's first value is its emitter"));
            None
        })
    }

    /// Calls back when the history has grown.
    pub fn connect_sampled(&self, callback: impl Fn(&Self) + 'static) -> glib::SignalHandlerId {
        self.connect_local("sampled", false, move |values| {
            callback(&values[0].get().expect("the signal's first value is its emitter"));
            None
        })
    }
}

mod imp {
    use std::{
        cell::{Ref, RefCell},
        sync::OnceLock,
    };

    use super::*;

    #[derive(Default)]
    pub struct GuestItem {
        view: RefCell<Option<(GuestView, glib::FilenameCollationKey, Group)>>,
        pub folded_name: RefCell<String>,
        pub screen: RefCell<Option<gdk::Texture>>,
    }

    impl GuestItem {
        pub fn view(&self) -> Ref<'_, GuestView> {
            Ref::map(self.view.borrow(), |view| &view.as_ref().expect("new() sets it").0)
        }

        pub fn sort_key(&self) -> Ref<'_, glib::FilenameCollationKey> {
            Ref::map(self.view.borrow(), |view| &view.as_ref().expect("new() sets it").1)
        }

        pub fn group(&self) -> Ref<'_, Group> {
            Ref::map(self.view.borrow(), |view| &view.as_ref().expect("new() sets it").2)
        }

        pub fn set_view(&self, view: GuestView) {
            let group = Group::of(&view);
            let folded = view.name.to_lowercase();
            let key = glib::FilenameCollationKey::from(folded.as_str());
            self.folded_name.replace(folded);
            if !view.state.is_active() {
                self.screen.replace(None);
            }
            self.view.replace(Some((view, key, group)));
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GuestItem {
        const NAME: &'static str = "LodgeGuestItem";
        type Type = super::GuestItem;
    }

    impl ObjectImpl for GuestItem {
        fn signals() -> &'static [glib::subclass::Signal] {
            static SIGNALS: OnceLock<Vec<glib::subclass::Signal>> = OnceLock::new();
            SIGNALS
                .get_or_init(|| ["changed", "sampled"].map(|name| glib::subclass::Signal::builder(name).build()).into())
        }
    }
}
