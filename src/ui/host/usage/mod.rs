//! The page of what the host uses: graphs, what running guests may use together, and the share that each of them has.

mod graphs;
mod merging;
mod shares;

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;
use lodge::manager::{
    host::{Commitment, Counters, MergingSwitch},
    statistics::host::HostPoint,
};

use self::{graphs::HostHistory, merging::MergingRow, shares::Shares};
use crate::ui::{
    backend::{Backend, GuestView},
    figures::Figures,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    pump, wording,
};

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct UsagePage(Rc<Inner>);

struct Inner {
    backend: Backend,
    place: Place,
    widget: gtk::ScrolledWindow,
    figures: Figures<HostPoint>,
    warning: gtk::Label,
    memory: adw::ActionRow,
    cpus: adw::ActionRow,
    merging: MergingRow,
    shares: Shares,
    host: RefCell<Counters>,
}

impl UsagePage {
    /// The page; it is empty until [`UsagePage::reload`].
    pub fn new(backend: &Backend, place: &Place) -> Self {
        let figures = Figures::new(place, HostHistory::new(backend));
        let warning =
            gtk::Label::builder().css_classes(["notice", "overcommit"]).wrap(true).xalign(0.0).visible(false).build();
        let row = |title: String| adw::ActionRow::builder().title(title).subtitle_lines(0).build();
        let memory = row(gettext("Memory of Running Guests"));
        let cpus = row(gettext("Virtual CPUs of Running Guests"));
        let merging = MergingRow::new();
        let together = adw::PreferencesGroup::builder().title(gettext("All Guests Together")).build();
        [&memory, &cpus, merging.widget()].into_iter().for_each(|row| together.add(row));
        let shares = Shares::new();
        let column = || gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(24).build();
        let (content, below) = (column(), column());
        content.append(&warning);
        content.append(figures.widget());
        content.append(&below);
        below.append(&together);
        below.append(shares.group());
        show_after(&below, figures.widget());
        let clamp = adw::Clamp::builder()
            .maximum_size(1100)
            .tightening_threshold(1100)
            .child(&content)
            .margin_top(12)
            .margin_bottom(24)
            .margin_start(12)
            .margin_end(12)
            .build();
        let widget = gtk::ScrolledWindow::builder().hscrollbar_policy(gtk::PolicyType::Never).child(&clamp).build();
        let guests = backend.guests().clone();
        widget.connect_map(move |_| guests.see_host(true));
        let guests = backend.guests().clone();
        widget.connect_unmap(move |_| guests.see_host(false));
        let backend = backend.clone();
        let host = RefCell::default();
        let place = place.clone();
        let page =
            Self(Rc::new(Inner { backend, place, widget, figures, warning, memory, cpus, merging, shares, host }));
        let weak = Rc::downgrade(&page.0);
        page.0.merging.connect_wanted(move |way, on| {
            if let Some(page) = weak.upgrade().map(Self) {
                page.switch_merging(way, on);
            }
        });
        page
    }

    fn switch_merging(&self, way: MergingSwitch, on: bool) {
        let page = self.clone();
        relm4::spawn_local(async move {
            let backend = page.0.backend.clone();
            if let Err(error) = on_tokio(async move { backend.switch_merging(way, on).await }).await {
                page.0.place.complain(&gettext("It Could Not Be Switched"), &error);
            }
            page.reload();
        });
    }

    /// The page's widget.
    pub fn widget(&self) -> &gtk::ScrolledWindow {
        &self.0.widget
    }

    /// Looks at the host again.
    pub fn reload(&self) {
        let (weak, backend) = (Rc::downgrade(&self.0), self.0.backend.clone());
        relm4::spawn_local(async move {
            let read =
                on_tokio(async move { Ok((backend.host_counters().await?, backend.merging_switch().await)) }).await;
            let (Some(page), Ok((host, way))) = (weak.upgrade().map(Self), read) else { return };
            page.0.merging.set_way(way);
            page.0.merging.show_state(&host);
            if page.0.host.replace(host).memory_total != host.memory_total {
                page.0.figures.set_figures(graphs::all(host.memory_total));
            }
            page.show();
        });
    }

    /// There may be new figures. Costs nothing while the page cannot be seen.
    pub fn sampled(&self) {
        if self.0.widget.is_mapped() {
            self.0.figures.sampled();
            self.show();
        }
    }

    fn show(&self) {
        let inner = &self.0;
        let host = *inner.host.borrow();
        let running: Vec<GuestView> =
            inner.backend.guests().all().into_iter().filter(|guest| guest.state.is_active()).collect();
        let definitions = running.iter().filter_map(GuestView::hardware);
        let commitment = Commitment::of(definitions, &host);
        inner.warning.set_visible(commitment.exceeds_memory());
        set_label(&inner.warning, &warning(&commitment));
        set_subtitle(&inner.memory, &memory(&commitment));
        set_subtitle(&inner.cpus, &cpus(&commitment));
        let saved = inner.backend.guests().with_host_history(|history| history.latest().map(|point| point.saved));
        inner.merging.show(&host, saved);
        inner.shares.show(&inner.backend, &running, &host);
    }
}

/// Shows `below` when what is above it has been drawn for the first time: all else has its turn between the two.
fn show_after(below: &gtk::Box, above: &impl IsA<gtk::Widget>) {
    below.set_visible(false);
    let drawn = pump::drawn(above.upcast_ref());
    let below = below.downgrade();
    relm4::spawn_local(async move {
        drawn.await;
        if let Some(below) = below.upgrade() {
            below.set_visible(true);
        }
    });
}

fn warning(commitment: &Commitment) -> String {
    let (memory, total) = (wording::bytes(commitment.memory), wording::bytes(commitment.host_memory));
    gettext_f(
        "Running guests may use {memory} of memory, and the host has {total}. If they do, it swaps or ends programs: shut guests down, or take memory from them.",
        &[("memory", &memory), ("total", &total)],
    )
}

fn memory(commitment: &Commitment) -> String {
    let (memory, total) = (wording::bytes(commitment.memory), wording::bytes(commitment.host_memory));
    let share = wording::percent(commitment.memory_share() as f32);
    // Translators: what guests may use of the host's memory.
    gettext_f("{memory} of the host’s {total}: {share}", &[("memory", &memory), ("total", &total), ("share", &share)])
}

fn cpus(commitment: &Commitment) -> String {
    let (vcpus, cpus) = (commitment.vcpus.to_string(), commitment.host_cpus.to_string());
    let share = wording::percent(commitment.cpu_share() as f32);
    // Translators: how many virtual CPUs guests have beside the host's CPUs.
    gettext_f("{vcpus} beside the host’s {cpus}: {share}", &[("vcpus", &vcpus), ("cpus", &cpus), ("share", &share)])
}

fn set_subtitle(row: &adw::ActionRow, text: &str) {
    let escaped = gtk::glib::markup_escape_text(text);
    if row.subtitle().is_none_or(|shown| shown != escaped) {
        row.set_subtitle(&escaped);
    }
}

fn set_label(label: &gtk::Label, text: &str) {
    if label.label() != text {
        label.set_label(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overcommitment_is_told_in_numbers() {
        let commitment = Commitment { memory: 6 << 30, host_memory: 4 << 30, vcpus: 6, host_cpus: 4 };

        assert_eq!(memory(&commitment), "6\u{a0}GiB of the host’s 4\u{a0}GiB: 150%");
        assert_eq!(cpus(&commitment), "6 beside the host’s 4: 150%");
        assert!(
            warning(&commitment)
                .starts_with("Running guests may use 6\u{a0}GiB of memory, and the host has 4\u{a0}GiB.")
        );
    }
}
