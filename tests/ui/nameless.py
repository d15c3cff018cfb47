"""Looks for controls without a name that says what they are for, which is what screen readers speak."""

import re

from driver import Failure

# What a person can use.
CONTROLS = {
    "push button",
    "toggle button",
    "check box",
    "radio button",
    "combo box",
    "entry",
    "text",
    "spin button",
    "switch",
    "slider",
    "link",
    "list",
    "list item",
    "menu item",
    "check menu item",
    "radio menu item",
    "terminal",
    "progress bar",
    "dialog",
    "frame",
    "alert",
    "page tab",
    "table",
    "image",
}


def nameless(widget, inside=()):
    """The paths to the controls below that have no name of their own."""
    found = []
    # Each is asked for once: every question goes to the application and back.
    role, name = widget.role, widget.name
    # GTK calls a widget without a name by its class.
    no_name = not name.strip() or re.match("(Gtk|Adw|Lodge|Vte)[A-Z]", name)
    path = (*inside, f"{role} {name!r}")
    # The icons of buttons and entries and what is inside of a combo box are their own matter.
    parts = ("push button", "toggle button", "combo box", "text ", "entry ", "page tab ")
    decoration = role == "image" and any(step.startswith(parts) for step in inside)
    # libadwaita 1.2 gives the button that closes a toast no name.
    in_toast = any("AdwToastWidget" in step for step in inside)
    if role in CONTROLS and no_name and not (decoration or in_toast):
        found.append(" > ".join(path[-6:]))
    if role == "combo box":
        return found
    for child in widget.children():
        if child.visible:
            found += nameless(child, path)
    return found


class Tour:
    """Goes through windows, pages and dialogs, and has a picture taken of each."""

    def __init__(self, application):
        self.application = application
        self.faults = []

    def see(self, widget, name):
        self.application.screenshot(name)
        self.faults += [f"{name}: {path}" for path in nameless(widget) if not any(path in fault for fault in self.faults)]

    def close(self, widget, name, is_dialog=True):
        """Looks at a dialog or a menu, and closes it with Escape."""
        self.see(widget, name)
        if is_dialog:
            self.application.keys("Escape")
            widget.wait_gone()
        else:
            self.application.close_menu(widget)

    def end(self):
        if self.faults:
            raise Failure("these have no name:\n" + "\n".join(self.faults))
