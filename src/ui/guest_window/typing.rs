//! Types what the clipboard holds into the guest, key by key: for login screens, installers and whatever else knows no
//! clipboard. What cannot be typed, and what takes long, is said beforehand.

use std::{cell::Cell, rc::Rc};

use adw::prelude::*;
use lodge::{input::keys, manager::client::TYPING_INTERVAL};

use crate::ui::{
    backend::{Backend, GuestView},
    console::Layout,
    dialogs,
    i18n::{gettext, gettext_f, ngettext_f},
    operations::Place,
    preferences::{self, TypedText},
};

/// A text with more characters than this is typed only after a question.
const LONG: usize = 500;
/// So many of the characters that cannot be typed are named.
const NAMED: usize = 20;

/// Types into the guest of one window, one text at a time.
#[derive(Debug, Default)]
pub struct Typing {
    busy: Rc<Cell<bool>>,
}

impl Typing {
    /// Types what is in the clipboard now. `number` tells which of the layouts of the desktop's keyboard is in use. `ended` is called
    /// when that is over, however it went.
    pub fn type_clipboard(
        &self,
        backend: &Backend,
        place: &Place,
        guest: &GuestView,
        number: u32,
        ended: impl FnOnce() + 'static,
    ) {
        if self.busy.replace(true) {
            return place.toast(&gettext("Another text is still being typed"));
        }
        let (backend, place, guest, busy) = (backend.clone(), place.clone(), guest.clone(), self.busy.clone());
        relm4::spawn_local(async move {
            type_clipboard(backend, &place, &guest, number).await;
            busy.set(false);
            ended();
        });
    }
}

async fn type_clipboard(backend: Backend, place: &Place, guest: &GuestView, number: u32) {
    // Whatever else the clipboard holds, a picture say, cannot be read as a text.
    let held = place.window.clipboard().read_text_future().await.ok().flatten();
    let Some(text) = held.map(String::from).filter(|text| !text.is_empty()) else {
        return place.toast(&gettext("The clipboard holds no text"));
    };
    let (strokes, lacking) = match preferences::get().typed_text {
        TypedText::Desktop => Layout::of_display(&WidgetExt::display(&place.window), number).strokes(&text),
        TypedText::Us => keys::us_strokes(&text),
    };
    let name = [("name", guest.name.as_str())];
    let failed = || gettext_f("The Text Could Not Be Typed into “{name}”", &name);
    if strokes.is_empty() {
        return dialogs::error(&place.window, &failed(), &left_out(&lacking));
    }
    let length = strokes.len();
    if (length > LONG || !lacking.is_empty()) && !ask(place, guest, length, &lacking).await {
        return;
    }
    let id = guest.id.clone();
    let doing = gettext_f("Typing into “{name}”…", &name);
    let call = |progress| async move { backend.type_strokes(&id, &strokes, progress).await };
    match place.run_long(&doing, true, call).await {
        Some(Ok(())) => {}
        Some(Err(error)) => place.complain(&failed(), &error),
        None => place.toast(&gettext_f("Typing into “{name}” was stopped", &name)),
    }
}

async fn ask(place: &Place, guest: &GuestView, length: usize, lacking: &[char]) -> bool {
    let count = u32::try_from(length).unwrap_or(u32::MAX);
    let heading = ngettext_f(
        "Type {n} Character into “{name}”?",
        "Type {n} Characters into “{name}”?",
        count,
        &[("name", &guest.name)],
    );
    let seconds = TYPING_INTERVAL.saturating_mul(count).as_secs();
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let long = ngettext_f("This takes about {n} second.", "This takes about {n} seconds.", seconds, &[]);
    let parts = [(length > LONG).then_some(long), (!lacking.is_empty()).then(|| left_out(lacking))];
    let message = parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    let accept = gettext("_Type");
    let dialog = dialogs::question(&place.window, &heading, &message, &accept, adw::ResponseAppearance::Suggested);
    dialog.set_default_response(Some(dialogs::ACCEPT));
    dialogs::choose(&dialog).await
}

/// Names the characters that cannot be typed.
fn left_out(lacking: &[char]) -> String {
    let mut named: Vec<String> =
        lacking.iter().take(NAMED).map(|character| character.escape_debug().to_string()).collect();
    if lacking.len() > NAMED {
        named.push("…".to_owned());
    }
    let characters = [("characters", &*named.join(" "))];
    match preferences::get().typed_text {
        TypedText::Desktop => gettext_f(
            "The text is typed as on your keyboard, which lacks these characters: {characters}. They are left out.",
            &characters,
        ),
        TypedText::Us => gettext_f(
            "The text is typed as on a US keyboard, which lacks these characters: {characters}. They are left out.",
            &characters,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_the_characters_that_cannot_be_typed_are_named() {
        let many: Vec<char> = ('α'..='ω').collect();

        assert!(left_out(&['ü', '\u{7}']).contains("characters: ü \\u{7}. "));
        assert!(left_out(&many).contains("τ …. "), "{}", left_out(&many));
    }
}
