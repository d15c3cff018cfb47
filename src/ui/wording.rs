//! How the manager's figures and states are put for people, in their language.

use std::{io, time::SystemTime};

use gtk::glib;
use lodge::{
    manager::{
        definition::{NetworkDefinition, NetworkKind},
        guests::GuestView,
        host::Verdict,
        media::{MediaError, MediaKind},
        supervisor::GuestState,
    },
    system_error::words,
};

use crate::ui::i18n::{gettext, gettext_f};

/// What the guest is doing, in a word or two.
pub fn state(state: &GuestState) -> String {
    match state {
        GuestState::Off => gettext("Off"),
        GuestState::Starting => gettext("Starting…"),
        GuestState::Running => gettext("Running"),
        GuestState::Paused { .. } => gettext("Paused"),
        GuestState::Stopping => gettext("Turning off…"),
        GuestState::Saving => gettext("Saving…"),
        GuestState::Saved => gettext("Saved"),
        GuestState::NotResponding => gettext("Not responding"),
        GuestState::Crashed { .. } => gettext("Crashed"),
        GuestState::InternalError { .. } => gettext("Stopped by an internal error"),
    }
}

/// [`state`], and what went wrong if something did, or when it changes.
pub fn status(view: &GuestView) -> String {
    let state = state(&view.state);
    match (&view.definition, view.state.reason()) {
        (Err(reason), _) => {
            // Whose definition it is stands beside it.
            let reason = reason.strip_prefix(&format!("{:?}: ", view.name)).unwrap_or(reason);
            gettext_f("Unreadable definition: {reason}", &[("reason", reason)])
        }
        (Ok(_), Some(reason)) if !reason.is_empty() => {
            gettext_f("{state}: {reason}", &[("state", &state), ("reason", reason)])
        }
        (Ok(definition), None) if definition.autostart && !view.state.is_active() => {
            gettext_f("{state}, starts at login", &[("state", &state)])
        }
        _ => state,
    }
}

/// What the manager says, as a sentence of its own. A name at its beginning stays as it is.
pub fn sentence(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default().trim_end_matches([',', ':', ';', '.']);
    let mut characters = text.chars();
    let first = match word.chars().all(char::is_alphabetic) {
        true => characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default(),
        false => String::new(),
    };
    let stop = if text.is_empty() || text.ends_with(['.', '!', '?', '…', '"', '”']) { "" } else { "." };
    first + characters.as_str() + stop
}

/// What keeps a running guest's network from working, if something does.
pub fn network_problems(view: &GuestView) -> Option<String> {
    let problems = view.network_problems.join("\n");
    (!problems.is_empty()).then(|| gettext_f("Network: {problem}", &[("problem", &problems)]))
}

/// The CSS class of what shows the state.
pub fn state_class(view: &GuestView) -> &'static str {
    match view.state {
        _ if view.definition.is_err() => "failed",
        GuestState::Off | GuestState::Saved => "off",
        GuestState::Running => "running",
        GuestState::Starting | GuestState::Stopping | GuestState::Saving => "changing",
        GuestState::Paused { .. } => "paused",
        GuestState::NotResponding | GuestState::Crashed { .. } | GuestState::InternalError { .. } => "failed",
    }
}

/// The icon of what runs in the guest.
pub fn guest_icon(view: &GuestView) -> &'static str {
    match &view.definition {
        Err(_) => "computer-fail-symbolic",
        Ok(definition) if definition.os.as_deref() == Some("testcard") => "lodge-card-symbolic",
        Ok(_) => "lodge-guest-symbolic",
    }
}

/// An amount of bytes in binary units, rounded for people: `2 GiB`, `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    glib::format_size_full(bytes, glib::FormatSizeFlags::IEC_UNITS).replace(".0\u{a0}", "\u{a0}")
}

/// So many bytes a second.
pub fn rate(per_second: u64) -> String {
    gettext_f("{amount}/s", &[("amount", &bytes(per_second))])
}

/// The moment now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment of the past, both in seconds since 1970: its time, and its day unless that is today.
pub fn moment(moment: u64, now: u64) -> String {
    // Translators: a time of today, as strftime has it.
    let today = gettext("Today, %H:%M");
    // Translators: a day and a time, as strftime has it.
    moment_as(moment, now, &today, &gettext("%-d %B %Y, %H:%M"))
}

/// [`moment`] in other words, which are formats of strftime: for a moment of today, and of another day.
pub fn moment_as(moment: u64, now: u64, today: &str, other: &str) -> String {
    let local = |seconds: u64| glib::DateTime::from_unix_local(i64::try_from(seconds).ok()?).ok();
    let (Some(moment), Some(now)) = (local(moment), local(now)) else { return String::new() };
    let format = if moment.ymd() == now.ymd() { today } else { other };
    moment.format(format).map(Into::into).unwrap_or_default()
}

/// A share (0 to 1) in percent.
pub fn percent(share: f32) -> String {
    gettext_f("{n}%", &[("n", &format!("{:.0}", share * 100.0))])
}

/// What a network card is connected to.
pub fn network(card: &NetworkDefinition) -> String {
    match (card.kind, &card.bridge, &card.tap) {
        (NetworkKind::Bridge, Some(name), _) => gettext_f("Bridge {name}", &[("name", name)]),
        (NetworkKind::Tap, _, Some(name)) => gettext_f("TAP interface {name}", &[("name", name)]),
        (NetworkKind::Nat, ..) => gettext("Through the host (NAT)"),
        (NetworkKind::Network, ..) => {
            gettext_f("Network {name}", &[("name", card.network.as_deref().unwrap_or_default())])
        }
        (NetworkKind::Isolated, ..) => {
            gettext_f("Isolated network {name}", &[("name", card.network.as_deref().unwrap_or_default())])
        }
        _ => gettext("Not connected"),
    }
}

/// What a file is.
pub fn media_kind(kind: MediaKind) -> String {
    match kind {
        MediaKind::HybridIso => gettext("ISO image, boots as CD-ROM and as disk"),
        MediaKind::BootableIso => gettext("ISO image, boots only from a CD-ROM drive"),
        MediaKind::Iso => gettext("ISO image that does not boot"),
        MediaKind::BootableDisk => gettext("Bootable raw disk image"),
        MediaKind::Disk => gettext("Raw disk image"),
        MediaKind::Qcow2 => gettext("qcow2 disk image"),
        MediaKind::Vmdk => gettext("VMware disk image"),
        MediaKind::Vdi => gettext("VirtualBox disk image"),
        MediaKind::Vhdx => gettext("Hyper-V disk image"),
        MediaKind::LinuxKernel => gettext("Linux kernel"),
        MediaKind::Elf => gettext("ELF program"),
        MediaKind::InitialRamDisk => gettext("Initial RAM disk"),
    }
}

/// Why a file is of no use.
pub fn media_error(error: &MediaError) -> String {
    match error {
        MediaError::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => gettext("There is no such file."),
            io::ErrorKind::PermissionDenied => gettext("You may not read this file."),
            _ => gettext_f("The file cannot be read: {reason}", &[("reason", &words(source))]),
        },
        MediaError::NotAFile { .. } => gettext("This is a folder or a device, not an image. Choose a file."),
        MediaError::Empty(_) => gettext("The file is empty. Download or copy it again."),
        MediaError::Compressed { what, .. } => {
            gettext_f("The file is compressed ({what}). Unpack it and choose what was in it.", &[("what", what)])
        }
        MediaError::Truncated { detail, .. } => {
            gettext_f("The file is cut off: {detail}. Download or copy it again.", &[("detail", detail)])
        }
    }
}

/// How one thing of the host stands.
pub fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Fine => gettext("Fine"),
        Verdict::Limited => gettext("Limited"),
        Verdict::Missing => gettext("Missing"),
    }
}

/// What is said when a guest has ended while something was asked that needs it to run.
pub fn ended_meanwhile() -> anyhow::Error {
    anyhow::anyhow!(gettext("The guest has ended meanwhile."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    #[test]
    fn a_crashed_guest_says_why() {
        let state = GuestState::Crashed { reason: "its worker was killed".into() };

        assert_eq!(status(&GuestView { state, ..guest_view("web") }), "Crashed: its worker was killed");
    }

    #[test]
    fn what_the_manager_says_becomes_a_sentence() {
        assert_eq!(sentence("öffnet nicht. mend it"), "Öffnet nicht. mend it.");
        assert_eq!(sentence("switch it on with \"echo 1\""), "Switch it on with \"echo 1\"");
        assert_eq!(sentence("kvm_intel is loaded"), "kvm_intel is loaded.");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn a_guest_that_is_off_says_that_it_starts_at_login() {
        let mut off = guest_view("web");
        off.definition.as_mut().unwrap().autostart = true;

        assert_eq!(status(&off), "Off, starts at login");
        assert_eq!(status(&GuestView { state: GuestState::Running, ..off }), "Running");
    }

    #[test]
    fn an_unreadable_definition_is_more_important_than_the_state() {
        let view = GuestView { definition: Err("line 3: unknown field".into()), ..guest_view("web") };

        assert_eq!(status(&view), "Unreadable definition: line 3: unknown field");
        let named = GuestView { definition: Err("\"web\": line 3: unknown field".into()), ..view.clone() };
        assert_eq!(status(&named), status(&view));
        assert_eq!(state_class(&view), "failed");
    }

    #[test]
    fn of_a_moment_of_today_only_the_time_is_told() {
        let noon = glib::DateTime::from_local(2026, 11, 21, 12, 0, 0.0).unwrap().to_unix() as u64;

        assert_eq!(moment(noon, noon + 60), "Today, 12:00");
        assert_eq!(moment(noon, noon + 24 * 3600), "21 November 2026, 12:00");
    }

    #[test]
    fn whole_amounts_have_no_fraction() {
        assert_eq!(bytes(2 << 30), "2\u{a0}GiB");
        assert_eq!(bytes(3 << 29), "1.5\u{a0}GiB");
    }
}
