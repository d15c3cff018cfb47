#!/usr/bin/env bash
# Builds the stock Linux kernel of the tests: build.sh OUTDIR -> OUTDIR/vmlinux (ELF with a PVH note) and OUTDIR/bzImage.
# Source: Debian's linux-source-6.12 package; two instructions are taken out, for where KVM has no VT-x/AMD-V its emulator lacks
# int3 (which a test of the kernel's own uses) and fwait (which ending tasks use). report.c is put in.
# About 5 minutes on 2 cores; give OUTDIR a lasting place outside the checkout.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
key=$( (cat "$here"/build.sh "$here"/config "$here"/report.c; dpkg-query -W -f '${Version}' linux-source-6.12) | sha256sum | cut -c1-16)
[ -s "$out/bzImage" ] && [ "$(cat "$out/key" 2>/dev/null)" = "$key" ] && { echo "up to date: $out"; exit 0; }
work=$out/work
rm -rf "$work"
mkdir -p "$work"
tar -C "$work" --strip-components=1 -xf /usr/src/linux-source-6.12.tar.xz
cd "$work"
sed -i '/^\tint3_selftest();$/d' arch/x86/kernel/alternative.c
sed -i 's/"1: fwait\\n"/"1: nop\\n"/' arch/x86/kernel/fpu/core.c
cp "$here/report.c" drivers/virtio/report.c
echo 'obj-y += report.o' >>drivers/virtio/Makefile
make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config "$here/config" >/dev/null
make -s olddefconfig
while read -r line; do
  case $line in CONFIG_*) grep -qx "$line" .config || { echo "the kernel's build does not take $line"; exit 1; } ;; esac
done < "$here/config"
make -s -j"$(nproc)" bzImage vmlinux >"$out/build.log" 2>&1 || { tail -20 "$out/build.log"; exit 1; }
cp .config "$out/config"
cp arch/x86/boot/bzImage "$out/"
strip --strip-debug -o "$out/vmlinux" vmlinux
echo "$key" > "$out/key"
rm -rf "$work"
echo "built: $out"
