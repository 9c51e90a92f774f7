#!/bin/sh
# Installs the Debian packages that the demo or the tests need and that are missing; says so first.
# Usage: scripts/deps.sh PROGRAM[=PACKAGE[,PACKAGE]] ...   (or /PATH/TO/A/FILE=PACKAGE for what is no program)
# The services that packages would start on installation are kept from starting, and nothing else on the machine changes.
set -eu

missing=""
for spec in "$@"; do
    program=${spec%%=*}
    package=${spec#*=}
    if ! [ -e "$program" ] && ! PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1; then
        missing="$missing $(echo "$package" | tr , ' ')"
    fi
done
[ -n "$missing" ] || exit 0

echo "tidegate: these Debian packages are missing and will be installed with apt-get:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "tidegate: that needs root; run this as root, or install them yourself:  apt-get install$missing" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "tidegate: there is no apt-get here; install these yourself:$missing" >&2
    exit 1
fi

# A package's start script asks this file whether it may start a service (invoke-rc.d); 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086  # a list of package names
    apt-get install -y --no-install-recommends $missing
}
# The package lists of a fresh machine are empty or old, so a first try may fail.
if ! install >"$log" 2>&1; then
    if ! { apt-get update && install; } >"$log" 2>&1; then
        cat "$log" >&2
        echo "tidegate: apt-get could not install:$missing" >&2
        rm -f "$log"
        exit 1
    fi
fi
rm -f "$log"
echo "tidegate: installed"
