#!/bin/sh
# Runs the tests and ends with what a person wants to know: what failed, what was skipped and why, how long it took.
# Usage: scripts/test.sh GO-TEST-ARGUMENTS ...
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$(date +%s)
go test -p 3 -json "$@" >"$log" 2>&1
status=$?
# Passing tests are counted, not printed; everything else is shown as it was.
go run ./scripts/testsum <"$log" || status=1
echo "time: $(($(date +%s) - start)) s"
exit $status
