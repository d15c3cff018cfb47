//! The console: a widget that shows a guest's screen and takes a person's keys and pointer to it.
//!
//! [`geometry`] knows where the picture lies, [`paint`] draws it in [`tiles`], from the guest's [`surface`] where it can, [`keyboard`] and
//! [`pointer`] know what the guest holds down, [`layout`] how a text is typed, [`link`] is the connection, [`cursor`] the guest's
//! pointer, [`clipboard`] what the guest shares with the desktop. What has changed is taken over when the display's next frame begins,
//! and only then is more asked for: so a hidden console costs nothing and the display's rate is never exceeded.
//!
//! While it has the keyboard focus the console takes every key, those of the desktop too where the display server lets it.
//! The release keys that are preferred let go; so does leaving the window.

mod clipboard;
mod cursor;
mod geometry;
mod keyboard;
mod layout;
mod link;
mod paint;
mod pointer;
mod surface;
mod tiles;
mod wish;

use std::path::PathBuf;

use gtk::{gdk, glib, prelude::*, subclass::prelude::*};
use lodge::{
    input::Key,
    rfb::client::{Client, Event},
    screen::Rect,
};

use crate::ui::preferences;
use clipboard::Clipboard;
pub use geometry::Scaling;
use keyboard::Reaction;
pub use layout::Layout;
use link::{Link, LinkEvent};

glib::wrapper! {
    /// The widget.
    pub struct Console(ObjectSubclass<imp::Console>)
        @extends gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget;
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// A console without a guest.
    pub fn new() -> Self {
        let console: Self = glib::Object::builder().property("focusable", true).build();
        console.take_pointer();
        console.follow_focus();
        console.imp().clipboard.replace(Some(Clipboard::new(&console.display())));
        console
    }

    /// Shows the screen behind the socket at `path`, from now on.
    pub fn connect_to(&self, path: PathBuf) {
        let console = self.downgrade();
        let link = Link::new(path, move |event| {
            if let Some(console) = console.upgrade() {
                console.linked(event);
            }
        });
        self.imp().link.replace(Some(link));
    }

    /// Shows nothing any more.
    pub fn disconnect_from_guest(&self) {
        self.imp().link.replace(None);
        self.set_client(None);
        self.imp().picture.replace(None);
        self.imp().cursor.replace(None);
        self.imp().size.set((0, 0));
        self.let_go();
        self.show_cursor();
        self.queue_resize();
        self.tell();
    }

    /// The guest is there, or gone.
    fn set_client(&self, client: Option<Client>) {
        self.with_clipboard(|clipboard| clipboard.set_client(client.clone()));
        self.imp().client.replace(client);
    }

    /// Tells the shared clipboard something.
    fn with_clipboard(&self, tell: impl FnOnce(&Clipboard)) {
        if let Some(clipboard) = &*self.imp().clipboard.borrow() {
            tell(clipboard);
        }
    }

    /// Sets how the picture fills the console.
    pub fn set_scaling(&self, scaling: Scaling) {
        self.imp().scaling.set(scaling);
        self.queue_resize();
        self.queue_draw();
    }

    /// Sets whether the guest is only looked at: keys and the pointer stay here.
    pub fn set_view_only(&self, view_only: bool) {
        self.imp().view_only.set(view_only);
        if view_only {
            self.let_go();
        } else if self.has_focus() {
            self.capture();
        }
    }

    /// Whether the guest is only looked at.
    pub fn is_view_only(&self) -> bool {
        self.imp().view_only.get()
    }

    /// Sets whether the guest is asked for a screen of the console's size, now and whenever that changes.
    pub fn set_resizes_guest(&self, resizes: bool) {
        self.imp().wish.borrow_mut().set_enabled(resizes);
        self.wish_for_size();
    }

    /// Asks the guest for a screen of the console's size, once that has settled.
    fn wish_for_size(&self) {
        let imp = self.imp();
        imp.wish.borrow_mut().consider(
            self,
            (self.width(), self.height()),
            imp.size.get(),
            |console, (width, height)| {
                if let Some(client) = &*console.imp().client.borrow() {
                    client.request_size(width, height);
                }
            },
        );
    }

    /// Whether a picture is shown.
    pub fn has_picture(&self) -> bool {
        self.imp().picture.borrow().is_some()
    }

    /// Whether the person's keys go to the guest.
    pub fn is_captured(&self) -> bool {
        self.imp().captured.get()
    }

    /// Calls `changed` when [`Console::has_picture`] or [`Console::is_captured`] may be different.
    pub fn connect_changed(&self, changed: impl Fn(&Self) + 'static) {
        self.imp().changed.replace(Some(Box::new(changed)));
    }

    /// Lets the keyboard go.
    pub fn let_go(&self) {
        let imp = self.imp();
        let held = imp.keyboard.borrow_mut().release_all();
        if let Some(client) = &*imp.client.borrow() {
            held.into_iter().for_each(|key| client.key(key, false));
            imp.pointer.borrow_mut().release_all(client);
        }
        if imp.captured.replace(false) {
            self.with_clipboard(|clipboard| clipboard.set_active(false));
            if let Some(toplevel) = self.toplevel() {
                toplevel.restore_system_shortcuts();
            }
            self.show_cursor();
            self.tell();
        }
    }

    /// Takes the keyboard to the guest.
    pub fn capture(&self) {
        let imp = self.imp();
        if imp.captured.get() || imp.view_only.get() || imp.client.borrow().is_none() {
            return;
        }
        imp.captured.set(true);
        self.with_clipboard(|clipboard| clipboard.set_active(true));
        if let Some(toplevel) = self.toplevel() {
            toplevel.inhibit_system_shortcuts(None::<&gdk::ButtonEvent>);
        }
        self.show_cursor();
        self.tell();
    }

    /// Shows the guest's pointer where the person's is, or none where the guest draws its own: two of them would confuse.
    fn show_cursor(&self) {
        let imp = self.imp();
        let follows_position = imp.pointer.borrow().follows_position();
        let guests = imp.cursor.borrow().clone().filter(|_| follows_position);
        match (guests, imp.captured.get()) {
            (Some(cursor), _) => self.set_cursor(Some(&cursor)),
            (None, captured) => self.set_cursor_from_name(captured.then_some("none")),
        }
    }

    fn toplevel(&self) -> Option<gdk::Toplevel> {
        self.native()?.surface()?.downcast().ok()
    }

    fn tell(&self) {
        if let Some(changed) = &*self.imp().changed.borrow() {
            changed(self);
        }
    }

    fn linked(&self, event: LinkEvent) {
        let imp = self.imp();
        match event {
            LinkEvent::Connected(client) => {
                client.request_update();
                imp.pointer.borrow_mut().set_follows_position(true);
                imp.cursor.replace(None);
                self.set_client(Some(client));
                if self.has_focus() {
                    self.capture();
                }
            }
            LinkEvent::Screen(Event::Damaged(rects)) => {
                imp.damage.borrow_mut().extend(rects);
                // A console without a picture may be hidden, and have no frames.
                if !self.has_picture() {
                    self.take_picture();
                }
                self.take_next_picture();
            }
            LinkEvent::Screen(Event::PointerMode { follows_position }) => {
                imp.pointer.borrow_mut().set_follows_position(follows_position);
                self.show_cursor();
            }
            LinkEvent::Screen(Event::Cursor(image)) => {
                imp.cursor.replace(cursor::of(&image));
                self.show_cursor();
            }
            LinkEvent::Screen(Event::Bell) => self.error_bell(),
            LinkEvent::Screen(Event::ClipboardOffered(offers)) => {
                self.with_clipboard(|clipboard| clipboard.guest_offers(offers));
            }
            LinkEvent::Screen(Event::ClipboardRequested) => self.with_clipboard(Clipboard::guest_requests),
            LinkEvent::Screen(Event::ClipboardProvided(text)) => {
                self.with_clipboard(|clipboard| clipboard.guest_provides(&text));
            }
            LinkEvent::Screen(_) => {}
            LinkEvent::Lost => {
                self.set_client(None);
                imp.picture.replace(None);
                imp.damage.take();
                imp.cursor.replace(None);
                imp.size.set((0, 0));
                self.let_go();
                self.show_cursor();
                self.queue_draw();
                self.tell();
            }
        }
    }

    /// Takes over what has changed, once the display's next frame begins, and asks for more when that is drawn: until then nobody
    /// may change the pixels that it is drawn from.
    fn take_next_picture(&self) {
        if self.imp().waiting.replace(true) {
            return;
        }
        self.add_tick_callback(|console, _| {
            let imp = console.imp();
            imp.waiting.set(false);
            if !imp.damage.borrow().is_empty() {
                console.take_picture();
            }
            let console = console.downgrade();
            glib::idle_add_local_full(glib::Priority::HIGH_IDLE, move || {
                if let Some(client) = console.upgrade().and_then(|console| console.imp().client.borrow().clone()) {
                    client.request_update();
                }
                glib::ControlFlow::Break
            });
            glib::ControlFlow::Break
        });
    }

    /// Takes over what has changed.
    fn take_picture(&self) {
        let imp = self.imp();
        let Some(client) = imp.client.borrow().clone() else { return };
        let (damage, last) = (imp.damage.take(), imp.picture.take());
        let first = last.is_none();
        let picture = paint::Picture::new(self.upcast_ref(), &client, last, &damage);
        let size = picture.as_ref().map_or((0, 0), paint::Picture::size);
        imp.picture.replace(picture);
        if imp.size.replace(size) != size {
            self.queue_resize();
            self.wish_for_size();
        }
        self.queue_draw();
        if first {
            self.tell();
        }
    }

    /// Takes the keys that are pressed in a window, before the window does, as long as the guest has the keyboard.
    pub fn take_keys_of(&self, window: &impl IsA<gtk::Widget>) {
        let keys = gtk::EventControllerKey::new();
        keys.set_propagation_phase(gtk::PropagationPhase::Capture);
        let console = self.downgrade();
        keys.connect_key_pressed(move |keys, _, code, modifiers| {
            if let Some((console, event)) = console.upgrade().zip(key_event(keys)) {
                console.imp().layout.set(event.layout());
            }
            let found = console.upgrade().zip(keyboard::key_of(code));
            let passed = found.is_some_and(|(console, key)| console.key(key, Some(modifiers)));
            if passed { glib::Propagation::Stop } else { glib::Propagation::Proceed }
        });
        let console = self.downgrade();
        keys.connect_key_released(move |_, _, code, _| {
            if let (Some(console), Some(key)) = (console.upgrade(), keyboard::key_of(code)) {
                console.key(key, None);
            }
        });
        window.add_controller(keys);
    }

    /// Which of the layouts of the desktop's keyboard is in use, as far as it is known.
    pub fn layout(&self) -> u32 {
        self.imp().layout.get()
    }

    /// Passes a key on that goes down, with these modifiers, or up; whether the guest got it.
    fn key(&self, key: Key, down: Option<gdk::ModifierType>) -> bool {
        let imp = self.imp();
        let Some(client) = imp.client.borrow().clone().filter(|_| imp.captured.get()) else { return false };
        let all = |keys: Vec<Key>, down| keys.into_iter().for_each(|key| client.key(key, down));
        let reaction = match down {
            Some(modifiers) => {
                let (up, down) = imp.keyboard.borrow_mut().stick(key, modifiers);
                all(up, false);
                all(down, true);
                imp.keyboard.borrow_mut().press(key, preferences::get().release_keys.keys())
            }
            None => imp.keyboard.borrow_mut().release(key),
        };
        match reaction {
            Reaction::Pass(key, down) => client.key(key, down),
            Reaction::PassAndRelease(key) => {
                client.key(key, false);
                self.let_go();
            }
            Reaction::Ignore => {}
        }
        if down.is_none() {
            let up = imp.keyboard.borrow_mut().unstick();
            all(up, false);
        }
        true
    }

    fn take_pointer(&self) {
        let motion = gtk::EventControllerMotion::new();
        let console = self.downgrade();
        let moved = move |_: &gtk::EventControllerMotion, x, y| {
            if let Some(console) = console.upgrade() {
                console.with_pointer(|pointer, client, placement| pointer.moved(client, placement, x, y));
            }
        };
        // Where it comes in it may stay.
        motion.connect_enter(moved.clone());
        motion.connect_motion(moved);
        let console = self.downgrade();
        motion.connect_leave(move |_| {
            if let Some(console) = console.upgrade() {
                console.with_pointer(|pointer, client, placement| pointer.leave(client, placement));
                console.imp().pointer.borrow_mut().forget_place();
            }
        });
        self.add_controller(motion);

        let click = gtk::GestureClick::builder().button(0).build();
        let console = self.downgrade();
        click.connect_pressed(move |gesture, _, x, y| {
            if let Some(console) = console.upgrade() {
                console.grab_focus();
                console.capture();
                let button = gesture.current_button();
                console.with_pointer(|pointer, client, placement| {
                    pointer.moved(client, placement, x, y);
                    pointer.button(client, button, true);
                });
            }
        });
        let console = self.downgrade();
        click.connect_released(move |gesture, _, _, _| {
            if let Some(console) = console.upgrade() {
                let button = gesture.current_button();
                console.with_pointer(|pointer, client, _| pointer.button(client, button, false));
            }
        });
        self.add_controller(click);

        let scroll = gtk::EventControllerScroll::new(gtk::EventControllerScrollFlags::BOTH_AXES);
        let console = self.downgrade();
        scroll.connect_scroll(move |_, to_the_right, down| {
            let console = console.upgrade().filter(Self::is_captured);
            if let Some(console) = &console {
                console.with_pointer(|pointer, client, _| pointer.scrolled(client, [to_the_right, down]));
            }
            if console.is_some() { glib::Propagation::Stop } else { glib::Propagation::Proceed }
        });
        self.add_controller(scroll);
    }

    fn with_pointer(&self, act: impl FnOnce(&mut pointer::Pointer, &Client, &geometry::Placement)) {
        let imp = self.imp();
        let placement = geometry::Placement::new(imp.scaling.get(), imp.size.get(), (self.width(), self.height()));
        let placement = placement.filter(|_| !imp.view_only.get());
        if let (Some(client), Some(placement)) = (&*imp.client.borrow(), placement) {
            act(&mut imp.pointer.borrow_mut(), client, &placement);
        }
    }

    fn follow_focus(&self) {
        let focus = gtk::EventControllerFocus::new();
        let console = self.downgrade();
        focus.connect_enter(move |_| {
            if let Some(console) = console.upgrade() {
                console.capture();
            }
        });
        let console = self.downgrade();
        focus.connect_leave(move |_| {
            if let Some(console) = console.upgrade() {
                console.let_go();
            }
        });
        self.add_controller(focus);
    }
}

fn key_event(keys: &gtk::EventControllerKey) -> Option<gdk::KeyEvent> {
    keys.current_event()?.downcast().ok()
}

mod imp {
    use std::cell::{Cell, RefCell};

    use super::{
        Client, Clipboard, Link, Rect, Scaling, gdk, geometry::Placement, glib, keyboard::Keyboard, paint::Picture,
        pointer::Pointer, wish::Wish,
    };
    use gtk::{prelude::*, subclass::prelude::*};

    type Changed = Box<dyn Fn(&super::Console)>;

    #[derive(Default)]
    pub struct Console {
        pub link: RefCell<Option<Link>>,
        pub client: RefCell<Option<Client>>,
        pub picture: RefCell<Option<Picture>>,
        /// What of it is older than the guest's.
        pub damage: RefCell<Vec<Rect>>,
        pub cursor: RefCell<Option<gdk::Cursor>>,
        pub size: Cell<(u32, u32)>,
        pub scaling: Cell<Scaling>,
        pub view_only: Cell<bool>,
        pub keyboard: RefCell<Keyboard>,
        pub layout: Cell<u32>,
        pub pointer: RefCell<Pointer>,
        pub captured: Cell<bool>,
        /// The display's next frame takes over what has changed.
        pub waiting: Cell<bool>,
        pub wish: RefCell<Wish>,
        pub clipboard: RefCell<Option<Clipboard>>,
        pub changed: RefCell<Option<Changed>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Console {
        const NAME: &'static str = "LodgeConsole";
        type Type = super::Console;
        type ParentType = gtk::Widget;

        fn class_init(class: &mut Self::Class) {
            class.set_css_name("console");
            class.set_accessible_role(gtk::AccessibleRole::Img);
        }
    }

    impl ObjectImpl for Console {}

    impl WidgetImpl for Console {
        fn measure(&self, orientation: gtk::Orientation, _for_size: i32) -> (i32, i32, i32, i32) {
            let (width, height) = self.size.get();
            let size = if orientation == gtk::Orientation::Horizontal { width } else { height };
            let natural = i32::try_from(size).unwrap_or(i32::MAX);
            let minimum = if self.scaling.get() == Scaling::Original { natural } else { 0 };
            (minimum, natural, -1, -1)
        }

        fn snapshot(&self, snapshot: &gtk::Snapshot) {
            let widget = self.obj();
            let placement = Placement::new(self.scaling.get(), self.size.get(), (widget.width(), widget.height()));
            if let (Some(picture), Some(placement)) = (&*self.picture.borrow(), placement) {
                picture.draw(snapshot, &placement, widget.scale_factor());
            }
        }

        fn size_allocate(&self, width: i32, height: i32, baseline: i32) {
            self.parent_size_allocate(width, height, baseline);
            self.obj().wish_for_size();
        }

        fn map(&self) {
            self.parent_map();
            if let Some(client) = &*self.client.borrow() {
                client.request_update();
            }
        }

        fn unmap(&self) {
            self.obj().let_go();
            if let Some(client) = &*self.client.borrow() {
                client.pause();
            }
            self.parent_unmap();
        }
    }
}
