"""Drives a guest with PyPI's qemu.qmp, as a script of somebody else's would: client.py CONTROL-SOCKET PICTURE."""

import asyncio
import os
import sys

from qemu.qmp import EventListener, ExecuteError, QMPClient


async def main(socket, picture):
    client = QMPClient("lodge-test")
    events = EventListener()
    client.register_listener(events)
    await client.connect(socket)

    status = await client.execute("query-status")
    assert status["status"] == "running", status
    commands = {command["name"] for command in await client.execute("query-commands")}
    assert {"stop", "cont", "screendump", "quit"} <= commands, commands

    await client.execute("stop")
    assert (await asyncio.wait_for(events.get(), 60))["event"] == "STOP"
    await client.execute("cont")
    assert (await asyncio.wait_for(events.get(), 60))["event"] == "RESUME"

    try:
        await client.execute("send-key", {"keys": [{"type": "qcode", "data": "no-such-key"}]})
        raise AssertionError("a key that is none was taken")
    except ExecuteError as error:
        assert "no-such-key" in str(error), error

    balloon = {"path": "/machine/peripheral/balloon0"}
    await client.execute("qom-set", balloon | {"property": "guest-stats-polling-interval", "value": 1})
    stats = await client.execute("qom-get", balloon | {"property": "guest-stats"})
    assert stats["last-update"] == 0 and "stat-total-memory" in stats["stats"], stats
    assert await client.execute("query-balloon") == {"actual": (await client.execute("x-lodge-statistics"))["memory"]["total"]}
    try:
        await client.execute("set_link", {"name": "net0", "up": False})
        raise AssertionError("a card that is none has lost its link")
    except ExecuteError as error:
        assert error.error_class == "DeviceNotFound", error

    file = os.open(picture, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    client.send_fd_scm(file)
    added = await client.execute("add-fd")
    await client.execute("screendump", {"filename": f"/dev/fdset/{added['fdset-id']}", "format": "png"})
    await client.execute("remove-fd", {"fdset-id": added["fdset-id"]})
    os.close(file)

    await client.execute("quit")
    assert (await asyncio.wait_for(events.get(), 60))["event"] == "SHUTDOWN"
    try:
        await client.disconnect()
    except EOFError:
        # The guest has ended: it may be the first to hang up.
        pass


asyncio.run(main(sys.argv[1], sys.argv[2]))
