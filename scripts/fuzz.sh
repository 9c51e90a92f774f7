#!/bin/sh
# Runs every fuzz target of the tree, one after the other, for the time given; when none is given, a minute each for those of
# the SPOE decoders, which read what comes from the network, and ten seconds for the others.
set -eu
for package in $(go list ./...); do
    case $package in
    */spoa) time=${1:-60s} ;;
    *) time=${1:-10s} ;;
    esac
    for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
        echo "== $package $target ($time)"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$package"
    done
done
