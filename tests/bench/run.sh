#!/usr/bin/env bash
# Measures Lodge beside QEMU and virt-manager, on this machine, in one run, and prints a table.
#
#   bash resources/setup.sh --bench && bash tests/bench/run.sh [start|memory|idle|fio|fio-qcow2|images|application|fifty|stalls|
#       thousand|storm|storm-window|network]...
#
# Figures are medians; the machine should have nothing else to do. Everything happens in folders of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
for program in qemu-system-x86_64 virt-manager Xvfb; do
    command -v "$program" >/dev/null || { echo "$program is missing. Run: bash resources/setup.sh --bench"; exit 1; }
done
cargo build --locked --release
exec /usr/bin/python3 tests/bench/bench.py "$PWD/target/release" "$@"
