//! The share of the host that each running guest has: a row each, the one with the most memory first.

use std::{cell::RefCell, cmp::Reverse};

use adw::prelude::*;
use lodge::manager::host::Counters;

use super::set_subtitle;
use crate::ui::{
    backend::{Backend, GuestView},
    i18n::{gettext, gettext_f},
    widgets::names::name_list,
    wording,
};

/// The rows.
pub struct Shares {
    group: adw::PreferencesGroup,
    rows: RefCell<Vec<adw::ActionRow>>,
}

/// What a guest has.
#[derive(Debug, Clone, PartialEq)]
struct Share {
    name: String,
    /// Of all CPUs of the host: 1 is all.
    cpu: f32,
    /// In bytes, and of how many.
    memory: (u64, u64),
}

impl Shares {
    /// No rows.
    pub fn new() -> Self {
        let group = adw::PreferencesGroup::builder().title(gettext("Running Guests")).build();
        Self { group, rows: RefCell::default() }
    }

    /// The widget.
    pub fn group(&self) -> &adw::PreferencesGroup {
        &self.group
    }

    /// Shows what these guests have of the host.
    pub fn show(&self, backend: &Backend, running: &[GuestView], host: &Counters) {
        let mut shares: Vec<Share> = running.iter().map(|guest| Share::of(backend, guest, host)).collect();
        shares.sort_by_key(|share| Reverse(share.memory.0));
        self.group.set_visible(!shares.is_empty());
        let mut rows = self.rows.borrow_mut();
        while rows.len() > shares.len() {
            rows.pop().into_iter().for_each(|row| self.group.remove(&row));
        }
        while rows.len() < shares.len() {
            let row = adw::ActionRow::builder().use_markup(false).subtitle_lines(0).build();
            self.group.add(&row);
            rows.push(row);
        }
        if let Some(row) = rows.first() {
            name_list(row, &gettext("Running Guests"));
        }
        for (row, share) in rows.iter().zip(&shares) {
            if row.title() != share.name {
                row.set_title(&share.name);
            }
            set_subtitle(row, &share.text(host));
        }
    }
}

impl Share {
    fn of(backend: &Backend, guest: &GuestView, host: &Counters) -> Self {
        let history =
            |history: &lodge::manager::statistics::History| history.latest().map(|point| (point.cpu, point.memory));
        let (cpu, memory) = backend.guests().with_history(&guest.id, history).flatten().unwrap_or_default();
        let total = guest.hardware().map_or(0, |hardware| hardware.memory.bytes());
        Self { name: guest.name.clone(), cpu: cpu / 100.0 / host.cpus.max(1) as f32, memory: (memory, total) }
    }

    fn text(&self, host: &Counters) -> String {
        let (memory, total) = self.memory;
        let of_host = wording::percent((memory as f64 / host.memory_total.max(1) as f64) as f32);
        let (cpu, memory, total) = (wording::percent(self.cpu), wording::bytes(memory), wording::bytes(total));
        gettext_f(
            "{cpu} of the host’s CPUs; {memory} of its {total} of memory, {share} of the host’s",
            &[("cpu", &cpu), ("memory", &memory), ("total", &total), ("share", &of_host)],
        )
    }
}
