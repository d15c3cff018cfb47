//! The wizard's page about what the guest gets of the host: memory, vCPUs and how they are arranged, network.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use adw::prelude::*;
use lodge::manager::definition::{NetworkDefinition, Topology};

use super::{
    draft::{Draft, Edit},
    notes::Field,
    pages::{OnEdit, Shown, page_of},
};
use crate::ui::{
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::{
        field::{self, NoteLine},
        names::{name_expander, name_list},
    },
    wording,
};

/// The page.
pub struct ResourcesPage {
    /// All of it.
    pub root: adw::PreferencesPage,
    group: adw::PreferencesGroup,
    memory: gtk::SpinButton,
    vcpus: gtk::SpinButton,
    arrangement: adw::ExpanderRow,
    /// Sockets, cores and threads.
    levels: [gtk::SpinButton; 3],
    /// Whether a person has changed one of these: from then on they do not follow the vCPUs.
    arranged: Rc<Cell<bool>>,
    network: adw::ComboRow,
    /// What the network's list offers behind its first entry, which is none.
    networks: Rc<RefCell<Vec<NetworkDefinition>>>,
    /// The list is being filled.
    offering: Rc<Cell<bool>>,
    memory_note: NoteLine,
    vcpus_note: NoteLine,
    topology_note: NoteLine,
}

impl ResourcesPage {
    /// The page; what is entered goes to `on_edit`. While `filling`, fields change without a person.
    pub fn new(on_edit: &OnEdit, filling: &Rc<Cell<bool>>) -> Self {
        let group = adw::PreferencesGroup::builder().title(gettext("How Much of This Host?")).build();
        let adjustment = gtk::Adjustment::new(2048.0, 0.0, 1e9, 256.0, 1024.0, 0.0);
        let (memory_row, memory) = field::number_row(&gettext("Memory"), Some(&gettext("MiB")), &adjustment, 0);
        group.add(&memory_row);
        let memory_note = NoteLine::below(&memory, &group);
        let (vcpus_row, vcpus) = field::number_row(&gettext("vCPUs"), None, &count_adjustment(), 0);
        group.add(&vcpus_row);
        let vcpus_note = NoteLine::below(&vcpus, &group);
        memory.connect_value_changed({
            let on_edit = on_edit.clone();
            move |spin| on_edit(Edit::Memory(spin.value() as u64))
        });
        vcpus.connect_value_changed({
            let on_edit = on_edit.clone();
            move |spin| on_edit(Edit::Vcpus(spin.value() as u32))
        });

        let arrangement = adw::ExpanderRow::builder().title(gettext("Arrangement of the vCPUs")).build();
        let levels = [gettext("Sockets"), gettext("Cores of a Socket"), gettext("Threads of a Core")].map(|title| {
            let (row, spin) = field::number_row(&title, None, &count_adjustment(), 0);
            arrangement.add_row(&row);
            spin
        });
        group.add(&arrangement);
        name_expander(&arrangement, &gettext("Arrangement of the vCPUs"));
        let topology_note = NoteLine::below(&arrangement, &group);
        let arranged = Rc::new(Cell::new(false));
        for spin in &levels {
            let (arranged, filling) = (arranged.clone(), filling.clone());
            let (on_edit, levels) = (on_edit.clone(), levels.clone().map(|spin| spin.downgrade()));
            spin.connect_value_changed(move |_| {
                arranged.set(arranged.get() || !filling.get());
                let numbers = levels.each_ref().map(|spin| spin.upgrade().map_or(1, |spin| spin.value() as u32));
                let [sockets, cores, threads] = numbers;
                on_edit(Edit::Topology(Topology { sockets, cores, threads }));
            });
        }

        let network_group = adw::PreferencesGroup::new();
        let network = adw::ComboRow::builder().title(gettext("Network")).build();
        field::show_chosen(&network);
        network_group.add(&network);
        name_list(&network, &gettext("Network"));
        let networks = Rc::new(RefCell::new(Vec::new()));
        let offering = Rc::new(Cell::new(false));
        network.connect_selected_notify({
            let (on_edit, networks, offering) = (on_edit.clone(), networks.clone(), offering.clone());
            move |row| {
                // A new list selects its first entry, which nobody has chosen.
                if !offering.get() {
                    on_edit(Edit::Network(chosen(row.selected(), &networks.borrow()).map(Box::new)));
                }
            }
        });
        network.set_subtitle(&gettext("What the guest’s network card is connected to"));
        let root = page_of(&[&group, &network_group]);
        let page = Self {
            root,
            group,
            memory,
            vcpus,
            arrangement,
            levels,
            arranged,
            network,
            networks,
            offering,
            memory_note,
            vcpus_note,
            topology_note,
        };
        page.offer(&[], None);
        page
    }

    /// Where the keyboard goes when something is wrong with `field`, or to begin.
    pub fn focus(&self, field: Option<Field>) -> &gtk::Widget {
        match field {
            Some(Field::Vcpus) => self.vcpus.upcast_ref(),
            Some(Field::Topology) => {
                self.arrangement.set_expanded(true);
                self.levels[0].upcast_ref()
            }
            _ => self.memory.upcast_ref(),
        }
    }

    /// Fills its fields with what is suggested.
    pub fn fill(&self, draft: &Draft) {
        self.memory.set_value(draft.memory_mib as f64);
        self.vcpus.set_value(f64::from(draft.vcpus));
    }

    /// Brings it up to date.
    pub fn show(&self, shown: &Shown<'_>) {
        let limits = &shown.around.limits;
        let (total, free) = (wording::bytes(limits.memory_total), wording::bytes(limits.memory_available));
        let memory =
            gettext_f("This host has {total} of memory, {free} are free.", &[("total", &total), ("free", &free)]);
        let cpus = ngettext_f("It has {n} CPU.", "It has {n} CPUs.", limits.cpus, &[]);
        self.group.set_description(Some(&format!("{memory} {cpus}")));
        let Topology { sockets, cores, threads } = shown.draft.topology;
        if !self.arranged.get() {
            for (spin, number) in self.levels.iter().zip([sockets, cores, threads]) {
                spin.set_value(f64::from(number));
            }
        }
        self.arrangement.set_subtitle(&words_about(shown.draft.topology));
        if *self.networks.borrow() != shown.around.networks {
            self.offer(&shown.around.networks, shown.draft.network.as_ref());
        }
        self.memory_note.show(shown.note(Field::Memory), shown.tried);
        self.vcpus_note.show(shown.note(Field::Vcpus), shown.tried);
        self.topology_note.show(shown.note(Field::Topology), shown.tried);
    }

    /// Offers these networks, of which one was chosen before.
    fn offer(&self, networks: &[NetworkDefinition], chosen: Option<&NetworkDefinition>) {
        let words: Vec<_> = std::iter::once(gettext("None")).chain(networks.iter().map(wording::network)).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.networks.replace(networks.to_vec());
        self.offering.set(true);
        self.network.set_model(Some(&gtk::StringList::new(&words)));
        let place = networks.iter().position(|network| Some(network) == chosen).map_or(0, |index| index + 1);
        self.network.set_selected(place as u32);
        self.offering.set(false);
    }
}

fn count_adjustment() -> gtk::Adjustment {
    gtk::Adjustment::new(1.0, 0.0, 1e6, 1.0, 4.0, 0.0)
}

/// The network at `place` of the list, whose first entry is none.
fn chosen(place: u32, networks: &[NetworkDefinition]) -> Option<NetworkDefinition> {
    networks.get((place as usize).checked_sub(1)?).cloned()
}

/// An arrangement in a few words.
fn words_about(topology: Topology) -> String {
    let Topology { sockets, cores, threads } = topology;
    let words = [
        ngettext_f("{n} socket", "{n} sockets", sockets, &[]),
        ngettext_f("{n} core", "{n} cores", cores, &[]),
        ngettext_f("{n} thread", "{n} threads", threads, &[]),
    ];
    words.join(" × ")
}
