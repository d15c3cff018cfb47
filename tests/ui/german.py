"""Run from the checkout, the application speaks the language that is asked for."""

import os

from driver import run

os.environ["LANGUAGE"] = "de"


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("Noch keine Gäste")
    window.find("push button", "Neuer Gast …").press()
    wizard = application.window("Neuer Gast")
    wizard.wait_for_text("Schritt 1 von 5")
    application.screenshot("wizard")


run(test)
