//! The page about the virtual CPUs: how many, how they are arranged, what they can do and where they run.

use adw::prelude::*;
use lodge::manager::definition::{Definition, Topology};

use super::form::{Form, OnEdit, Page};
use crate::ui::{
    i18n::{gettext, ngettext_f},
    widgets::{field, names::name_expander},
};

/// The page for this definition.
pub fn page(definition: &Definition, on_edit: &OnEdit) -> Page {
    let mut form = Form::new(on_edit);
    form.applies(&gettext("Changes apply at the guest’s next start."));
    let group = form.group(&gettext("Processors"));
    form.watch(move |shown| {
        let text = ngettext_f("The host has {n} CPU.", "The host has {n} CPUs.", shown.around.limits.cpus, &[]);
        group.set_description(Some(&text));
    });
    form.number("vcpus", &gettext("vCPUs"), None, (definition.vcpus.into(), 1.0, 0), |definition, count| {
        definition.vcpus = count as u32;
    });
    arrangement(&mut form, definition);

    form.group(&gettext("Features"));
    form.switch(
        "cpu.nested",
        [
            &gettext("Virtual Machines Inside the Guest"),
            &gettext("The guest gets the CPU’s extensions for virtual machines"),
        ],
        definition.cpu.nested,
        |definition, on| definition.cpu.nested = on,
    );
    form.entry(
        "cpu.disabled_features",
        &gettext("Features that it does not get (like avx2)"),
        &definition.cpu.disabled_features.join(" "),
        |definition, text| definition.cpu.disabled_features = words(&text),
    );
    form.entry(
        "cpu.pinning",
        &gettext("Host CPUs of each vCPU (like 0; 2-3)"),
        &definition.cpu.pinning.join("; "),
        |definition, text| definition.cpu.pinning = lists(&text),
    );
    form.finish()
}

fn arrangement(form: &mut Form, definition: &Definition) {
    let title = gettext("Arrangement of the vCPUs");
    let expander = adw::ExpanderRow::builder()
        .title(&title)
        .subtitle(gettext("Without one, all are cores of one socket"))
        .show_enable_switch(true)
        .enable_expansion(definition.cpu.topology.is_some())
        .expanded(definition.cpu.topology.is_some())
        .build();
    let Topology { sockets, cores, threads } =
        definition.cpu.topology.unwrap_or_else(|| Topology::cores(definition.vcpus));
    let rows =
        [(gettext("Sockets"), sockets), (gettext("Cores of a Socket"), cores), (gettext("Threads of a Core"), threads)];
    let levels = rows.map(|(title, count)| {
        let adjustment = gtk::Adjustment::new(count.into(), 0.0, 1e6, 1.0, 4.0, 0.0);
        let (row, spin) = field::number_row(&title, None, &adjustment, 0);
        expander.add_row(&row);
        spin
    });
    form.add(&expander);
    name_expander(&expander, &title);
    form.note("cpu.topology", &expander);
    let send = form.sender(|definition: &mut Definition, topology| definition.cpu.topology = topology);
    let weak = levels.clone().map(|spin| spin.downgrade());
    let read = std::rc::Rc::new(move |expander: &adw::ExpanderRow| {
        let [sockets, cores, threads] =
            weak.each_ref().map(|spin| spin.upgrade().map_or(1, |spin| spin.value() as u32));
        send(expander.enables_expansion().then_some(Topology { sockets, cores, threads }));
    });
    for spin in &levels {
        let (read, expander) = (read.clone(), expander.downgrade());
        spin.connect_value_changed(move |_| {
            if let Some(expander) = expander.upgrade() {
                read(&expander);
            }
        });
    }
    expander.connect_enable_expansion_notify(move |expander| read(expander));
}

/// Words with spaces or commas between them.
fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Lists with semicolons between them; an empty one is any CPU.
fn lists(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(';').map(|list| list.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_and_lists_of_cpus_are_read_as_people_write_them() {
        assert_eq!(words(" avx2, sse4_2  x2apic,"), ["avx2", "sse4_2", "x2apic"]);
        assert_eq!(lists("0; 2-3;"), ["0", "2-3", ""]);
        assert_eq!(lists("  "), Vec::<String>::new());
    }
}
