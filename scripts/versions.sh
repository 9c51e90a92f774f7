#!/bin/sh
# Gets other versions of a program than the installed one from newer Debian suites, for `make test-matrix`, each with the
# libraries of its suite, into a folder of its own. Nothing is installed and nothing outside the folder changes.
# Usage: scripts/versions.sh haproxy|nginx [FOLDER]     (dist/PROGRAM when not given; FOLDER/VERSION/PROGRAM is the program)
#
# The mirror is the one this machine's apt uses. A version that is there and runs is left alone; one that cannot be had is
# reported and left out. The programs know their folder by its path: after moving it, run this again.
set -eu

program=${1:-}

# The versions of each program, with the suites to look in, the one with its libraries first. A version is the beginning of the
# package's; its folder has that name.
table() {
    case $program in
    haproxy) cat <<END ;;
3.0 trixie trixie-security
3.2 sid
3.4 sid experimental
END
    nginx) cat <<END ;;
1.26 trixie trixie-security
1.30 sid
END
    *)
        echo "versions: say which program: scripts/versions.sh haproxy|nginx [FOLDER]" >&2
        return 2
        ;;
    esac
}

table >/dev/null
folder=${2:-dist/$program}
versions=${VERSIONS:-$(table | cut -d ' ' -f 1)}

say() { echo "$program: $*"; }

suites() { table | sed -n "s/^$1 //p"; }

# repository LABEL prints where this machine's apt gets Debian (or its security updates) from.
repository() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$1|//p" | head -n 1
}

# apt COMMAND ... runs apt-get or apt-cache on the lists in $work alone, as if nothing were installed.
apt() {
    command=$1
    shift
    "$command" -q -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$work/state" -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Install-Recommends=false -o APT::Update::Post-Invoke::= -o APT::Get::List-Cleanup=false "$@"
}

sources() {
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    signed=""
    [ ! -e "$keyring" ] || signed="[signed-by=$keyring] "
    for suite in $(suites "$1"); do
        case $suite in
        *-security) from=$(repository Debian-Security) ;;
        *) from=$(repository Debian) ;;
        esac
        [ -z "$from" ] || echo "deb $signed$from $suite main"
    done
}

# tool gets patchelf, which makes a program use other libraries than the system's, from the installed suite.
tool() {
    if command -v patchelf >/dev/null 2>&1; then
        patchelf=patchelf
        return
    fi
    patchelf=$base/tools/usr/bin/patchelf
    [ ! -x "$patchelf" ] || return 0
    (cd "$scratch" && apt-get -q -o APT::Sandbox::User=root download patchelf) >>"$log" 2>&1 || return 1
    dpkg -x "$scratch"/patchelf_*.deb "$base/tools"
}

# get VERSION unpacks it to $scratch/VERSION, moves that into place and makes the program run. Its messages go to the log.
get() {
    version=$1
    work=$scratch/apt-$version
    mkdir -p "$work/state/lists/partial" "$work/lists/partial" "$work/cache/archives/partial" || return 1
    : >"$work/status"
    sources "$version" >"$work/sources.list"
    if [ ! -s "$work/sources.list" ]; then
        echo "E: this machine's apt knows no Debian mirror; is it Debian, and has apt-get update been run?"
        return 1
    fi
    apt apt-get update || return 1
    package=$(apt apt-cache madison "$program" | awk -F ' *[|] *' -v v="$version." 'index($2, v) == 1 {print $2; exit}')
    if [ -z "$package" ]; then
        echo "E: the suites $(suites "$version") have no $program $version"
        return 1
    fi
    # With an empty list of installed packages, apt finds every library that is needed.
    wanted="$program=$package"
    # Debian's nginx has the stream module in a package of its own; it takes none of another version.
    [ "$program" != nginx ] || wanted="$wanted libnginx-mod-stream=$package"
    # shellcheck disable=SC2086 # several words
    apt apt-get install -y --download-only $wanted || return 1
    new=$scratch/$version
    mkdir -p "$new" || return 1
    for deb in "$work"/cache/archives/*.deb; do
        case ${deb##*/} in
        "$program"_* | lib* | zlib1g_*) dpkg -x "$deb" "$new" || return 1 ;;
        esac
    done
    rm -rf "$new/usr/share" "${base:?}/$version"
    mv "$new" "$base/$version" || return 1
    loader=$(find "$base/$version" -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || return 1
    # Patched rather than started by its loader: a HAProxy that reloads starts itself again by the name it was started with.
    "$patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$(dirname "$loader")" "$base/$version/usr/sbin/$program" || return 1
    ln -sfn "usr/sbin/$program" "$base/$version/$program"
}

# has VERSION prints the whole version of the program that is there, such as 3.0.11.
has() {
    [ -x "$base/$1/$program" ] && "$base/$1/$program" -v 2>&1 | sed -n '1s,^[^0-9]*[ /]\([0-9][^ ]*\).*,\1,p'
}

runs() { case $(has "$1") in "$1".*) ;; *) return 1 ;; esac; }

command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || {
    say "no apt-get and dpkg here: no other versions"
    exit 0
}
mkdir -p "$folder"
base=$(cd "$folder" && pwd)
scratch=$(mktemp -d "$base/.new-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
log=$scratch/log
for version in $versions; do
    if ! runs "$version"; then
        say "getting $version from the Debian suites $(suites "$version"), with its libraries, into $folder/$version"
        if ! { tool && get "$version" >"$log" 2>&1 && runs "$version"; }; then
            say "$version cannot be had and is left out:"
            # The mirror's address is nobody's business.
            grep -E '^(E|W|Err|patchelf)' "$log" | sed -e 's,[a-z]*://[^ ]*,MIRROR,g' -e 's/^/    /' | tail -n 5
            rm -rf "${base:?}/$version"
            continue
        fi
    fi
    say "$version is $(has "$version") in $folder/$version/$program"
done
