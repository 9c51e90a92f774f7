#!/bin/sh
# Gets gunicorn 25.1 or later, which has a control socket, from Debian's unstable suite for `make test-matrix`. It is pure
# Python and is run by this machine's python3. Nothing is installed and nothing outside the folder changes.
# Usage: scripts/gunicorn-version.sh [FOLDER]     (dist/gunicorn when not given; FOLDER is what PYTHONPATH needs)
#
# The mirror is the one this machine's apt uses. When it cannot be had, that is reported, and the tests skip.
set -eu

folder=${1:-dist/gunicorn}
say() { echo "gunicorn-version: $*"; }
runs() {
    PYTHONPATH=$folder python3 -c '
import gunicorn, sys
sys.exit(gunicorn.version_info[:2] < (25, 1))' 2>/dev/null
}

if [ -d "$folder/gunicorn" ] && runs; then
    exit 0
fi
command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || {
    say "no apt-get and dpkg here: no newer gunicorn"
    exit 0
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# apt COMMAND ... runs apt-get or apt-cache on the lists in $work alone, as if nothing were installed.
apt() {
    command=$1
    shift
    "$command" -q -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$work/state" -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Update::Post-Invoke::= "$@"
}

get() {
    mkdir -p "$work/state/lists/partial" "$work/lists/partial" "$work/cache/archives/partial" "$work/new"
    : >"$work/status"
    mirror=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|//p' | head -n 1)
    [ -n "$mirror" ] || return 1
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    signed=""
    [ ! -e "$keyring" ] || signed="[signed-by=$keyring] "
    echo "deb $signed$mirror sid main" >"$work/sources.list"
    apt apt-get update && (cd "$work" && apt apt-get download python3-gunicorn) && dpkg -x "$work"/python3-gunicorn_*.deb "$work/new"
}

say "getting gunicorn from the Debian suite sid into $folder"
if get >"$work/log" 2>&1; then
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    mv "$work/new/usr/lib/python3/dist-packages" "$folder"
fi
if [ -d "$folder/gunicorn" ] && runs; then
    say "$(PYTHONPATH=$folder python3 -c 'import gunicorn; print(gunicorn.__version__)') is in $folder"
else
    say "it cannot be had and is left out:"
    # The mirror's address is nobody's business.
    grep -E '^(E|W|Err)' "$work/log" | sed -e 's,[a-z]*://[^ ]*,MIRROR,g' -e 's/^/    /' | tail -n 5
    rm -rf "$folder"
fi
