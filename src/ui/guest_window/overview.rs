//! The overview page: what the guest is and how busy it is.

use adw::prelude::*;
use lodge::manager::definition::{Definition, DiskDefinition, NetworkDefinition};

use crate::ui::{
    backend::{Backend, GuestView},
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::graph::Graph,
    wording,
};

/// The page.
pub struct OverviewPage {
    widget: adw::PreferencesPage,
    state: adw::ActionRow,
    cpu: adw::ActionRow,
    graph: Graph,
    memory: adw::ActionRow,
    inside: adw::ActionRow,
    network: adw::ActionRow,
    about: adw::PreferencesGroup,
    about_rows: Vec<adw::ActionRow>,
    disks: adw::PreferencesGroup,
    disk_rows: Vec<adw::ActionRow>,
    cards: adw::PreferencesGroup,
    card_rows: Vec<adw::ActionRow>,
}

impl OverviewPage {
    /// An empty page.
    pub fn new() -> Self {
        let state = row(&gettext("State"), "");
        let cpu = row(&gettext("CPU"), "");
        let graph = Graph::default();
        graph.set_size_request(160, 36);
        graph.set_valign(gtk::Align::Center);
        cpu.add_suffix(&graph);
        let memory = row(&gettext("Memory in Use"), "");
        let inside = row(&gettext("Memory in Use Inside the Guest"), "");
        let network = row(&gettext("Network"), "");
        let now = adw::PreferencesGroup::builder().title(gettext("Now")).build();
        [&state, &cpu, &memory, &inside, &network].into_iter().for_each(|row| now.add(row));
        let about = adw::PreferencesGroup::builder().title(gettext("Guest")).build();
        let disks = adw::PreferencesGroup::builder().title(gettext("Disks")).build();
        let cards = adw::PreferencesGroup::builder().title(gettext("Network Cards")).build();
        let widget = adw::PreferencesPage::new();
        [&now, &about, &disks, &cards].into_iter().for_each(|group| widget.add(group));
        Self {
            widget,
            state,
            cpu,
            graph,
            memory,
            inside,
            network,
            about,
            about_rows: Vec::new(),
            disks,
            disk_rows: Vec::new(),
            cards,
            card_rows: Vec::new(),
        }
    }

    /// The page's widget.
    pub fn widget(&self) -> &adw::PreferencesPage {
        &self.widget
    }

    /// Shows another state or definition.
    pub fn show(&mut self, guest: &GuestView) {
        self.state.set_subtitle(&escaped(&wording::status(guest)));
        let Ok(definition) = &guest.definition else { return };
        refill(&self.about, &mut self.about_rows, about(definition));
        let disks: Vec<_> = definition.disks.iter().map(disk).collect();
        self.disks.set_visible(!disks.is_empty());
        refill(&self.disks, &mut self.disk_rows, disks);
        let cards: Vec<_> = definition.networks.iter().map(card).collect();
        self.cards.set_visible(!cards.is_empty());
        refill(&self.cards, &mut self.card_rows, cards);
        let figures = guest.state.is_active();
        self.network.set_visible(figures && !definition.networks.is_empty());
        self.cpu.set_visible(figures);
        self.memory.set_visible(figures);
        self.inside.set_visible(figures && !self.inside.subtitle().unwrap_or_default().is_empty());
    }

    /// Shows the newest figures.
    pub fn sampled(&self, backend: &Backend, guest: &GuestView) {
        backend.guests().with_history(&guest.id, |history| {
            let vcpus = guest.definition.as_ref().map_or(1, |definition| definition.vcpus.max(1)) as f32;
            self.graph.set_samples(history.fine().map(|point| point.cpu / 100.0 / vcpus));
            let Some(latest) = history.latest() else { return };
            let share = wording::percent(latest.cpu / 100.0 / vcpus);
            self.cpu.set_subtitle(&escaped(&share));
            self.graph.set_description(&gettext_f("CPU use: {share}", &[("share", &share)]));
            self.memory.set_subtitle(&escaped(&wording::bytes(latest.memory)));
            let inside = history.guest_memory().filter(|_| guest.state.is_active());
            self.inside.set_visible(inside.is_some());
            if let Some(memory) = inside {
                let (used, total) = (wording::bytes(memory.used()), wording::bytes(memory.total));
                let text = gettext_f("{used} of {total}", &[("used", &used), ("total", &total)]);
                self.inside.set_subtitle(&escaped(&text));
            }
            let (received, sent) = (wording::bytes(latest.network_received), wording::bytes(latest.network_sent));
            let text = gettext_f(
                "{received} a second received, {sent} a second sent",
                &[("received", &received), ("sent", &sent)],
            );
            self.network.set_subtitle(&escaped(&text));
        });
    }
}

fn row(title: &str, subtitle: &str) -> adw::ActionRow {
    adw::ActionRow::builder().title(title).subtitle(escaped(subtitle)).build()
}

fn escaped(text: &str) -> String {
    gtk::glib::markup_escape_text(text).into()
}

fn refill(group: &adw::PreferencesGroup, rows: &mut Vec<adw::ActionRow>, texts: Vec<(String, String)>) {
    rows.drain(..).for_each(|row| group.remove(&row));
    for (title, subtitle) in texts {
        let row = row(&title, &subtitle);
        row.set_title_lines(1);
        // A long path goes on in the next line.
        row.set_subtitle_lines(0);
        group.add(&row);
        rows.push(row);
    }
}

fn about(definition: &Definition) -> Vec<(String, String)> {
    let vcpus = definition.vcpus;
    let mut texts = vec![
        (gettext("Memory"), wording::bytes(definition.memory.bytes())),
        (
            gettext("Virtual CPUs"),
            ngettext_f("{n} virtual CPU", "{n} virtual CPUs", vcpus, &[("n", &vcpus.to_string())]),
        ),
        (gettext("UUID"), definition.uuid.to_string()),
    ];
    if !definition.description.is_empty() {
        texts.insert(0, (gettext("Description"), definition.description.clone()));
    }
    texts
}

fn disk(disk: &DiskDefinition) -> (String, String) {
    let title = match (disk.cdrom, disk.read_only) {
        (true, _) => gettext("CD-ROM drive"),
        (false, true) => gettext("Read-only disk"),
        (false, false) => gettext("Disk"),
    };
    (title, if disk.has_medium() { disk.path.display().to_string() } else { gettext("Empty") })
}

fn card(card: &NetworkDefinition) -> (String, String) {
    (wording::network(card), card.mac.clone().unwrap_or_default())
}
