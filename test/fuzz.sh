#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."

found=0
for package in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$targets" || true); do
		found=1
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package"
	done
done
if [ $found -eq 0 ]; then
	echo "fuzz: there are no targets" >&2
	exit 1
fi
