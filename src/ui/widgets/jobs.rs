//! A strip at the end of a window with what takes long and still runs: how far each is, and a button that stops it.

use std::{cell::RefCell, time::Duration};

use gtk::{accessible::Property, glib, pango, prelude::*};

use crate::ui::{
    i18n::{gettext, gettext_f},
    progress::Progress,
    widgets::text_button::TextButton,
    wording,
};

/// How often the bars move.
const TICK: Duration = Duration::from_millis(100);
/// What is over within so many ticks is never shown.
const QUICK: u32 = 4;

thread_local! {
    /// What the jobs of all windows do.
    static UNDER_WAY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the jobs of all windows do, as they say it.
pub fn under_way() -> Vec<String> {
    UNDER_WAY.with_borrow(Clone::clone)
}

/// The strip. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Jobs {
    strip: gtk::Box,
}

/// What is shown while it lives.
pub struct Job {
    doing: String,
    strip: gtk::Box,
    row: gtk::Box,
    tick: Option<glib::SourceId>,
}

impl Jobs {
    /// A strip without any job.
    pub fn new() -> Self {
        Self { strip: gtk::Box::builder().orientation(gtk::Orientation::Vertical).build() }
    }

    /// Its widget, to be put at a window's end.
    pub fn widget(&self) -> &gtk::Box {
        &self.strip
    }

    /// Shows a job that does what `doing` says, until what is returned is dropped. `stoppable` gives it a button.
    pub fn show(&self, doing: &str, stoppable: bool, progress: &Progress) -> Job {
        let label = gtk::Label::builder()
            .label(doing)
            .xalign(0.0)
            .ellipsize(pango::EllipsizeMode::Middle)
            .tooltip_text(doing)
            .build();
        let bar = gtk::ProgressBar::new();
        bar.update_property(&[Property::Label(doing)]);
        let texts = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).hexpand(true).build();
        texts.set_valign(gtk::Align::Center);
        texts.append(&label);
        texts.append(&bar);
        let row = gtk::Box::builder().spacing(12).css_classes(["job"]).visible(false).build();
        row.append(&texts);
        if stoppable {
            row.append(&stop_button(doing, progress, &label));
        }
        self.strip.append(&row);
        let tick = move_bar(&row, &bar, progress);
        UNDER_WAY.with_borrow_mut(|all| all.push(doing.to_owned()));
        Job { doing: doing.to_owned(), strip: self.strip.clone(), row, tick: Some(tick) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(tick) = self.tick.take() {
            tick.remove();
        }
        self.strip.remove(&self.row);
        UNDER_WAY.with_borrow_mut(|all| {
            if let Some(place) = all.iter().position(|doing| *doing == self.doing) {
                all.remove(place);
            }
        });
    }
}

fn stop_button(doing: &str, progress: &Progress, label: &gtk::Label) -> gtk::Button {
    let button = gtk::Button::builder().valign(gtk::Align::Center).build();
    button.set_button_text(&gettext("S_top"));
    button.update_property(&[Property::Description(doing)]);
    let (progress, label) = (progress.clone(), label.clone());
    button.connect_clicked(move |button| {
        progress.stop();
        button.set_sensitive(false);
        label.set_label(&gettext("Stopping…"));
    });
    button
}

fn move_bar(row: &gtk::Box, bar: &gtk::ProgressBar, progress: &Progress) -> glib::SourceId {
    let (row, bar, progress) = (row.clone(), bar.clone(), progress.clone());
    let mut ticks = 0;
    glib::timeout_add_local(TICK, move || {
        ticks += 1;
        row.set_visible(ticks >= QUICK);
        match progress.share() {
            Some(share) => {
                bar.set_fraction(share);
                let text = gettext_f("{share} done", &[("share", &wording::percent(share as f32))]);
                bar.update_property(&[Property::ValueText(&text)]);
            }
            None => bar.pulse(),
        }
        glib::ControlFlow::Continue
    })
}
