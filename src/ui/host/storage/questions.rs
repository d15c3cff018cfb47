//! What is asked before something is done with a pool or a volume.

use std::path::{Path, PathBuf};

use adw::prelude::*;
use gtk::{accessible::Property, glib};
use lodge::manager::{
    definition::DiskFormat,
    pool::{NewVolume, PoolInfo, Target, Volume, volumes::Import},
    size::GIB,
    storage::{create::Preallocation, qcow2::check::Report},
};

use super::pool::is_volume_group;
use crate::ui::{
    backend::volume_name,
    choosers, dialogs,
    i18n::{gettext, gettext_f},
    widgets::form::{Form, bytes_in},
    wording,
};

/// The size that is suggested for a new disk, in bytes.
const SUGGESTED: u64 = 20 * GIB;
/// The formats of disks, in the order in which they are offered.
const FORMATS: [DiskFormat; 2] = [DiskFormat::Qcow2, DiskFormat::Raw];

/// How an image comes into a pool.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// It is copied into this one.
    Copied(String, Import),
    /// The folder in which it lies becomes a pool of this name.
    InPlace(String, PathBuf),
}

/// Asks what a new pool is to be. `groups` are the volume groups of the host, `taken` the names of pools.
pub async fn ask_pool(parent: &gtk::Window, groups: Vec<String>, taken: Vec<String>) -> Option<(String, Target)> {
    let message = gettext("A pool is a folder of disk images. What is in it can be used at once.");
    let dialog = dialogs::question(
        parent,
        &gettext("Add a Pool"),
        &message,
        &gettext("_Add"),
        adw::ResponseAppearance::Suggested,
    );
    let form = Form::new(&dialog, &gettext("Pool"));
    let name = form.entry(&gettext("Name"), "");
    let kinds = (!groups.is_empty()).then(|| {
        let of_groups = groups.iter().map(|group| gettext_f("LVM volume group {name}", &[("name", group)]));
        form.choice(&gettext("Kind"), &std::iter::once(gettext("Folder")).chain(of_groups).collect::<Vec<_>>())
    });
    let folder = form.entry(&gettext("Folder"), "");
    folder.add_suffix(&browse(&dialog, &folder));
    let group = move || {
        let chosen = kinds.as_ref()?.selected() as usize;
        groups.get(chosen.checked_sub(1)?).cloned()
    };
    let (judged, place, chosen) = (name.clone(), folder.clone(), group.clone());
    form.judge(move || {
        place.set_visible(chosen().is_none());
        let about_name = complaint_about_pool(&judged.text(), &taken).map(|text| (judged.clone().upcast(), text));
        let folder = place.text();
        let about_folder = (chosen().is_none() && !Path::new(folder.as_str()).is_absolute()).then(|| {
            let text = if folder.is_empty() { String::new() } else { gettext("Write the whole path, from / on.") };
            (place.clone().upcast(), text)
        });
        about_name.or(about_folder)
    });
    if !form.run().await {
        return None;
    }
    let target = match group() {
        Some(group) => Target::VolumeGroup(group),
        None => Target::Path(folder.text().as_str().into()),
    };
    Some((name.text().into(), target))
}

/// A button that lets a folder be chosen for `entry`.
fn browse(parent: &adw::MessageDialog, entry: &adw::EntryRow) -> gtk::Button {
    let label = gettext("Choose a Folder…");
    let button = gtk::Button::builder()
        .icon_name("folder-open-symbolic")
        .tooltip_text(&label)
        .valign(gtk::Align::Center)
        .css_classes(["flat"])
        .build();
    button.update_property(&[Property::Label(&label)]);
    let (parent, entry) = (parent.downgrade(), entry.downgrade());
    button.connect_clicked(move |_| {
        let (Some(parent), Some(entry)) = (parent.upgrade(), entry.upgrade()) else { return };
        glib::spawn_future_local(async move {
            let chosen = choosers::choose_folder(&parent, &gettext("Choose a Folder"), &gettext("_Choose")).await;
            if let Some(folder) = chosen {
                entry.set_text(&folder.display().to_string());
            }
        });
    });
    button
}

/// What is wrong with a pool's name, if anything. Without words it is only missing.
fn complaint_about_pool(name: &str, taken: &[String]) -> Option<String> {
    let odd = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    match name {
        "" => Some(String::new()),
        _ if name.starts_with(['-', '.']) => Some(gettext("A name cannot begin with a dot or a dash.")),
        _ if name.chars().any(odd) => Some(gettext("A name cannot contain slashes or spaces.")),
        _ if taken.iter().any(|other| other == name) => Some(gettext("Another pool has this name.")),
        _ => None,
    }
}

/// What is wrong with a volume's name, if anything. Without words it is only missing.
fn complaint_about_volume(name: &str) -> Option<String> {
    match name {
        "" => Some(String::new()),
        _ if name.starts_with(['-', '.']) => Some(gettext("A name cannot begin with a dot or a dash.")),
        _ if name.contains('/') => Some(gettext("A name cannot contain a slash.")),
        _ => None,
    }
}

/// Asks what a new volume is to be.
pub async fn ask_volume(parent: &gtk::Window, pool: &PoolInfo) -> Option<NewVolume> {
    let heading = gettext_f("New Disk in “{name}”", &[("name", &pool.pool.name)]);
    let free = wording::bytes(pool.free.unwrap_or(0));
    let message = gettext_f("{free} are free.", &[("free", &free)]);
    let dialog = dialogs::question(parent, &heading, &message, &gettext("_Create"), adw::ResponseAppearance::Suggested);
    let form = Form::new(&dialog, &gettext("Disk"));
    let name = form.entry(&gettext("Name"), "");
    let size = form.size(&gettext("Size"), SUGGESTED.min(pool.free.unwrap_or(SUGGESTED)));
    let format = (!is_volume_group(pool)).then(|| form.choice(&gettext("Format"), &FORMATS.map(format_name)));
    let (judged, judged_size, most) = (name.clone(), size.clone(), pool.free.filter(|_| is_volume_group(pool)));
    form.judge(move || {
        let about_name = complaint_about_volume(&judged.text()).map(|text| (judged.clone().upcast(), text));
        let bytes = bytes_in(&judged_size);
        let about_size = match most {
            _ if bytes == 0 => Some(gettext("A disk of no size holds nothing.")),
            Some(most) if bytes > most => Some(gettext("There is not so much room in the volume group.")),
            _ => None,
        };
        about_name.or_else(|| Some((judged_size.clone().upcast(), about_size?)))
    });
    if !form.run().await {
        return None;
    }
    let format = format.and_then(|row| FORMATS.get(row.selected() as usize).copied());
    Some(NewVolume { name: name.text().into(), size: bytes_in(&size), format, preallocation: Preallocation::Off })
}

fn format_name(format: DiskFormat) -> String {
    format.name().to_owned()
}

/// Asks how the image at `source` comes into a pool; `format` is its own, where that is known already. An image that is not
/// in a pool can also be used where it is.
pub async fn ask_import(
    parent: &gtk::Window,
    pools: Vec<PoolInfo>,
    into: &str,
    source: &Path,
    volume: Option<&Volume>,
) -> Option<Arrival> {
    let file = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (heading, accept) = match volume {
        Some(_) => (gettext_f("Copy “{name}”", &[("name", &file)]), gettext("_Copy")),
        None => (gettext_f("Import “{name}”", &[("name", &file)]), gettext("_Import")),
    };
    let dialog = dialogs::question(parent, &heading, "", &accept, adw::ResponseAppearance::Suggested);
    let form = Form::new(&dialog, &gettext("Disk"));
    let names: Vec<String> = pools.iter().map(|pool| pool.pool.name.clone()).collect();
    let in_place = volume.is_none().then(|| {
        let way = [gettext("Copy it into a pool"), gettext("Use it where it is")];
        form.choice(&gettext("How"), &way)
    });
    let name = form.entry(&gettext("Name"), &volume_name(source));
    let pool = form.choice(&gettext("Pool"), &names);
    pool.set_selected(names.iter().position(|name| name == into).unwrap_or(0) as u32);
    let own = std::iter::once(gettext("As it is"));
    let format = form.choice(&gettext("Format"), &own.chain(FORMATS.map(format_name)).collect::<Vec<_>>());
    let folder = source.parent().unwrap_or(Path::new("/")).to_owned();
    let stays = move || in_place.as_ref().is_some_and(|row| row.selected() == 1);
    let (judged, asked) = (name.clone(), stays.clone());
    let fields = [pool.clone(), format.clone()];
    let place = folder.display().to_string();
    form.judge(move || {
        fields.iter().for_each(|field| field.set_visible(!asked()));
        let title =
            if asked() { gettext_f("Name of the pool for {folder}", &[("folder", &place)]) } else { gettext("Name") };
        if judged.title() != title {
            judged.set_title(&title);
        }
        let text = judged.text();
        let complaint = if asked() { complaint_about_pool(&text, &names) } else { complaint_about_volume(&text) };
        complaint.map(|text| (judged.clone().upcast(), text))
    });
    if !form.run().await {
        return None;
    }
    let name = name.text().to_string();
    if stays() {
        return Some(Arrival::InPlace(name, folder));
    }
    let pool = pools.get(pool.selected() as usize)?.pool.name.clone();
    let format = (format.selected() as usize).checked_sub(1).and_then(|index| FORMATS.get(index).copied());
    let source_format = volume.and_then(|volume| volume.format);
    Some(Arrival::Copied(pool, Import { source: source.to_owned(), source_format, name: Some(name), format }))
}

/// What a check has found, in words.
pub fn words_about_check(report: &Report) -> String {
    let lost = wording::bytes(report.leaks.saturating_mul(report.cluster_size));
    if report.is_clean() {
        gettext("Nothing is wrong.")
    } else if report.damage > 0 {
        gettext(
            "It is damaged in a way that cannot be mended. Restore it from a backup, or copy it to save what it holds.",
        )
    } else if report.corruptions > 0 || report.marked_corrupt || report.dirty {
        gettext("It was not closed properly, or its tables are wrong. Mending them loses no data.")
    } else {
        gettext_f("Nothing is damaged. {size} are lost room, which can be given back.", &[("size", &lost)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_are_refused_as_the_manager_refuses_them() {
        let taken = ["fast".to_owned()];

        assert_eq!(complaint_about_pool("", &taken).as_deref(), Some(""));
        for name in ["-x", ".x", "a/b", "two words", "fast"] {
            assert!(complaint_about_pool(name, &taken).is_some_and(|text| !text.is_empty()), "{name}");
        }
        assert_eq!(complaint_about_pool("slow", &taken), None);
    }

    #[test]
    fn a_check_says_whether_something_can_be_mended() {
        let clean = Report {
            corruptions: 0,
            leaks: 0,
            damage: 0,
            dirty: false,
            marked_corrupt: false,
            cluster_size: 65536,
            total_clusters: 10,
            allocated_clusters: 5,
            compressed_clusters: 0,
            findings: Vec::new(),
        };

        assert_eq!(words_about_check(&clean), "Nothing is wrong.");
        assert!(words_about_check(&Report { leaks: 16, ..clean.clone() }).contains("1\u{a0}MiB"));
        assert!(words_about_check(&Report { corruptions: 1, ..clean.clone() }).contains("loses no data"));
        assert!(words_about_check(&Report { damage: 1, corruptions: 1, ..clean }).contains("cannot be mended"));
    }
}
