#!/bin/sh
# What each default of the sizing policy is worth: plays the built-in traces with the defaults, then with each of them halved and
# doubled, and prints slow requests, worker-hours and reversals of direction, means over the runs. Some minutes.
# Usage: scripts/sensitivity.sh TIDEGATE [ARGUMENTS OF SIMULATE ...], as in: scripts/sensitivity.sh bin/tidegate --seed 301 --seeds 3
set -eu
tidegate=${1:?the tidegate binary is missing}
shift
# Seed 201 was not used to choose the defaults. depcap is left out because nobody can do anything about its slow requests, and
# day because it takes as long as all others.
case " $* " in *" --seed"*) ;; *) set -- --seed 201 "$@" ;; esac
case " $* " in *" --trace"*) ;; *)
    for trace in slow quick spike steps push outage drop nodeloss slowsvc zerometrics mix-a mix-b; do
        set -- "$@" --trace "$trace"
    done
    ;;
esac
runs=$(mktemp)
trap 'rm -f "$runs"' EXIT

# row NAME ARGUMENTS ...: one line of the table.
row() {
    name=$1
    shift
    "$tidegate" simulate --policy tidegate --oracle none -o csv "$@" >"$runs"
    awk -F, -v name="$name" -v base="${base:-0}" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        { slow += $column["slow_share"]; hours += $column["worker_hours"]; turns += $column["reversals_per_hour"]; n++ }
        END {
            if (n == 0) exit 1
            printf "%-28s %8.3f %8.1f %4.2fx %12.2f\n", name, 100 * slow / n, hours / n, base ? hours / n / base : 1, turns / n
        }' "$runs"
}

printf '%-28s %8s %14s %12s\n' setting 'slow %' worker-hours reversals/h
first=$(row defaults "$@")
echo "$first"
base=$(echo "$first" | awk '{ print $3 }')
# Of erlang.reserve the part above 1 is halved and doubled.
for set in \
    erlang.max_wait=0.1 erlang.max_wait=0.4 erlang.max_late=0.05 erlang.max_late=0.2 erlang.service_cv=0.5 erlang.service_cv=2 \
    erlang.reserve=1.03 erlang.reserve=1.12 lead_time=22500ms lead_time=90s slo=250ms slo=1s up.tolerance=0.015 up.tolerance=0.06 \
    down.window=15s down.window=1m down.every=15s down.every=1m down.share=0.25 down.share=1 down.tolerance=0.06 down.tolerance=0.24 \
    collapse_guard.drop=0.125 collapse_guard.drop=0.5 collapse_guard.hold=10m collapse_guard.hold=40m futility.probe=150s futility.probe=10m; do
    row "$set" "$@" --set "$set"
done
