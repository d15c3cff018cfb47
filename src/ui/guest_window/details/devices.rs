//! The pages about the screen, the serial ports and the smaller devices.

use adw::prelude::*;
use lodge::manager::{
    definition::{Definition, DisplayModel},
    size::{MIB, Size},
};

use super::{
    Context,
    form::{Form, Page, set_fact, switch_row},
    listening,
};
use crate::ui::{backend::GuestId, i18n::gettext, widgets::field, wording};

/// The sizes that video memory can have.
const VIDEO_MEMORY: [u64; 6] = [8, 16, 32, 64, 128, 256];
/// The address that a guest's vsock has, unless a person says another one.
const CID: u32 = 3;

/// The page about the screen.
pub fn display(context: &Context<'_>, definition: &Definition) -> Page {
    let mut form = Form::new(context.on_edit);
    form.applies(&gettext(
        "Viewers on the network change at once, and so does the clipboard if the guest was started with one; everything else at its next start.",
    ));
    form.group(&gettext("Display"));
    form.choice(
        "display.model",
        [&gettext("Graphics Card"), &gettext("With virtio-gpu the guest’s screen follows the window’s size")],
        &[(DisplayModel::Vga, "VGA".to_owned()), (DisplayModel::Virtio, "virtio-gpu".to_owned())],
        &definition.display.model,
        |definition, model| definition.display.model = model,
    );
    form.choice(
        "display.video_memory",
        [&gettext("Video Memory"), &gettext("16 MiB hold 2560×1600 pixels")],
        &VIDEO_MEMORY.map(|mib| (Size::mib(mib), wording::bytes(mib * MIB))),
        &definition.display.video_memory,
        |definition, size| definition.display.video_memory = size,
    );
    form.switch(
        "devices.tablet",
        [&gettext("Tablet"), &gettext("Its pointer follows the window’s; systems without a driver get a mouse")],
        definition.devices.tablet,
        |definition, on| definition.devices.tablet = on,
    );
    form.switch(
        "devices.clipboard",
        [
            &gettext("Shared Clipboard"),
            &gettext("Copied text can be pasted in the other, with spice-vdagent in the guest"),
        ],
        definition.devices.clipboard,
        |definition, on| definition.devices.clipboard = on,
    );
    listening::add(&mut form, definition);
    form.finish()
}

/// The page about the serial ports.
pub fn ports(context: &Context<'_>, definition: &Definition) -> Page {
    let mut form = Form::new(context.on_edit);
    form.applies(&gettext("Changes apply at the guest’s next start."));
    form.group(&gettext("Serial Ports"));
    form.fact(&gettext("Serial Port"), &gettext("COM1, which is ttyS0 in Linux: every guest has it"));
    let socket = form.fact(&gettext("Socket"), "");
    let (backend, id) = (context.backend.clone(), context.guest.id.clone());
    form.watch(move |shown| {
        socket.set_visible(shown.guest.state.is_active());
        if let GuestId::Known(uuid) = &id {
            set_fact(&socket, &backend.sockets(*uuid).serial().display().to_string());
        }
    });
    form.switch(
        "devices.console",
        [&gettext("Terminal hvc0"), &gettext("Much faster than the serial port, for Linux")],
        definition.devices.console,
        |definition, on| definition.devices.console = on,
    );
    form.switch(
        "devices.agent",
        [&gettext("Guest Agent"), &gettext("A port for qemu-guest-agent in the guest: org.qemu.guest_agent.0")],
        definition.devices.agent,
        |definition, on| definition.devices.agent = on,
    );
    form.finish()
}

/// The page about the smaller devices.
pub fn others(context: &Context<'_>, definition: &Definition) -> Page {
    let mut form = Form::new(context.on_edit);
    form.applies(&gettext("Changes apply at the guest’s next start."));
    let group = form.group(&gettext("Other Devices"));
    form.switch(
        "devices.rng",
        [&gettext("Random Numbers"), &gettext("The guest gets good random numbers from the host")],
        definition.devices.rng,
        |definition, on| definition.devices.rng = on,
    );
    let words = gettext("Programs of the host and of the guest talk without a network");
    let (row, switch) = switch_row("vsock", &words, definition.devices.vsock.is_some());
    group.add(&row);
    let cid = definition.devices.vsock.unwrap_or(CID);
    let adjustment = gtk::Adjustment::new(cid.into(), 0.0, u32::MAX.into(), 1.0, 10.0, 0.0);
    let (cid_row, cid) = field::number_row(&gettext("Address (CID)"), None, &adjustment, 0);
    group.add(&cid_row);
    form.note("devices.vsock", &cid);
    let send = form.sender(|definition: &mut Definition, cid| definition.devices.vsock = cid);
    let (sent, number) = (send.clone(), cid.clone());
    switch.connect_active_notify(move |switch| sent(switch.is_active().then(|| number.value() as u32)));
    cid.connect_value_changed(move |cid| send(switch.is_active().then(|| cid.value() as u32)));
    form.watch(move |shown| cid_row.set_visible(shown.definition.devices.vsock.is_some()));
    form.finish()
}
