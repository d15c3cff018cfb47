//! A pool on the storage page: its room, and a row for each of its volumes.

use adw::prelude::*;
use gtk::{accessible::Property, gdk, glib};
use lodge::manager::{
    pool::{DEFAULT, PoolInfo, Target, Volume},
    storage::{ImageFormat, User, users::Use},
};

use crate::ui::{
    actions,
    backend::PoolView,
    i18n::{gettext, gettext_f},
    widgets::{
        menu::{RowRequest, action_button, menu_button},
        names::name_list,
    },
    wording,
};

/// What a person can ask for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolRequest {
    /// Make a volume in it.
    NewVolume,
    /// Bring an image into it.
    Import,
    /// Forget it.
    Remove,
}

/// What a person can ask for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeRequest {
    /// Make it larger.
    Grow,
    /// Make another one with the same content.
    Copy,
    /// Look whether it is in order.
    Check,
    /// Delete it.
    Delete,
}

impl RowRequest for PoolRequest {
    fn name(self) -> &'static str {
        match self {
            Self::NewVolume => "new-volume",
            Self::Import => "import",
            Self::Remove => "remove",
        }
    }

    fn label(self) -> String {
        match self {
            Self::NewVolume => gettext("_New Disk…"),
            Self::Import => gettext("_Import Image…"),
            Self::Remove => gettext("_Remove Pool…"),
        }
    }
}

impl RowRequest for VolumeRequest {
    fn name(self) -> &'static str {
        match self {
            Self::Grow => "grow",
            Self::Copy => "copy",
            Self::Check => "check",
            Self::Delete => "delete",
        }
    }

    fn label(self) -> String {
        match self {
            Self::Grow => gettext("_Grow…"),
            Self::Copy => gettext("_Copy or Convert…"),
            Self::Check => gettext("Chec_k"),
            Self::Delete => gettext("_Delete…"),
        }
    }
}

/// What a person has asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// This, of a pool.
    Pool(PoolRequest, PoolInfo),
    /// This, of a volume.
    Volume(VolumeRequest, Volume),
}

/// A pool on the page.
pub struct PoolGroup {
    /// Its widget.
    pub widget: adw::PreferencesGroup,
    room: adw::ActionRow,
    bar: gtk::ProgressBar,
}

impl PoolGroup {
    /// The group of a pool. `asked` is told what a person wants of it and of its volumes.
    pub fn new(view: &PoolView, asked: impl Fn(Asked) + Clone + 'static) -> Self {
        let info = &view.info;
        let widget = adw::PreferencesGroup::builder()
            .title(glib::markup_escape_text(&info.pool.name))
            .description(glib::markup_escape_text(&info.pool.target.place()))
            .header_suffix(&buttons(info, &asked))
            .build();
        let room = adw::ActionRow::builder().use_markup(false).focusable(true).build();
        let bar = gtk::ProgressBar::builder().valign(gtk::Align::Center).width_request(180).build();
        bar.update_property(&[Property::Label(&gettext_f("Room used in {name}", &[("name", &info.pool.name)]))]);
        room.add_suffix(&bar);
        widget.add(&room);
        name_list(&room, &gettext_f("Disks in {name}", &[("name", &info.pool.name)]));
        for volume in &view.volumes {
            widget.add(&row(volume, &asked));
        }
        let group = Self { widget, room, bar };
        group.show_room(info);
        if info.problem.is_some() {
            group.room.add_prefix(&icon("dialog-warning-symbolic"));
        }
        group
    }

    /// Shows how much room the pool has, or why it cannot be used.
    pub fn show_room(&self, info: &PoolInfo) {
        let figures = (info.capacity, info.allocation, info.free);
        let (title, subtitle) = match figures {
            (Some(capacity), Some(allocation), Some(free)) => {
                self.bar.set_fraction(if capacity == 0 { 0.0 } else { allocation as f64 / capacity as f64 });
                let [total, used, free] = [capacity, allocation, free].map(wording::bytes);
                let used = gettext_f("{used} of {total} used", &[("used", &used), ("total", &total)]);
                (gettext_f("{free} free", &[("free", &free)]), used)
            }
            _ => (gettext("This pool cannot be used"), info.problem.clone().unwrap_or_default()),
        };
        self.bar.set_visible(info.problem.is_none());
        self.room.set_title(&title);
        self.room.set_subtitle(&subtitle);
        self.room.set_subtitle_lines(0);
        self.room.update_property(&[Property::Label(&format!("{title}, {subtitle}"))]);
    }
}

/// What can be done with the pool.
fn buttons(info: &PoolInfo, asked: &(impl Fn(Asked) + Clone + 'static)) -> gtk::Box {
    let buttons = gtk::Box::builder().spacing(6).valign(gtk::Align::Center).build();
    let (asked, of) = (asked.clone(), info.clone());
    let name = &info.pool.name;
    let requests = requests_for_pool(info);
    let menu = menu_button(&buttons, name, &requests, &move |request| asked(Asked::Pool(request, of.clone())));
    if info.problem.is_none() {
        let label = gettext_f("New disk in {name}", &[("name", name)]);
        buttons.append(&action_button("list-add-symbolic", &gettext("New Disk…"), &label, "row.new-volume"));
    }
    menu.set_visible(!requests.is_empty());
    buttons.append(&menu);
    buttons
}

fn requests_for_pool(info: &PoolInfo) -> Vec<PoolRequest> {
    let of_usable = [PoolRequest::NewVolume, PoolRequest::Import].into_iter().filter(|_| info.problem.is_none());
    of_usable.chain((info.pool.name != DEFAULT).then_some(PoolRequest::Remove)).collect()
}

fn row(volume: &Volume, asked: &(impl Fn(Asked) + Clone + 'static)) -> adw::ActionRow {
    let subtitle = about(volume);
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(&volume.name)
        .subtitle(&subtitle)
        .title_lines(1)
        .subtitle_lines(if volume.problem.is_some() { 0 } else { 2 })
        .tooltip_text(volume.path.display().to_string())
        .focusable(true)
        .build();
    row.set_widget_name(&volume.path.display().to_string());
    row.add_prefix(&icon(if volume.problem.is_some() { "dialog-warning-symbolic" } else { "drive-harddisk-symbolic" }));
    row.update_property(&[Property::Label(&format!("{}, {subtitle}", volume.name))]);
    let of_volume = {
        let (asked, volume) = (asked.clone(), volume.clone());
        move |request| asked(Asked::Volume(request, volume.clone()))
    };
    row.add_suffix(&menu_button(&row, &volume.name, &requests_for(volume), &of_volume));
    actions::add_key(&row, gdk::Key::Delete, move || of_volume(VolumeRequest::Delete));
    row
}

fn requests_for(volume: &Volume) -> Vec<VolumeRequest> {
    let format = volume.format.filter(|_| volume.problem.is_none());
    let mut requests = Vec::new();
    // Only images that Lodge writes to are made larger, and only one kind has structures.
    if matches!(format, Some(ImageFormat::Raw | ImageFormat::Qcow2)) {
        requests.push(VolumeRequest::Grow);
    }
    if format.is_some() {
        requests.push(VolumeRequest::Copy);
    }
    if format == Some(ImageFormat::Qcow2) {
        requests.push(VolumeRequest::Check);
    }
    requests.push(VolumeRequest::Delete);
    requests
}

/// What is to be said of a volume in a line.
fn about(volume: &Volume) -> String {
    if let Some(problem) = &volume.problem {
        return problem.clone();
    }
    let format = volume.format.map(|format| format.to_string());
    let (capacity, stored) = (wording::bytes(volume.capacity), wording::bytes(volume.allocation));
    let size = gettext_f("{size}, {stored} stored", &[("size", &capacity), ("stored", &stored)]);
    let users = words_about_users(&volume.users);
    [format.unwrap_or_else(|| gettext("unknown format")), size, users].join(" · ")
}

/// Who needs a volume, and what for.
fn words_about_users(users: &[User]) -> String {
    if users.is_empty() {
        return gettext("not used");
    }
    let mut words: Vec<String> = Vec::new();
    for user in users {
        let name = [("name", user.guest.as_str())];
        let word = match user.purpose {
            Use::Disk(_) => gettext_f("disk of {name}", &name),
            Use::Backing => gettext_f("base of a disk of {name}", &name),
            Use::Snapshot => gettext_f("needed by a snapshot of {name}", &name),
            Use::Boot => gettext_f("booted by {name}", &name),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

fn icon(name: &str) -> gtk::Image {
    let icon = gtk::Image::from_icon_name(name);
    icon.set_accessible_role(gtk::AccessibleRole::Presentation);
    icon
}

/// The kind of pool that only root can change.
pub fn is_volume_group(info: &PoolInfo) -> bool {
    matches!(info.pool.target, Target::VolumeGroup(_))
}

#[cfg(test)]
mod tests {
    use lodge::manager::definition::DiskFormat;

    use super::*;

    fn volume() -> Volume {
        Volume {
            pool: "default".to_owned(),
            name: "web.qcow2".to_owned(),
            path: "/d/web.qcow2".into(),
            format: Some(ImageFormat::Qcow2),
            capacity: 20 << 30,
            allocation: 3 << 30,
            users: Vec::new(),
            problem: None,
        }
    }

    fn user(guest: &str, purpose: Use) -> User {
        User { guest: guest.to_owned(), purpose, running: false }
    }

    #[test]
    fn a_volume_says_what_it_is_and_who_needs_it() {
        let users = vec![
            user("web", Use::Disk(DiskFormat::Qcow2)),
            user("web", Use::Snapshot),
            user("web", Use::Snapshot),
            user("mail", Use::Backing),
        ];

        assert_eq!(about(&volume()), "qcow2 · 20\u{a0}GiB, 3\u{a0}GiB stored · not used");
        assert_eq!(
            about(&Volume { users, ..volume() }),
            "qcow2 · 20\u{a0}GiB, 3\u{a0}GiB stored · disk of web, needed by a snapshot of web, base of a disk of mail"
        );
    }

    #[test]
    fn what_cannot_be_examined_can_only_be_deleted() {
        let broken = Volume { problem: Some("it is cut off".to_owned()), ..volume() };

        assert_eq!(about(&broken), "it is cut off");
        assert_eq!(requests_for(&broken), [VolumeRequest::Delete]);
        assert_eq!(requests_for(&volume()).len(), 4);
    }

    #[test]
    fn the_default_pool_is_never_removed() {
        let info = |name: &str, problem: Option<&str>| PoolInfo {
            pool: lodge::manager::pool::PoolEntry { name: name.to_owned(), target: Target::Path("/p".into()) },
            kind: "folder",
            capacity: None,
            allocation: None,
            free: None,
            volumes: None,
            problem: problem.map(str::to_owned),
        };

        assert!(!requests_for_pool(&info(DEFAULT, None)).contains(&PoolRequest::Remove));
        assert_eq!(requests_for_pool(&info("fast", Some("gone"))), [PoolRequest::Remove]);
    }
}
