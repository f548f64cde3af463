#!/usr/bin/env bash
# Installs what the tests need beyond Go, git, make and Node: a C++ compiler
# (the race detector and DuckDB are linked with it), shellcheck, Python's cryptography,
# systemd-analyze, PostgreSQL, Chromium with a font, and the packages of test/sdk,
# test/kit and test/browser. Go fetches its modules itself. Run again, it changes
# nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	echo "setup: $*" >&2
	exit 1
}

for tool in go git make node npm; do
	command -v "$tool" >/dev/null || fail "$tool is missing: install it first"
done
node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' ||
	fail "node $(node --version) is too old: 20 or later is needed"

compiles() { echo 'int main() { return 0; }' | "$1" -x "$2" -o /dev/null - 2>/dev/null; }

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

apt_install() {
	echo "setup: installing $*"
	command -v apt-get >/dev/null || fail "one of $* is missing, and there is no apt-get to install it with"
	export DEBIAN_FRONTEND=noninteractive
	"${as_root[@]}" apt-get -qq update
	"${as_root[@]}" apt-get -qq install --no-install-recommends "$@"
}

if ! compiles gcc c || ! compiles g++ c++; then
	apt_install gcc g++ libc6-dev
	compiles gcc c && compiles g++ c++ || fail "gcc and g++ do not work after their installation"
fi
command -v shellcheck >/dev/null || apt_install shellcheck
# For docs/verify_manifests.py, which is run with the distribution's Python.
if ! /usr/bin/python3 -c 'import cryptography' 2>/dev/null; then
	apt_install python3 python3-cryptography
	/usr/bin/python3 -c 'import cryptography' || fail "python3-cryptography does not work after its installation"
fi

# Only systemd-analyze is wanted. The package starts nothing, and does not become
# the init of what has another.
command -v systemd-analyze >/dev/null || apt_install systemd

# The programs only: tests start servers of their own, and the distribution's
# cluster is neither made nor started.
postgres_installed() {
	command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}
if ! postgres_installed; then
	apt_install postgresql-common
	"${as_root[@]}" sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
	apt_install postgresql
	postgres_installed || fail "PostgreSQL is not there after its installation"
fi
command -v chromium >/dev/null || apt_install chromium fonts-dejavu-core

# npm ci begins by removing everything, so not without need.
for packages in test/sdk test/kit test/browser; do
	if ! cmp -s $packages/package-lock.json $packages/node_modules/.installed; then
		npm ci --prefix $packages --no-audit --no-fund
		cp $packages/package-lock.json $packages/node_modules/.installed
	fi
done
