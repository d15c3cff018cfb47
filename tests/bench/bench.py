"""Runs the benchmarks that are named, or all of them, and prints their table. Called by run.sh."""

import contextlib
import pathlib
import sys
import tempfile

import application
import engines
import fio
import idle
import images
import memory
import network
import stalls
import start
import storm


def alone(benchmark):
    """With a library of its own: what the list shows counts."""
    def run(lodge):
        with tempfile.TemporaryDirectory(dir=lodge.folder) as folder:
            with engines.Lodge(lodge.programs, pathlib.Path(folder)) as own:
                return benchmark(own)
    return run


BENCHMARKS = {
    "start": start.run,
    "memory": memory.run,
    "idle": idle.run,
    "fio": fio.run,
    "fio-qcow2": fio.run_qcow2,
    "images": images.run,
    "application": application.run,
    "fifty": alone(application.run_fifty),
    "stalls": alone(stalls.run),
    "thousand": alone(stalls.run_thousand),
    "storm": alone(storm.run),
    "storm-window": alone(storm.run_window),
    "network": network.run,     # the last: it leaves this network
}


def main():
    programs, *names = sys.argv[1:]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}. There are {', '.join(BENCHMARKS)}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="lodge-bench.", dir="/tmp") as folder, contextlib.ExitStack() as stack:
        lodge = stack.enter_context(engines.Lodge(pathlib.Path(programs), pathlib.Path(folder)))
        for name in names or BENCHMARKS:
            print(f"-- {name}", file=sys.stderr)
            rows += BENCHMARKS[name](lodge)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in [("", "Lodge", "beside it", "promise"), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, map(max, widths, (0, 5, 9, 7)))).rstrip())


if __name__ == "__main__":
    main()
