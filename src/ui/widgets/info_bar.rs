//! A bar across the window that says what is wrong and offers one thing to do about it. libadwaita 1.2 has no banner.

use gtk::{accessible::Property, prelude::*};
use relm4::prelude::*;

use crate::ui::{i18n::gettext, widgets::text_button::TextButton};

/// What the bar says, and how grave it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub text: String,
    /// The label of the bar's button.
    pub button: String,
    /// Something does not work at all, as against not as well as it could.
    pub grave: bool,
}

/// The bar. It is hidden until it is given a [`Notice`].
pub struct InfoBar {
    notice: Option<Notice>,
}

/// What the bar is told.
#[derive(Debug)]
pub enum InfoBarMsg {
    /// Show this, or nothing.
    Set(Option<Notice>),
    /// The person has closed the bar.
    Dismiss,
}

/// What the bar tells.
#[derive(Debug)]
pub enum InfoBarOutput {
    /// The bar's button was pressed.
    Pressed,
}

#[relm4::component(pub)]
impl SimpleComponent for InfoBar {
    type Init = ();
    type Input = InfoBarMsg;
    type Output = InfoBarOutput;

    view! {
        gtk::Revealer {
            #[watch]
            set_reveal_child: model.notice.is_some(),

            gtk::Box {
                set_spacing: 12,
                #[watch]
                set_css_classes: if model.grave() { &["notice", "grave"] } else { &["notice"] },

                gtk::Image {
                    #[watch]
                    set_icon_name: Some(if model.grave() { "dialog-error-symbolic" } else { "dialog-warning-symbolic" }),
                    set_accessible_role: gtk::AccessibleRole::Presentation,
                },
                gtk::Label {
                    #[watch]
                    set_label?: model.notice.as_ref().map(|notice| notice.text.as_str()),
                    set_hexpand: true,
                    set_xalign: 0.0,
                    set_wrap: true,
                    set_natural_wrap_mode: gtk::NaturalWrapMode::None,
                },
                gtk::Button {
                    #[watch]
                    set_button_text: model.notice.as_ref().map_or("…", |notice| notice.button.as_str()),
                    set_valign: gtk::Align::Center,
                    connect_clicked[sender] => move |_| sender.output(InfoBarOutput::Pressed).unwrap_or_default(),
                },
                gtk::Button {
                    set_icon_name: "window-close-symbolic",
                    set_tooltip_text: Some(&gettext("Close")),
                    update_property: &[Property::Label(&gettext("Close this notice"))],
                    add_css_class: "flat",
                    set_valign: gtk::Align::Center,
                    connect_clicked => InfoBarMsg::Dismiss,
                },
            }
        }
    }

    fn init((): (), root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let model = Self { notice: None };
        let widgets = view_output!();
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: InfoBarMsg, _sender: ComponentSender<Self>) {
        match message {
            InfoBarMsg::Set(notice) => self.notice = notice,
            InfoBarMsg::Dismiss => self.notice = None,
        }
    }
}

impl InfoBar {
    fn grave(&self) -> bool {
        self.notice.as_ref().is_some_and(|notice| notice.grave)
    }
}
