"""A definition of a newer version and one with a typing error are listed with their reasons, and not touched."""

import os

from driver import run

GUESTS = os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests")


def write(name, text):
    folder = os.path.join(GUESTS, name)
    os.makedirs(folder)
    path = os.path.join(folder, "guest.toml")
    with open(path, "w") as file:
        file.write(text)
    return path, text


FILES = [
    write("newer", 'version = 99\nuuid = "7d444840-9dc0-11d1-b245-5ffdce74fad2"\nmemory = "1 GiB"\n'),
    write("typo", 'version = 1\nuuid = "8d444840-9dc0-11d1-b245-5ffdce74fad2"\nmemory = "1 GiB"\nmemroy = 3\n'),
]


def test(application):
    window = application.window("Lodge")
    newer = window.find("list item", contains="newer")
    typo = window.find("list item", contains="typo")
    assert "99" in newer.name, newer.name
    assert "memroy" in typo.name, typo.name
    application.screenshot("list")
    newer.click()
    application.keys("ctrl+r")
    application.keys("Return")
    for path, text in FILES:
        with open(path) as file:
            assert file.read() == text


run(test)
