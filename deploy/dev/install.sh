#!/usr/bin/env bash
# Installs what the services and tests need and this machine lacks: Debian packages, and into a cache outside the
# clone Kafka's jars from Maven Central, Python clients from PyPI, and promtool.
#
#   install.sh NAME…            kafka postgres mosquitto python promtool packages; prints assignments like `env` of
#                               services.sh; `packages` is followed by the names of Debian packages
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/yiwang
kafka_libs=$cache/kafka-$(sed -n '/kafka_2.13/{n;s/.*<version>\(.*\)<.*/\1/p}' "$here/kafka/pom.xml")

fail() { echo "services: $*" >&2; exit 1; }

# Installs Debian packages without letting them start a server of their own, which would take the usual ports.
apt_install() {
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  "${sudo[@]}" sh -c '
    guard=/usr/sbin/policy-rc.d
    if [ ! -e $guard ]; then
      trap "rm -f $guard" EXIT
      printf "#!/bin/sh\nexit 101\n" >$guard && chmod +x $guard
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y "$@" || { apt-get update -qq && apt-get install -qq -y "$@"; }
  ' sh "$@" >/dev/null
}

# Installs packages unless a program of theirs is there.
package() { # PROGRAM PACKAGE…
  command -v "$1" >/dev/null && return
  shift
  command -v apt-get >/dev/null || fail "install $* by hand: this is no Debian system"
  echo "services: installing $*" >&2
  apt_install "$@" || fail "failed to install $*; try: sudo apt-get install $*"
}

# The folder of initdb and pg_ctl, which Debian keeps off the PATH.
postgres_bin() {
  local folders=(/usr/lib/postgresql/*/bin)
  [ -x "${folders[-1]}/initdb" ] && { echo "${folders[-1]}"; return; }
  local initdb
  initdb=$(command -v initdb) || return 1
  dirname "$initdb"
}

install_kafka() {
  package java default-jre-headless
  package kcat kcat
  [ -e "$kafka_libs/.complete" ] && return
  package mvn maven
  echo "services: fetching Kafka into $kafka_libs" >&2
  mkdir -p "$kafka_libs"
  (cd "$here/kafka" && mvn -q -B dependency:copy-dependencies -DoutputDirectory="$kafka_libs" \
    -DincludeScope=runtime) >&2 || fail "failed to fetch Kafka from Maven Central"
  touch "$kafka_libs/.complete"
}

install_postgres() {
  postgres_bin >/dev/null || package initdb postgresql
  postgres_bin >/dev/null || fail "PostgreSQL is installed, but initdb was not found"
  package psql postgresql-client
}

install_mosquitto() {
  PATH=$PATH:/usr/sbin package mosquitto mosquitto
  package mosquitto_pub mosquitto-clients
}

# Clients in another language than ours: what a partner would write.
install_python() {
  local venv=$cache/python
  if ! cmp -s "$here/requirements.txt" "$venv/.complete"; then
    if ! python3 -c 'import ensurepip' 2>/dev/null; then apt_install python3-venv python3-pip; fi
    echo "services: making $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2 ||
      fail "failed to fetch the Python clients from PyPI"
    cp "$here/requirements.txt" "$venv/.complete"
  fi
  echo "YIWANG_TEST_PYTHON=$venv/bin/python"
}

# The program alone: the package would start a server on the hub's own port 9090.
install_promtool() {
  local program=$cache/promtool
  if command -v promtool >/dev/null; then
    program=$(command -v promtool)
  elif [ ! -x "$program" ]; then
    local unpacked
    unpacked=$(mktemp -d)
    mkdir -p "$cache"
    (cd "$unpacked" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } \
      && dpkg -x prometheus_*.deb . && mv usr/bin/promtool "$program") >&2 || fail "failed to fetch promtool"
    rm -rf "$unpacked"
  fi
  echo "YIWANG_TEST_PROMTOOL=$program"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  if [ "${1:-}" = packages ]; then
    shift
    apt_install "$@"
  else
    for name in "$@"; do "install_$name"; done
  fi
fi
