//! Buttons with a text. GTK 4.8 tells screen readers the label of its own text buttons twice over, once with the
//! mnemonic's underscore; these have their name from the text alone.

use gtk::{accessible::Property, prelude::*};

/// A text for a button.
pub trait TextButton {
    /// Shows this text, which may have a mnemonic.
    fn set_button_text(&self, text: &str);
}

impl TextButton for gtk::Button {
    fn set_button_text(&self, text: &str) {
        match self.child().and_downcast::<gtk::Label>() {
            Some(label) => label.set_text_with_mnemonic(text),
            None => {
                self.set_child(Some(&gtk::Label::with_mnemonic(text)));
                self.add_css_class("text-button");
            }
        }
        self.update_property(&[Property::Label(&text.replace('_', ""))]);
    }
}
