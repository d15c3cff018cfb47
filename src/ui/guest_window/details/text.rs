//! The definition's text, for those who want it. It is checked while it is typed.

use gtk::{accessible::Property, prelude::*};

use crate::ui::{i18n::gettext, wording};

/// The page.
pub struct TextPage {
    root: gtk::Box,
    problem: gtk::Label,
    text: gtk::TextView,
}

impl TextPage {
    /// The page with this text; what is typed goes to `edited`.
    pub fn new(text: &str, edited: impl Fn(String) + 'static) -> Self {
        let view = gtk::TextView::builder()
            .monospace(true)
            .top_margin(12)
            .bottom_margin(12)
            .left_margin(12)
            .right_margin(12)
            .build();
        view.buffer().set_text(text);
        view.update_property(&[Property::Label(&gettext("Text of the definition"))]);
        view.buffer().connect_changed(move |buffer| {
            let (start, end) = buffer.bounds();
            edited(buffer.text(&start, &end, true).into());
        });
        let scrolled = gtk::ScrolledWindow::builder().child(&view).vexpand(true).build();
        let problem = gtk::Label::builder()
            .xalign(0.0)
            .wrap(true)
            .wrap_mode(gtk::pango::WrapMode::WordChar)
            .selectable(true)
            .css_classes(["error", "text-problem"])
            .visible(false)
            .build();
        let root = gtk::Box::builder().orientation(gtk::Orientation::Vertical).build();
        root.append(&scrolled);
        root.append(&problem);
        Self { root, problem, text: view }
    }

    /// The widget.
    pub fn root(&self) -> &gtk::Box {
        &self.root
    }

    /// Says what is wrong with the text.
    pub fn show(&self, problem: Option<&str>) {
        let problem = problem.map(wording::sentence);
        let problem = problem.as_deref();
        self.problem.set_visible(problem.is_some());
        self.problem.set_label(problem.unwrap_or_default());
        let invalid = match problem {
            Some(_) => gtk::AccessibleInvalidState::True,
            None => gtk::AccessibleInvalidState::False,
        };
        self.text.update_state(&[gtk::accessible::State::Invalid(invalid)]);
        self.text.update_property(&[Property::Description(problem.unwrap_or_default())]);
    }
}
