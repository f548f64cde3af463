#!/usr/bin/env bash
# Runs every check and test, also after one has failed, and exits with 0 only
# if all have passed. This is `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# Whatever tests leave behind goes with this folder.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'chmod -R u+w "$TMPDIR"; rm -rf "$TMPDIR"' EXIT

summary=
failed=0

# step NAME COMMAND... runs a command and notes how it went.
step() {
	local name=$1 start=$SECONDS result=passed
	shift
	printf '\n== %s\n' "$name"
	"$@" || result=FAILED
	[ "$result" = passed ] || failed=1
	summary+=$(printf '%-10s %s, %d s' "$name" "$result" $((SECONDS - start)))$'\n'
}

step setup test/setup.sh
[ $failed -eq 0 ] || exit 1
step check make --no-print-directory check
step go env CGO_ENABLED=1 go test -race -shuffle=on -timeout 20m ./...
step duckdb env CGO_ENABLED=1 go -C test/duckdb test -race -shuffle=on ./...
step versitygw env CGO_ENABLED=1 go -C test/versitygw test -race -shuffle=on ./...
step promtool env CGO_ENABLED=1 go -C test/promtool test -race -shuffle=on ./...
step deploy env CGO_ENABLED=1 go -C test/deploy test -race -shuffle=on ./...
step browser env CGO_ENABLED=1 go -C test/browser test -race -shuffle=on ./...
step kit env CGO_ENABLED=1 go -C test/kit test -race -shuffle=on ./...
step kit-js npm --prefix test/kit test
step sdk npm --prefix test/sdk test

printf '\n%stotal      %d s\n' "$summary" $SECONDS
exit $failed
