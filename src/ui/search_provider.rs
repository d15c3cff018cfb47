//! Guests among what the desktop's search finds: `org.gnome.Shell.SearchProvider2` on the session bus, while the application runs.
//! The file that tells the desktop of it is `resources/org.lodgevm.Lodge.search-provider.ini`.

use gtk::{gio, glib, prelude::*};

use super::{
    app::APPLICATION_ID,
    backend::{Backend, GuestView},
    notices, wording,
};

/// Where the provider lies on the bus.
const PATH: &str = "/org/lodgevm/Lodge/SearchProvider";

/// The interface's name.
const NAME: &str = "org.gnome.Shell.SearchProvider2";

/// The interface, as GNOME's developer documentation has it.
const INTERFACE: &str = r#"<node><interface name="org.gnome.Shell.SearchProvider2">
    <method name="GetInitialResultSet"><arg type="as" direction="in"/><arg type="as" direction="out"/></method>
    <method name="GetSubsearchResultSet">
        <arg type="as" direction="in"/><arg type="as" direction="in"/><arg type="as" direction="out"/>
    </method>
    <method name="GetResultMetas"><arg type="as" direction="in"/><arg type="aa{sv}" direction="out"/></method>
    <method name="ActivateResult">
        <arg type="s" direction="in"/><arg type="as" direction="in"/><arg type="u" direction="in"/>
    </method>
    <method name="LaunchSearch"><arg type="as" direction="in"/><arg type="u" direction="in"/></method>
</interface></node>"#;

/// What a person wants of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The guest of this key.
    Open(String),
    /// All that is found by these words.
    Search(String),
}

/// Offers the guests to the desktop's search; `wanted` is called with what a person chooses.
pub fn offer(application: &impl IsA<gio::Application>, backend: &Backend, wanted: impl Fn(Wanted) + 'static) {
    let node = gio::DBusNodeInfo::for_xml(INTERFACE).expect("the interface above is well-formed");
    let interface = node.lookup_interface(NAME).expect("the node above has this interface");
    // Without a session bus there is nobody who searches.
    let Some(bus) = application.dbus_connection() else { return };
    let backend = backend.clone();
    let registered = bus
        .register_object(PATH, &interface)
        .method_call(move |_, _, _, _, method, arguments, invocation| {
            let guests = backend.guests().all();
            let answer = match method {
                "GetInitialResultSet" => words(&arguments, 0).map(|terms| Some((keys(&guests, &terms),).to_variant())),
                "GetSubsearchResultSet" => {
                    words(&arguments, 1).map(|terms| Some((keys(&guests, &terms),).to_variant()))
                }
                "GetResultMetas" => words(&arguments, 0).map(|keys| Some((metas(&guests, &keys),).to_variant())),
                "ActivateResult" => arguments.try_child_get::<String>(0).ok().flatten().map(|key| {
                    wanted(Wanted::Open(key));
                    None
                }),
                "LaunchSearch" => words(&arguments, 0).map(|terms| {
                    wanted(Wanted::Search(terms.join(" ")));
                    None
                }),
                _ => None,
            };
            let refused = || glib::Error::new(gio::DBusError::InvalidArgs, "these are not the arguments of the method");
            invocation.return_result(answer.ok_or_else(refused));
        })
        .build();
    if let Err(error) = registered {
        tracing::warn!("the desktop's search cannot find guests: {error}");
    }
}

/// The list of words that is an argument.
fn words(arguments: &glib::Variant, index: usize) -> Option<Vec<String>> {
    arguments.try_child_get(index).ok().flatten()
}

/// The keys of the guests whose names have all terms.
fn keys(guests: &[GuestView], terms: &[String]) -> Vec<String> {
    let has_all = |name: &str| terms.iter().all(|term| name.contains(&term.to_lowercase()));
    guests.iter().filter(|guest| has_all(&guest.name.to_lowercase())).map(|guest| notices::key(&guest.id)).collect()
}

/// What is shown of the guests of these keys.
fn metas(guests: &[GuestView], keys: &[String]) -> Vec<glib::VariantDict> {
    let found = keys.iter().filter_map(|key| guests.iter().find(|guest| notices::key(&guest.id) == *key));
    let meta = |guest: &GuestView| {
        let meta = glib::VariantDict::new(None);
        meta.insert("id", notices::key(&guest.id));
        meta.insert("name", guest.name.as_str());
        meta.insert("description", wording::state(&guest.state));
        meta.insert("gicon", APPLICATION_ID);
        meta
    };
    found.map(meta).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    #[test]
    fn guests_are_found_by_all_words_in_any_case() {
        let guests = ["web-shop", "web", "mail"].map(guest_view);
        let found =
            |terms: &[&str]| keys(&guests, &terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>()).len();

        assert_eq!([found(&["WEB"]), found(&["web", "shop"]), found(&["web", "mail"]), found(&[])], [2, 1, 0, 3]);
    }
}
