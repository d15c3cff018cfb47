"""Stands in for the desktop's notification server (freedesktop.org's Desktop Notifications Specification)."""

from gi.repository import Gio, GLib

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
INTERFACE = """
<node><interface name="org.freedesktop.Notifications">
  <method name="GetCapabilities"><arg type="as" direction="out"/></method>
  <method name="Notify">
    <arg type="s" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
    <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="as" direction="in"/>
    <arg type="a{sv}" direction="in"/><arg type="i" direction="in"/><arg type="u" direction="out"/>
  </method>
  <method name="CloseNotification"><arg type="u" direction="in"/></method>
  <signal name="ActionInvoked"><arg type="u"/><arg type="s"/></signal>
</interface></node>
"""


class Notifications:
    """What applications of this session have told."""

    def __init__(self):
        self.shown = {}
        # The titles of all that was told, also of what is shown no longer.
        self.told = []
        self.bus = Gio.bus_get_sync(Gio.BusType.SESSION)
        interface = Gio.DBusNodeInfo.new_for_xml(INTERFACE).interfaces[0]
        self.bus.register_object(PATH, interface, self._called, None, None)
        Gio.bus_own_name_on_connection(self.bus, NAME, Gio.BusNameOwnerFlags.NONE, None, None)

    def _called(self, _bus, _sender, _path, _interface, method, arguments, invocation):
        answer = None
        if method == "Notify":
            _, _, _, title, body, *_ = arguments.unpack()
            self.told.append(title)
            self.shown[len(self.told)] = (title, body)
            answer = GLib.Variant("(u)", (len(self.told),))
        elif method == "GetCapabilities":
            answer = GLib.Variant("(as)", (["actions", "body"],))
        elif method == "CloseNotification":
            self.shown.pop(arguments.unpack()[0], None)
        invocation.return_value(answer)

    def titled(self, title):
        """The number of the notification with this title, if it is shown."""
        return next((number for number, (shown, _) in self.shown.items() if shown == title), None)

    def click(self, number):
        """Clicks on it, which closes it."""
        self.shown.pop(number)
        self.bus.emit_signal(None, PATH, NAME, "ActionInvoked", GLib.Variant("(us)", (number, "default")))
