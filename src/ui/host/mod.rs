//! The host's window: what it uses, where disks lie, what networks there are, and the guests that were deleted.

mod networks;
mod storage;
mod trash;
mod usage;

use adw::prelude::*;

use self::{networks::NetworksPage, storage::StoragePage, trash::TrashPage, usage::UsagePage};
use crate::ui::{
    actions, backend::Backend, i18n::gettext, operations::Place, pump, widgets::list_hidden_windows_first,
};

/// A page of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPage {
    /// Graphs of what the host uses.
    Usage,
    /// Pools and volumes.
    Storage,
    /// What guests can be connected to.
    Networks,
    /// Deleted guests.
    Trash,
}

impl HostPage {
    const ALL: [Self; 4] = [Self::Usage, Self::Storage, Self::Networks, Self::Trash];

    /// The page that is shown.
    fn shown(stack: &adw::ViewStack) -> Option<Self> {
        let name = stack.visible_child_name()?;
        Self::ALL.into_iter().find(|page| page.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Storage => "storage",
            Self::Networks => "networks",
            Self::Trash => "trash",
        }
    }
}

/// The window. Closing it hides it: what takes long in it goes on. Clones are the same.
#[derive(Clone)]
pub struct HostWindow {
    window: adw::Window,
    stack: adw::ViewStack,
    pages: Pages,
}

/// What is in it. Clones are the same.
#[derive(Clone)]
struct Pages {
    usage: UsagePage,
    storage: StoragePage,
    networks: NetworksPage,
    trash: TrashPage,
}

impl Pages {
    /// Looks again at what can be seen; the other pages are looked at when a person turns to them.
    fn reload(&self, stack: &adw::ViewStack) {
        match HostPage::shown(stack) {
            Some(HostPage::Usage) => self.usage.reload(),
            Some(HostPage::Storage) => self.storage.reload(),
            Some(HostPage::Networks) => self.networks.reload(),
            Some(HostPage::Trash) => self.trash.reload(),
            None => {}
        }
    }
}

impl HostWindow {
    /// A window over `parent` that is not shown yet.
    pub fn new(backend: &Backend, parent: &gtk::Window) -> Self {
        // Pages that are not shown are not measured.
        let stack = adw::ViewStack::builder().hhomogeneous(false).vhomogeneous(false).visible(false).build();
        let toasts = adw::ToastOverlay::new();
        toasts.set_child(Some(&stack));
        toasts.set_vexpand(true);
        let window = adw::Window::builder()
            .title(gettext("Host"))
            .transient_for(parent)
            .default_width(760)
            .default_height(640)
            .width_request(360)
            .build();
        let place = Place::new(&window, &toasts);
        let pages = Pages {
            usage: UsagePage::new(backend, &place),
            storage: StoragePage::new(backend, &place),
            networks: NetworksPage::new(backend, &place),
            trash: TrashPage::new(backend, &place),
        };
        let page = |widget: &gtk::Widget, page: HostPage, title: &str, icon: &str| {
            stack.add_titled(widget, Some(page.name()), title).set_icon_name(Some(icon));
        };
        page(
            pages.usage.widget().upcast_ref(),
            HostPage::Usage,
            &gettext("Usage"),
            "power-profile-performance-symbolic",
        );
        page(pages.storage.widget().upcast_ref(), HostPage::Storage, &gettext("Storage"), "drive-harddisk-symbolic");
        page(pages.networks.widget().upcast_ref(), HostPage::Networks, &gettext("Networks"), "network-wired-symbolic");
        page(pages.trash.widget().upcast_ref(), HostPage::Trash, &gettext("Deleted Guests"), "user-trash-symbolic");
        let switcher = adw::ViewSwitcher::builder().stack(&stack).policy(adw::ViewSwitcherPolicy::Wide).build();
        let content = gtk::Box::new(gtk::Orientation::Vertical, 0);
        content.append(&adw::HeaderBar::builder().title_widget(&switcher).build());
        content.append(&toasts);
        content.append(place.jobs.widget());
        window.set_content(Some(&content));
        let weak = window.downgrade();
        actions::add_key(&window, gtk::gdk::Key::Escape, move || {
            if let Some(window) = weak.upgrade() {
                window.close();
            }
        });
        window.connect_close_request(|window| {
            window.set_visible(false);
            list_hidden_windows_first();
            gtk::glib::Propagation::Stop
        });
        // Others change what is shown here: it is looked at whenever a person turns to it.
        let (shown, turned) = (pages.clone(), stack.downgrade());
        window.connect_is_active_notify(move |window| {
            if let Some(stack) = turned.upgrade().filter(|_| window.is_active()) {
                shown.reload(&stack);
            }
        });
        let (shown, seen) = (pages.clone(), window.downgrade());
        stack.connect_visible_child_notify(move |stack| {
            if seen.upgrade().is_some_and(|window| window.is_visible()) {
                shown.reload(stack);
            }
        });
        Self { window, stack, pages }
    }

    /// Shows the window with this page.
    pub fn present(&self, page: HostPage) {
        self.stack.set_visible_child_name(page.name());
        self.window.present();
        if self.stack.is_visible() {
            return self.look();
        }
        // A page has a lot to be measured, and so has the window: all else has its turn between the two.
        let (drawn, window) = (pump::drawn(self.window.upcast_ref()), self.clone());
        relm4::spawn_local(async move {
            drawn.await;
            window.stack.set_visible(true);
            window.look();
        });
    }

    fn look(&self) {
        self.pages.reload(&self.stack);
        // The keyboard goes on from the page that was asked for, not from the first one's tab.
        if let Some(shown) = self.stack.visible_child() {
            shown.child_focus(gtk::DirectionType::TabForward);
        }
    }

    /// Guests have come, gone or changed, and so may have who needs which disk.
    pub fn follow_guests(&self) {
        if self.window.is_visible() {
            self.pages.reload(&self.stack);
        }
    }

    /// There may be new figures.
    pub fn sampled(&self) {
        self.pages.usage.sampled();
    }

    /// Hides the window.
    pub fn close(&self) {
        self.window.close();
    }
}
