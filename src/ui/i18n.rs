//! Translations by GNU gettext. Every text that a person reads goes through one of these functions; `po/update` collects
//! their arguments into `po/lodge.pot`.
//!
//! Texts with values in them name the values in braces, so that a translation can put them elsewhere:
//! `gettext_f("Delete “{name}”?", &[("name", name)])`.

use std::path::PathBuf;

pub use gettextrs::gettext;

/// The name of the message catalogue.
const DOMAIN: &str = "lodge";

/// Binds the catalogue. Call it after GTK was initialised, which sets the locale.
pub fn init() {
    let bound = catalogue_folder().map_or(Ok(()), |folder| gettextrs::bindtextdomain(DOMAIN, folder).map(drop));
    let bound = bound
        .and_then(|()| gettextrs::bind_textdomain_codeset(DOMAIN, "UTF-8").map(drop))
        .and_then(|()| gettextrs::textdomain(DOMAIN).map(drop));
    if let Err(error) = bound {
        tracing::warn!("the translations cannot be used: {error}");
    }
}

/// Beside an installed program (`bin/lodge` and `share/locale`), else where the build has put it, else the system's.
fn catalogue_folder() -> Option<PathBuf> {
    let installed =
        std::env::current_exe().ok().and_then(|program| Some(program.parent()?.parent()?.join("share/locale")));
    let built = PathBuf::from(env!("LODGE_BUILD_LOCALE"));
    installed
        .filter(|folder| folder.join("de/LC_MESSAGES/lodge.mo").exists())
        .or_else(|| built.exists().then_some(built))
}

/// Translates `msgid` and fills in the values.
pub fn gettext_f(msgid: &str, values: &[(&str, &str)]) -> String {
    fill(gettext(msgid), values)
}

/// Translates with the plural form for `n`, and fills in the values; `{n}` is the number.
pub fn ngettext_f(msgid: &str, msgid_plural: &str, n: u32, values: &[(&str, &str)]) -> String {
    let number = n.to_string();
    fill(fill(gettextrs::ngettext(msgid, msgid_plural, n), &[("n", &number)]), values)
}

/// Replaces each `{name}` once over, from left to right: what a value contains is never taken for a name.
fn fill(text: String, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let value = after.split_once('}').and_then(|(name, tail)| {
            values.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| (value, tail))
        });
        if let Some((value, tail)) = value {
            filled.push_str(value);
            rest = tail;
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_by_name() {
        let text = fill("{a} and {b}, not {c}".into(), &[("b", "two"), ("a", "one")]);

        assert_eq!(text, "one and two, not {c}");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_left_alone() {
        let text = fill("Delete “{name}”, {size}?".into(), &[("name", "{size}"), ("size", "1 GiB")]);

        assert_eq!(text, "Delete “{size}”, 1 GiB?");
    }

    #[test]
    fn plurals_fill_in_the_number() {
        assert_eq!(ngettext_f("{n} guest", "{n} guests", 1, &[]), "1 guest");
        assert_eq!(ngettext_f("{n} guest", "{n} guests", 3, &[]), "3 guests");
    }
}
