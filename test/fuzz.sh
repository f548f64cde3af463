#!/usr/bin/env bash
# Runs every fuzz target, also those of the modules below test, for FUZZTIME
# each, one after another. What a target fails with is written to its
# testdata/fuzz; commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

# fuzz MODULE fuzzes all targets of the module in that folder.
fuzz() {
	local package targets target
	for package in $(go -C "$1" list ./...); do
		targets=$(go -C "$1" test -list '^Fuzz' "$package")
		for target in $(grep '^Fuzz' <<<"$targets" || true); do
			found=1
			echo "== $package $target"
			# Making an interesting input small may take a minute by default,
			# which would leave no time to look for others.
			go -C "$1" test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 1s "$package"
		done
	done
}

found=0
fuzz .
for module in test/*/; do
	if [ -f "$module/go.mod" ] && grep -qs '^func Fuzz' "$module"/*_test.go; then
		fuzz "$module"
	fi
done
if [ $found -eq 0 ]; then
	echo "fuzz: there are no targets" >&2
	exit 1
fi
