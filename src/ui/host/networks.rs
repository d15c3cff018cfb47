//! The page of the networks that guests can be on. Who is on which is seen at a glance; networks of the host are made by
//! an administrator.

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::networks::NetworkChoice;

use crate::ui::{
    backend::Backend,
    i18n::{gettext, gettext_f, ngettext_f},
    operations::{Place, on_tokio},
    readings::Readings,
    widgets::names::name_list,
    wording,
};

/// Of so many guests of a network the names are told.
const NAMED: usize = 8;

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct NetworksPage(Rc<Inner>);

struct Inner {
    backend: Backend,
    place: Place,
    page: adw::PreferencesPage,
    group: adw::PreferencesGroup,
    rows: RefCell<Vec<adw::ActionRow>>,
    shown: RefCell<Vec<NetworkChoice>>,
    /// An answer that is late is not shown.
    readings: Readings,
}

impl NetworksPage {
    /// The page; it is empty until [`NetworksPage::reload`].
    pub fn new(backend: &Backend, place: &Place) -> Self {
        let group = adw::PreferencesGroup::builder()
            .title(gettext("Networks"))
            .description(gettext(
                "What guests’ network cards can be connected to. An administrator makes more with “lodgectl network create”.",
            ))
            .build();
        let page = adw::PreferencesPage::new();
        page.add(&group);
        Self(Rc::new(Inner {
            backend: backend.clone(),
            place: place.clone(),
            page,
            group,
            rows: RefCell::default(),
            shown: RefCell::default(),
            readings: Readings::default(),
        }))
    }

    /// The page's widget.
    pub fn widget(&self) -> &adw::PreferencesPage {
        &self.0.page
    }

    /// Looks at the networks again.
    pub fn reload(&self) {
        let reading = self.0.readings.begin();
        let (weak, backend) = (Rc::downgrade(&self.0), self.0.backend.clone());
        relm4::spawn_local(async move {
            let read = on_tokio(async move { backend.networks().await }).await;
            let Some(page) = weak.upgrade().map(Self).filter(|_| reading.is_newest()) else { return };
            match read {
                Ok(networks) => page.show(networks),
                Err(error) => page.0.place.complain(&gettext("The Networks Cannot Be Read"), &error),
            }
        });
    }

    fn show(&self, networks: Vec<NetworkChoice>) {
        let inner = &self.0;
        if *inner.shown.borrow() == networks {
            return;
        }
        inner.rows.borrow_mut().drain(..).for_each(|row| inner.group.remove(&row));
        for network in &networks {
            let row = row(network);
            inner.group.add(&row);
            inner.rows.borrow_mut().push(row);
        }
        if let Some(row) = inner.rows.borrow().first() {
            name_list(row, &gettext("Networks"));
        }
        inner.shown.replace(networks);
    }
}

fn row(network: &NetworkChoice) -> adw::ActionRow {
    let (title, subtitle) = (wording::network(&network.card), about(network));
    let row = adw::ActionRow::builder()
        .use_markup(false)
        .title(&title)
        .subtitle(&subtitle)
        .subtitle_lines(0)
        .focusable(true)
        .build();
    row.update_property(&[Property::Label(&format!("{title}, {subtitle}"))]);
    let name = if network.problem.is_some() { "dialog-warning-symbolic" } else { "network-wired-symbolic" };
    let icon = gtk::Image::from_icon_name(name);
    icon.set_accessible_role(gtk::AccessibleRole::Presentation);
    row.add_prefix(&icon);
    row
}

/// Who is on a network, as far as there is room, and what keeps guests from it.
fn about(network: &NetworkChoice) -> String {
    let named = network.guests.get(..NAMED).unwrap_or(&network.guests).join(", ");
    let words = [("guests", named.as_str())];
    let guests = match network.guests.len() {
        0 => gettext("No guests"),
        count if count > NAMED => {
            let more = u32::try_from(count - NAMED).unwrap_or(u32::MAX);
            ngettext_f("Used by {guests} and {n} more", "Used by {guests} and {n} more", more, &words)
        }
        _ => gettext_f("Used by {guests}", &words),
    };
    network.problem.iter().map(String::as_str).chain([guests.as_str()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use lodge::manager::definition::NetworkDefinition;

    use super::*;

    #[test]
    fn a_network_says_who_is_on_it_and_what_is_wrong() {
        let free = NetworkChoice { card: NetworkDefinition::bridge("br0"), problem: None, guests: Vec::new() };
        let broken = NetworkChoice {
            problem: Some("there is no bridge br0. Make it".to_owned()),
            guests: vec!["mail".to_owned(), "web".to_owned()],
            ..free.clone()
        };

        assert_eq!(about(&free), "No guests");
        assert_eq!(about(&broken), "there is no bridge br0. Make it\nUsed by mail, web");
    }

    #[test]
    fn of_many_guests_on_a_network_only_some_are_named() {
        let guests = (0..50).map(|number| format!("g{number}")).collect();
        let full = NetworkChoice { card: NetworkDefinition::bridge("br0"), problem: None, guests };

        assert!(about(&full).ends_with("g7 and 42 more"), "{}", about(&full));
    }
}
