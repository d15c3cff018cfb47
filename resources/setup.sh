#!/usr/bin/env bash
# Installs what Lodge needs on Debian 12, and on its relatives: packages, Rust, the tests' Python environment, the right to
# use /dev/kvm. Run it as often as you like: it changes nothing that is already there.
#
#   bash resources/setup.sh [--bench]
#
# --bench adds what the programs in tests/bench/ compare Lodge with.
set -euo pipefail
cd "$(dirname "$0")/.."

runtime=(
    seabios ipxe-qemu                                   # the firmware of guests, and what boots them from a network
    passt libslirp0                                     # their network without root
    gsettings-desktop-schemas adwaita-icon-theme librsvg2-common fonts-cantarell fonts-dejavu-core
)
build=(
    build-essential pkg-config ca-certificates curl git gettext libglib2.0-dev-bin
    libgtk-4-dev libadwaita-1-dev libvte-2.91-gtk4-dev libslirp-dev
)
tests=(
    xvfb xauth dbus dbus-x11 at-spi2-core               # a display and a session for the desktop application
    python3 python3-venv python3-gi gir1.2-atspi-2.0    # what drives it, and the published VNC and QMP clients
    openbox imagemagick                                 # a window manager, and pictures of the display
    tigervnc-viewer xdotool x11-xkb-utils xclip spice-vdagent qemu-utils grub-rescue-pc strace
    novnc websockify chromium                           # a viewer in a web browser, and what it reaches a screen through
    xorriso grub-common grub-pc-bin                     # what makes CDs that boot
    desktop-file-utils appstream
    linux-source-6.12 flex bison bc libelf-dev xz-utils lz4 cpio    # the Linux that is a guest of the tests
    busybox-static fio iperf3 e2fsprogs iproute2        # and its user space
    nftables dnsmasq-base                               # networks that root makes
    qemu-system-x86                                     # what finds in a machine what Linux has to find in one
)
bench=(virt-manager libvirt-daemon)

packages=("${runtime[@]}" "${build[@]}" "${tests[@]}")
for argument in "$@"; do
    case $argument in
        --bench) packages+=("${bench[@]}") ;;
        *) sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
done

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "this needs root: $*. Run it as root, or install sudo"
    fi
}

install_packages() {
    command -v dpkg-query >/dev/null || fail "this is not a Debian. Install what these packages hold: ${packages[*]}"
    local installed missing=() package
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "$package installed" <<<"$installed" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installs ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
        fail "apt-get could not install ${missing[*]}; its message is above"
}

# Whether the cargo at $1 is as new as Cargo.toml asks for.
new_enough() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$("$1" --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$found" ] && [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ]
}

# Rust comes from its own installer: Debian's is too old. The links make it work in the shell that called this script.
install_rust() {
    new_enough cargo && return 0
    local home=${CARGO_HOME:-$HOME/.cargo} program
    if ! [ -x "$home/bin/rustup" ]; then
        say "installs Rust into $home"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --no-modify-path --profile minimal --component clippy,rustfmt
    fi
    if ! new_enough "$home/bin/cargo"; then
        say "brings Rust up to date"
        "$home/bin/rustup" -q toolchain install stable --profile minimal --component clippy,rustfmt
        new_enough "$home/bin/cargo" || "$home/bin/rustup" override set stable
    fi
    new_enough cargo && return 0
    say "links Rust's programs into /usr/local/bin"
    for program in "$home"/bin/{cargo,cargo-clippy,cargo-fmt,rustc,rustdoc,rustfmt,rustup}; do
        as_root ln -sf "$program" /usr/local/bin/
    done
    hash -r
    new_enough cargo || say "put $home/bin before the others in PATH: another cargo comes first"
}

# Published clients that the tests drive Lodge with; tests/requirements.txt pins them.
install_python() {
    local venv=${XDG_CACHE_HOME:-$HOME/.cache}/lodge-test/venv
    cmp -s tests/requirements.txt "$venv/requirements.txt" && return 0
    say "makes $venv"
    /usr/bin/python3 -m venv --clear --system-site-packages "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt "$venv/"
}

allow_kvm() {
    if ! [ -e /dev/kvm ]; then
        say "there is no /dev/kvm here: switch on virtualization in the firmware's settings, or load kvm_intel or kvm_amd"
    elif ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
        if ! id -nG "$(id -un)" | grep -qw kvm; then
            as_root usermod -aG kvm "$(id -un)"
        fi
        say "$(id -un) may use /dev/kvm from the next login on"
    fi
}

install_packages
install_rust
install_python
allow_kvm
