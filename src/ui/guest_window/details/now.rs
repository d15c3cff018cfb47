//! What the guest does now and how busy it is: a group of rows.

use adw::prelude::*;

use super::form::set_fact;
use crate::ui::{
    backend::{Backend, GuestView},
    i18n::{gettext, gettext_f},
    widgets::{graph::Graph, set_tooltip},
    wording,
};

/// So much of the guest's state is shown.
const STATE_LINES: i32 = 4;

/// The group.
pub struct Now {
    group: adw::PreferencesGroup,
    state: adw::ActionRow,
    waits: adw::ActionRow,
    cpu: adw::ActionRow,
    graph: Graph,
    memory: adw::ActionRow,
    inside: adw::ActionRow,
    network: adw::ActionRow,
}

impl Now {
    /// An empty one.
    pub fn new() -> Self {
        let row = |title: String| adw::ActionRow::builder().title(title).subtitle_lines(0).build();
        let state = row(gettext("State"));
        // Why a guest stands still can be long, and text that wraps is costly to lay out.
        state.set_subtitle_lines(STATE_LINES);
        let waits = row(gettext("At the Next Start"));
        set_fact(&waits, &gettext("Changes that cannot be made while it runs apply then"));
        let cpu = row(gettext("CPU"));
        let graph = Graph::new(160, 0);
        graph.set_drawn(true);
        // Until the first figure is there.
        graph.set_description(&gettext("CPU use"));
        cpu.add_suffix(&graph);
        let memory = row(gettext("Memory in Use"));
        let inside = row(gettext("Memory in Use Inside the Guest"));
        let network = row(gettext("Network"));
        let group = adw::PreferencesGroup::builder().title(gettext("Now")).build();
        [&state, &waits, &cpu, &memory, &inside, &network].into_iter().for_each(|row| group.add(row));
        Self { group, state, waits, cpu, graph, memory, inside, network }
    }

    /// The widget.
    pub fn group(&self) -> &adw::PreferencesGroup {
        &self.group
    }

    /// Shows the guest's state and its newest figures.
    pub fn show(&self, backend: &Backend, guest: &GuestView) {
        let status = wording::status(guest);
        set_fact(&self.state, &status);
        // For what does not fit.
        set_tooltip(&self.state, guest.state.reason().map(|_| status.as_str()));
        let active = guest.state.is_active();
        let definition = guest.hardware();
        self.waits.set_visible(active && guest.waits());
        self.cpu.set_visible(active);
        self.memory.set_visible(active);
        self.network.set_visible(active && definition.is_some_and(|definition| !definition.networks.is_empty()));
        backend.guests().with_history(&guest.id, |history| {
            let vcpus = definition.map_or(1, |definition| definition.vcpus.max(1)) as f32;
            self.graph.set_samples(history.fine().map(|point| point.cpu / 100.0 / vcpus));
            let inside = history.guest_memory().filter(|_| active);
            self.inside.set_visible(inside.is_some());
            let Some(latest) = history.latest() else { return };
            let share = wording::percent(latest.cpu / 100.0 / vcpus);
            set_fact(&self.cpu, &share);
            self.graph.set_description(&gettext_f("CPU use: {share}", &[("share", &share)]));
            set_fact(&self.memory, &wording::bytes(latest.memory));
            if let Some(memory) = inside {
                let (used, total) = (wording::bytes(memory.used()), wording::bytes(memory.total));
                set_fact(&self.inside, &gettext_f("{used} of {total}", &[("used", &used), ("total", &total)]));
            }
            let (received, sent) = (wording::bytes(latest.network_received), wording::bytes(latest.network_sent));
            let text = gettext_f(
                "{received} a second received, {sent} a second sent",
                &[("received", &received), ("sent", &sent)],
            );
            set_fact(&self.network, &text);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing;

    #[test]
    fn the_graph_has_a_name_before_there_is_a_figure() {
        testing::with_gtk(|| {
            let now = Now::new();

            assert!(gtk::test_accessible_has_property(&now.graph, gtk::AccessibleProperty::Label));
        });
    }
}
