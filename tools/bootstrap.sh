# Sourced by tools/demo and tools/test: from a bare machine to .venv.
#
# Needs git and Python 3.11 or newer. What else is missing comes from apt if
# we are root; otherwise the command to run is printed and we stop.
# Everything of Python goes to .venv and .tox in this folder. Where packages
# come from is the user's pip and apt configuration, as it stands.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
logs=$root/.tox/log

# Settings meant for other environments that would break this one.
unset PYTHONHOME PYTHONPATH PIP_PREFIX PIP_TARGET VIRTUAL_ENV
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

# The distribution's own first: its headers and libvirt come from apt too.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3 \
            python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
                2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die 'Python 3.11 or newer is needed; set PYTHON to its path.'
}

# One line for each Debian package that the machine still lacks.
missing_packages() {
    local header='import os, sysconfig as s; print(os.path.join(
        s.get_path("include"), "Python.h"))'
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -e "$("$python" -c "$header")" ] || echo python3-dev
    command -v gcc >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists libvirt 2>/dev/null || echo libvirt-dev
    # nova's libvirt driver runs it.
    command -v uptime >/dev/null || echo procps
}

# Usage: logged NAME COMMAND...
logged() { "${@:2}" >>"$logs/$1.log" 2>&1 </dev/null; }

failed() {
    tail -n 20 "$logs/$1.log" >&2
    die "$1 failed; all it said is in $logs/$1.log"
}

apt() {
    DEBIAN_FRONTEND=noninteractive logged apt apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

apt_install() {
    say "Installing with apt: $*"
    # The lists may be absent or stale; asking for new ones takes a while.
    apt install --no-install-recommends "$@" \
        || { apt update && apt install --no-install-recommends "$@"; }
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "This machine lacks what Debian calls
    ${packages[*]}
and has no apt-get. Install them, then run this command again."
    [ "$(id -u)" -eq 0 ] || die "Some packages are missing. Run as root:
    apt-get update && apt-get install -y ${packages[*]}
then run this command again."
    apt_install "${packages[@]}" || failed apt
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} -eq 0 ] || die "Still missing: ${packages[*]}"
}

# What can be done without, where we may install it.
want_packages() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 0
    apt_install "$@" || say "Going on without $*"
}

# What .venv was made from; the path, since a moved environment is broken.
fingerprint() {
    { echo "$root"; readlink -f "$python"; "$python" -VV
      cat "$root/constraints.txt" "${BASH_SOURCE[0]}"; } | sha256sum
}

make_venv() {
    say 'Creating .venv'
    rm -rf "$venv"
    "$python" -m venv "$venv"
    (cd "$root" && logged pip "$venv/bin/python" -m pip install \
        -c constraints.txt tox) || failed pip
    fingerprint >"$venv/fingerprint"
}

# A second command waits here for the first one.
bootstrap() {
    [ ! -e "$venv" ] || [ -d "$venv" ] || die "$venv is in the way: not a folder."
    mkdir -p "$logs"
    exec {lock}>"$root/.tox/lock"
    flock -n "$lock" || { say 'Another set-up is running here; waiting for it.'
                          flock "$lock"; }
    python=$(find_python)
    if [ "$(fingerprint)" != "$(cat "$venv/fingerprint" 2>/dev/null)" ]; then
        rm -f "$logs"/{apt,pip}.log
        install_packages
        make_venv
    fi
    exec {lock}>&-
}
