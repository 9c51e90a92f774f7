#!/bin/sh
# Runs every fuzz target of the tree for the time given, one after the other.
set -eu
time=${1:-10s}
for package in $(go list ./...); do
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
        echo "== $package $target ($time)"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$package"
    done
done
