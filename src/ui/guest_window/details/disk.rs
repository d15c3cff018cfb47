//! The page about a disk: its image, how it is attached and cached, what happens when the host fails, and its limits.

use std::{cell::RefCell, path::PathBuf, rc::Rc};

use adw::prelude::*;
use lodge::manager::{
    definition::{CacheMode, Definition, DiskBus, DiskDefinition, DiskFormat, ReadErrors, WriteErrors},
    size::Size,
};

use super::{
    Context,
    form::{Form, Page, row_button, set_fact},
    hardware, item,
};
use crate::ui::{
    backend::{Backend, ImageFacts},
    i18n::{gettext, gettext_f},
    operations::on_tokio,
    widgets::set_tooltip,
    wording,
};

/// The page of the disk `id`.
pub fn page(context: &Context<'_>, definition: &Definition, id: &str) -> Page {
    let mut form = Form::new(context.on_edit);
    let Some(index) = item::place(definition, id) else { return form.finish() };
    let disk = &definition.disks[index];
    let own = disk.id.clone();
    let words = gettext("Limits apply at once, everything else at the guest’s next start.");
    form.applies_to(&words, move |guest| guest.has_disk(&own));
    image(&mut form, context, disk, index);
    attachment(&mut form, disk, index);
    failures(&mut form, disk, index);
    limits(&mut form, disk, index);
    form.removal(&gettext("_Remove Disk…"));
    form.finish()
}

/// An edit of the disk or drive `id`.
fn of_disk<T, E: Fn(&mut DiskDefinition, T)>(id: &str, edit: E) -> impl Fn(&mut Definition, T) + use<T, E> {
    let id = id.to_owned();
    move |definition, value| {
        if let Some(disk) = definition.disks.iter_mut().find(|disk| disk.id == id) {
            edit(disk, value);
        }
    }
}

fn image(form: &mut Form, context: &Context<'_>, disk: &DiskDefinition, index: usize) {
    form.group(&gettext("Image"));
    let row = form.fact(&gettext("File"), &disk.path.display().to_string());
    let another = row_button(&gettext("Choose _Another…"));
    row.add_suffix(&another);
    form.note(&format!("disk[{index}].path"), &row);
    let size = form.fact(&gettext("Size"), "");
    let bases = disk.backing.iter().map(|below| form.fact(&gettext("Based On"), &below.path.display().to_string()));
    let bases: Vec<_> = bases.collect();
    let grow = row_button(&gettext("_Grow…"));
    size.add_suffix(&grow);
    look(context.backend.clone(), size.clone(), disk.path.clone(), disk.format);
    let (backend, place, id) = (context.backend.clone(), context.place.clone(), disk.id.clone());
    let choose = form.sender(of_disk(&id, take_image));
    another.connect_clicked(move |_| {
        let (backend, place, id, choose) = (backend.clone(), place.clone(), id.clone(), choose.clone());
        relm4::spawn_local(async move {
            if let Some(image) = hardware::ask_image(&backend, &place, &id).await {
                choose(image);
            }
        });
    });

    let now = Rc::new(RefCell::new(disk.clone()));
    let (backend, place, button, size_row, grown) =
        (context.backend.clone(), context.place.clone(), grow.clone(), size.clone(), now.clone());
    grow.connect_clicked(move |_| {
        let (again, row, disk) = (backend.clone(), size_row.clone(), grown.borrow().clone());
        let (path, format) = (disk.path.clone(), disk.format);
        hardware::grow(&backend, &place, &disk, move || look(again.clone(), row.clone(), path.clone(), format));
    });
    form.watch(move |shown| {
        let Some(disk) = shown.definition.disks.iter().find(|disk| disk.id == now.borrow().id) else { return };
        let can_grow = disk.bus == DiskBus::Virtio || !shown.guest.state.is_active();
        button.set_sensitive(can_grow);
        let hint = gettext("A disk that is not on virtio can be grown while the guest is off.");
        set_tooltip(&button, (!can_grow).then_some(hint.as_str()));
        let before = now.replace(disk.clone());
        if (before.path, before.format) != (disk.path.clone(), disk.format) {
            set_fact(&row, &disk.path.display().to_string());
            bases.iter().for_each(|base| base.set_visible(false));
            look(shown.backend.clone(), size.clone(), disk.path.clone(), disk.format);
        }
    });
}

/// Has the disk in another image, which is as its own definition says.
fn take_image(disk: &mut DiskDefinition, image: DiskDefinition) {
    (disk.path, disk.format, disk.backing) = (image.path, image.format, image.backing);
}

/// Shows what the image is, as soon as it was looked at.
fn look(backend: Backend, row: adw::ActionRow, path: PathBuf, format: DiskFormat) {
    relm4::spawn_local(async move {
        let text = match on_tokio(async move { backend.image(path, format).await }).await {
            Ok(ImageFacts { size, allocated }) => gettext_f(
                "{size}, {format}; {allocated} are taken",
                &[
                    ("size", &wording::bytes(size)),
                    ("format", format.name()),
                    ("allocated", &wording::bytes(allocated)),
                ],
            ),
            Err(error) => error.to_string(),
        };
        set_fact(&row, &text);
    });
}

fn attachment(form: &mut Form, disk: &DiskDefinition, index: usize) {
    let id = disk.id.as_str();
    let field = |name: &str| format!("disk[{index}].{name}");
    form.group(&gettext("Attachment"));
    form.choice(
        "disk",
        [&gettext("Bus"), &gettext("IDE is slower, for systems without a driver for virtio")],
        &[(DiskBus::Virtio, "virtio".to_owned()), (DiskBus::Ide, "IDE".to_owned())],
        &disk.bus,
        of_disk(id, |disk, bus| disk.bus = bus),
    );
    form.choice(
        &field("cache"),
        [&gettext("Cache"), &gettext("How the host’s memory is used, and when a write is safe")],
        &[
            (CacheMode::Writeback, gettext("Write back")),
            (CacheMode::None, gettext("None")),
            (CacheMode::Writethrough, gettext("Write through")),
            (CacheMode::Unsafe, gettext("Unsafe: all can be lost")),
        ],
        &disk.cache,
        of_disk(id, |disk, cache| disk.cache = cache),
    );
    form.entry(
        &field("serial"),
        &gettext("Serial number"),
        disk.serial.as_deref().unwrap_or_default(),
        of_disk(id, |disk, text: String| disk.serial = Some(text).filter(|text| !text.is_empty())),
    );
    form.switch(
        &field("read_only"),
        [&gettext("Read-Only"), &gettext("The guest is kept from writing")],
        disk.read_only,
        of_disk(id, |disk, on| disk.read_only = on),
    );
    form.switch(
        &field("shareable"),
        [&gettext("Shared"), &gettext("Other guests may write at the same time; few systems survive that")],
        disk.shareable,
        of_disk(id, |disk, on| disk.shareable = on),
    );
}

fn failures(form: &mut Form, disk: &DiskDefinition, index: usize) {
    let id = disk.id.as_str();
    form.group(&gettext("When the Host Fails"));
    let (pause, tell, ignore) = (gettext("Pause the guest"), gettext("Tell the guest"), gettext("Ignore it"));
    form.choice(
        &format!("disk[{index}].error_policy"),
        [&gettext("On Writing"), &gettext("A paused guest writes again when it is resumed")],
        &[
            (WriteErrors::Enospace, gettext("Pause when full")),
            (WriteErrors::Stop, pause.clone()),
            (WriteErrors::Report, tell.clone()),
            (WriteErrors::Ignore, ignore.clone()),
        ],
        &disk.error_policy,
        of_disk(id, |disk, policy| disk.error_policy = policy),
    );
    form.choice(
        &format!("disk[{index}].rerror_policy"),
        [&gettext("On Reading"), ""],
        &[(ReadErrors::Report, tell), (ReadErrors::Stop, pause), (ReadErrors::Ignore, ignore)],
        &disk.rerror_policy,
        of_disk(id, |disk, policy| disk.rerror_policy = policy),
    );
}

fn limits(form: &mut Form, disk: &DiskDefinition, index: usize) {
    let group = form.group(&gettext("Limits"));
    group.set_description(Some(&gettext("0 is no limit. What bursts may have is written in the definition’s text.")));
    let (id, limits) = (disk.id.as_str(), disk.limits);
    let mut bytes = |title: String, now: Option<Size>, set: fn(&mut DiskDefinition, Option<Size>)| {
        form.byte_limit(&title, now, of_disk(id, set));
    };
    bytes(gettext("Read and Written"), limits.total_bytes_sec, |disk, size| disk.limits.total_bytes_sec = size);
    bytes(gettext("Read"), limits.read_bytes_sec, |disk, size| disk.limits.read_bytes_sec = size);
    bytes(gettext("Written"), limits.write_bytes_sec, |disk, size| disk.limits.write_bytes_sec = size);
    let mut requests = |title: String, now: Option<u64>, set: fn(&mut DiskDefinition, Option<u64>)| {
        form.count_limit(&title, now, of_disk(id, set))
    };
    requests(gettext("Requests"), limits.total_iops_sec, |disk, number| disk.limits.total_iops_sec = number);
    requests(gettext("Reads"), limits.read_iops_sec, |disk, number| disk.limits.read_iops_sec = number);
    let last = requests(gettext("Writes"), limits.write_iops_sec, |disk, number| disk.limits.write_iops_sec = number);
    form.note(&format!("disk[{index}].limits"), &last);
}
