"""Looks for controls without a name that says what they are for, which is what screen readers speak."""

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
    "page tab",
    "table",
    "image",
}


def nameless(widget, inside=()):
    """The paths to the controls below that have no name of their own."""
    found = []
    name = widget.name
    # GTK calls a widget without a name by its class.
    no_name = not name.strip() or name.startswith(("Gtk", "Adw", "Lodge", "Vte"))
    path = (*inside, repr(widget))
    # The icons of buttons and entries and the list inside of a combo box are their own matter.
    parts = ("push button", "toggle button", "combo box", "text ", "entry ", "page tab ")
    decoration = widget.role == "image" and any(step.startswith(parts) for step in inside)
    in_combo = any(step.startswith("combo box") for step in inside)
    # libadwaita 1.2 gives the button that closes a toast no name.
    in_toast = any("AdwToastWidget" in step for step in inside)
    if widget.role in CONTROLS and no_name and not (decoration or in_combo or in_toast):
        found.append(" > ".join(path[-6:]))
    for child in widget.children():
        if child.visible:
            found += nameless(child, path)
    return found
