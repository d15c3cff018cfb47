"""Guests are among what the desktop's search finds, which asks over the session bus as GNOME's shell does."""

from gi.repository import Gio, GLib

from driver import run, wait_for
from guests import lodgectl

NAME, PATH, INTERFACE = "org.lodgevm.Lodge", "/org/lodgevm/Lodge/SearchProvider", "org.gnome.Shell.SearchProvider2"


def test(application):
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)

    def ask(method, signature, *arguments):
        arguments = GLib.Variant(signature, arguments)
        return bus.call_sync(NAME, PATH, INTERFACE, method, arguments, None, Gio.DBusCallFlags.NO_AUTO_START, -1).unpack()

    window = application.window("Lodge")
    for name in ("web", "web-shop", "mail"):
        lodgectl("create", name, "--memory", "64MiB")
        window.find("list item", f"{name}, Off")

    (both,) = ask("GetInitialResultSet", "(as)", ["WEB"])
    (one,) = ask("GetSubsearchResultSet", "(asas)", both, ["web", "shop"])
    (nothing,) = ask("GetInitialResultSet", "(as)", ["web", "mail"])
    (metas,) = ask("GetResultMetas", "(as)", both)
    assert len(both) == 2 and len(one) == 1 and one[0] in both and nothing == []
    told = [(meta["id"], meta["name"], meta["description"], meta["gicon"]) for meta in metas]
    assert told == [(both[0], "web", "Off", NAME), (both[1], "web-shop", "Off", NAME)], told

    ask("ActivateResult", "(sasu)", one[0], ["web", "shop"], 0)
    guest = wait_for("the guest's window", lambda: application.window_of("web-shop"))
    guest.wait_for_text("Off")
    application.keys("ctrl+shift+w")
    ask("LaunchSearch", "(asu)", ["web"], 0)
    wait_for("the list shows both", lambda: len(list(window.all("list item"))) == 2)
    assert window.find(("entry", "text"), "Search guests").entered == "web"


run(test)
