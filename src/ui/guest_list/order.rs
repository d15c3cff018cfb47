//! In which order guests are listed.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::ui::{
    backend::{GuestState, GuestView},
    i18n::gettext,
};

/// An order; guests that are alike in it are ordered by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// By name.
    #[default]
    Name,
    /// What needs a look first, then what runs.
    State,
    /// What runs first, then what has run last.
    Recent,
}

/// Where a guest stands before names are compared.
pub type Place = (u8, Reverse<u64>);

impl Order {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Name, Self::State, Self::Recent];

    /// The word for it in settings and actions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Recent => "recent",
        }
    }

    /// The order of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.name() == name)
    }

    /// What menus call it.
    pub fn label(self) -> String {
        match self {
            Self::Name => gettext("_Name"),
            Self::State => gettext("_State"),
            Self::Recent => gettext("Recently _Used"),
        }
    }

    /// Where the guest stands.
    pub fn place(self, view: &GuestView) -> Place {
        match self {
            Self::Name => (0, Reverse(0)),
            Self::State => (urgency(view), Reverse(0)),
            Self::Recent if view.state.is_active() => (0, Reverse(0)),
            Self::Recent => (1, Reverse(view.last_used.unwrap_or(0))),
        }
    }
}

fn urgency(view: &GuestView) -> u8 {
    match view.state {
        _ if view.definition.is_err() => 0,
        GuestState::NotResponding | GuestState::Crashed { .. } | GuestState::InternalError { .. } => 0,
        GuestState::Saved => 2,
        GuestState::Off => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    fn sorted(order: Order, mut views: Vec<GuestView>) -> Vec<String> {
        views.sort_by_key(|view| order.place(view));
        views.into_iter().map(|view| view.name).collect()
    }

    #[test]
    fn what_needs_a_look_comes_before_what_runs_and_what_is_off() {
        let state = |name, state| GuestView { state, ..guest_view(name) };
        let crashed = state("crashed", GuestState::Crashed { reason: "it was killed".into() });
        let broken = GuestView { definition: Err("unknown field".into()), ..guest_view("broken") };
        let views = vec![
            guest_view("off"),
            state("saved", GuestState::Saved),
            state("runs", GuestState::PAUSED),
            crashed,
            broken,
        ];

        assert_eq!(sorted(Order::State, views), ["crashed", "broken", "runs", "saved", "off"]);
    }

    #[test]
    fn what_has_run_last_comes_first_after_what_runs() {
        let used = |name, last_used| GuestView { last_used, ..guest_view(name) };
        let runs = GuestView { state: GuestState::Running, ..guest_view("runs") };

        let names =
            sorted(Order::Recent, vec![used("never", None), used("old", Some(10)), used("new", Some(20)), runs]);

        assert_eq!(names, ["runs", "new", "old", "never"]);
    }

    #[test]
    fn every_order_is_found_by_its_name() {
        assert!(Order::ALL.into_iter().all(|order| Order::from_name(order.name()) == Some(order)));
    }
}
