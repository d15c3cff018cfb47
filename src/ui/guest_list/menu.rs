//! The guest's menu, and the actions that it and the shortcuts call for the guest that is selected.

use gtk::{gdk, gio, prelude::*};

use crate::ui::{
    actions::{Action, Scope},
    backend::{GuestState, GuestView, Operation},
    i18n::gettext,
    operations,
    widgets::menu::popup as popup_at,
};

use super::item::GuestItem;

/// What a person can ask for the selected guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestRequest {
    /// Open its window.
    Open,
    /// Do this to it.
    Operate(Operation),
    /// Shut it down and start it anew.
    Reboot,
    /// Keep its state and end it.
    SaveState,
    /// Remove the state that was kept.
    DiscardSaved,
    /// Make another one that is like it.
    Clone,
    /// Give it another name.
    Rename,
    /// Delete it.
    Delete,
    /// Show its menu.
    Menu,
    /// Select all guests that are listed.
    SelectAll,
}

const REQUESTS: [(Action, GuestRequest); 14] = [
    (Action::Open, GuestRequest::Open),
    (Action::Run, GuestRequest::Operate(Operation::Run)),
    (Action::Pause, GuestRequest::Operate(Operation::Pause)),
    (Action::Reset, GuestRequest::Operate(Operation::Reset)),
    (Action::ShutDown, GuestRequest::Operate(Operation::ShutDown)),
    (Action::Reboot, GuestRequest::Reboot),
    (Action::ForceOff, GuestRequest::Operate(Operation::ForceOff)),
    (Action::SaveState, GuestRequest::SaveState),
    (Action::DiscardSaved, GuestRequest::DiscardSaved),
    (Action::Clone, GuestRequest::Clone),
    (Action::Rename, GuestRequest::Rename),
    (Action::Delete, GuestRequest::Delete),
    (Action::GuestMenu, GuestRequest::Menu),
    (Action::SelectAll, GuestRequest::SelectAll),
];

impl GuestRequest {
    /// Whether it makes sense for this guest now.
    pub fn allowed(self, view: &GuestView) -> bool {
        match self {
            Self::Operate(operation) => view.definition.is_ok() && operation.allowed(&view.state),
            Self::Reboot => operations::can_be_rebooted(view),
            Self::SaveState => operations::can_be_saved(view),
            Self::DiscardSaved => view.state == GuestState::Saved,
            Self::Clone => operations::can_be_cloned(view),
            Self::Rename | Self::Delete => !view.state.is_active(),
            Self::Open => view.definition.is_ok(),
            Self::Menu | Self::SelectAll => true,
        }
    }

    /// Whether it makes no sense for several guests at once.
    fn is_for_one(self) -> bool {
        matches!(self, Self::Open | Self::DiscardSaved | Self::Clone | Self::Rename)
    }

    /// Those of the guests that it makes sense for.
    pub fn allowed_of(self, selected: &[GuestItem]) -> Vec<GuestView> {
        if selected.len() > 1 && self.is_for_one() {
            return Vec::new();
        }
        let views = selected.iter().map(|item| item.view());
        views.filter(|view| self.allowed(view)).map(|view| view.clone()).collect()
    }

    /// Whether it makes sense for one of the guests at least.
    fn allowed_for(self, selected: &[GuestItem]) -> bool {
        !(selected.len() > 1 && self.is_for_one()) && selected.iter().any(|item| self.allowed(&item.view()))
    }
}

/// The actions of [`Scope::Guest`], for the guests that are selected.
pub struct GuestActions {
    group: gio::SimpleActionGroup,
    actions: Vec<(gio::SimpleAction, GuestRequest)>,
}

impl GuestActions {
    /// Makes them; `request` is called when one is activated.
    pub fn new(request: impl Fn(GuestRequest) + Clone + 'static) -> Self {
        let group = gio::SimpleActionGroup::new();
        let actions = REQUESTS
            .into_iter()
            .map(|(action, wanted)| {
                let request = request.clone();
                (action.add_to(&group, move || request(wanted)), wanted)
            })
            .collect();
        Self { group, actions }
    }

    /// Makes them reachable from `widget` and below.
    pub fn insert_into(&self, widget: &impl IsA<gtk::Widget>) {
        widget.insert_action_group(Scope::Guest.prefix(), Some(&self.group));
    }

    /// Enables what makes sense for these guests, or for a heading that is selected instead.
    pub fn enable_for(&self, selected: &[GuestItem], on_heading: bool) {
        for (action, request) in &self.actions {
            let of_rows = matches!(request, GuestRequest::Menu | GuestRequest::SelectAll);
            let enabled = request.allowed_for(selected) || of_rows && on_heading;
            if action.is_enabled() != enabled {
                action.set_enabled(enabled);
            }
        }
    }
}

/// Opens the menu of a guest in this state, or (`None`) of several guests, pointing at `place` in `parent`.
pub fn popup(parent: &impl IsA<gtk::Widget>, place: gdk::Rectangle, state: Option<&GuestState>) {
    popup_at(parent, &place, &model(state));
}

/// Opens the menu of the group whose heading is selected.
pub fn popup_of_group(parent: &impl IsA<gtk::Widget>, place: gdk::Rectangle) {
    let menu = gio::Menu::new();
    for actions in [&[Action::SelectGroup][..], &[Action::CollapseAll, Action::ExpandAll]] {
        let section = gio::Menu::new();
        actions.iter().for_each(|action| section.append_item(&action.menu_item()));
        menu.append_section(None, &section);
    }
    popup_at(parent, &place, &menu);
}

fn model(state: Option<&GuestState>) -> gio::Menu {
    let section = |actions: &[Action]| {
        let section = gio::Menu::new();
        for action in actions {
            let item = action.menu_item();
            match (action, state) {
                (Action::Run, Some(GuestState::Paused { .. })) => item.set_label(Some(&gettext("_Resume"))),
                (Action::Run, Some(GuestState::Saved)) => item.set_label(Some(&gettext("_Restore"))),
                _ => {}
            }
            section.append_item(&item);
        }
        section
    };
    let menu = gio::Menu::new();
    menu.append_section(None, &section(&[Action::Open]));
    let kept = if state == Some(&GuestState::Saved) { Action::DiscardSaved } else { Action::SaveState };
    menu.append_section(None, &section(&[Action::Run, Action::Pause, Action::ShutDown, kept]));
    menu.append_section(None, &section(&[Action::Reboot, Action::Reset, Action::ForceOff]));
    menu.append_section(None, &section(&[Action::Clone, Action::Rename, Action::Delete]));
    menu
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    #[test]
    fn every_action_on_a_guest_has_its_request() {
        for action in Action::ALL.into_iter().filter(|action| action.entry().scope == Scope::Guest) {
            assert!(REQUESTS.iter().any(|(candidate, _)| *candidate == action), "{action:?}");
        }
    }

    #[test]
    fn a_running_guest_is_not_renamed_or_deleted() {
        let running = GuestView { state: GuestState::Running, ..guest_view("web") };

        assert!(!GuestRequest::Rename.allowed(&running) && !GuestRequest::Delete.allowed(&running));
        assert!(GuestRequest::Open.allowed(&running));
    }

    #[test]
    fn a_state_is_kept_of_what_runs_and_discarded_of_what_is_saved() {
        let in_state = |state| GuestView { state, ..guest_view("web") };
        let allowed = |request: GuestRequest, state| request.allowed(&in_state(state));

        for state in [GuestState::Running, GuestState::PAUSED] {
            assert!(allowed(GuestRequest::SaveState, state.clone()) && !allowed(GuestRequest::Clone, state.clone()));
            assert!(!allowed(GuestRequest::DiscardSaved, state));
        }
        assert!(allowed(GuestRequest::DiscardSaved, GuestState::Saved));
        assert!(allowed(GuestRequest::Clone, GuestState::Off) && !allowed(GuestRequest::SaveState, GuestState::Off));
    }

    #[test]
    fn a_guest_that_cannot_be_read_can_only_be_renamed_or_deleted() {
        let broken = GuestView { definition: Err("unknown field".into()), ..guest_view("web") };

        let allowed: Vec<_> = REQUESTS.into_iter().map(|(_, request)| request).filter(|r| r.allowed(&broken)).collect();

        let always = [GuestRequest::Menu, GuestRequest::SelectAll];
        assert_eq!(allowed, [&[GuestRequest::Rename, GuestRequest::Delete][..], &always].concat());
    }

    #[test]
    fn actions_follow_the_selected_guest() {
        let actions = GuestActions::new(|_| {});

        actions.enable_for(&[GuestItem::new(guest_view("web"))], false);
        assert!(actions.group.is_action_enabled("run") && !actions.group.is_action_enabled("pause"));
        actions.enable_for(&[], true);
        let enabled = |name: &&str| actions.group.is_action_enabled(name);
        assert_eq!(REQUESTS.map(|(action, _)| action.entry().name).iter().filter(|name| enabled(name)).count(), 2);
        actions.enable_for(&[], false);

        assert!(actions.group.list_actions().iter().all(|name| !actions.group.is_action_enabled(name)));
    }

    #[test]
    fn what_is_done_to_several_is_done_to_those_that_allow_it() {
        let running = GuestView { state: GuestState::Running, ..guest_view("web") };
        let items = [guest_view("off"), running].map(GuestItem::new);
        let names = |request: GuestRequest| -> Vec<_> {
            request.allowed_of(&items).into_iter().map(|view| view.name).collect()
        };

        assert_eq!(names(GuestRequest::Operate(Operation::Run)), ["off"]);
        assert_eq!(names(GuestRequest::Operate(Operation::ForceOff)), ["web"]);
        assert_eq!(names(GuestRequest::Rename), [""; 0]);
        assert!(GuestRequest::Delete.allowed_for(&items) && !GuestRequest::Open.allowed_for(&items));
    }
}
