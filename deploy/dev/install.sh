#!/usr/bin/env bash
# Installs what the services need and this machine lacks: Debian packages, and Kafka's jars from Maven Central into a
# cache outside the clone. Usage: install.sh [kafka] [postgres] [mosquitto] [grpc]; sourced by services.sh as well.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/yiwang
kafka_libs=$cache/kafka-$(sed -n '/kafka_2.13/{n;s/.*<version>\(.*\)<.*/\1/p}' "$here/kafka/pom.xml")

fail() { echo "services: $*" >&2; exit 1; }

# Installs a Debian package unless a program of it is there.
package() { # PROGRAM PACKAGE…
  command -v "$1" >/dev/null && return
  shift
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  command -v apt-get >/dev/null || fail "install $* by hand: this is no Debian system"
  echo "services: installing $*" >&2
  if ! DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y "$@" >/dev/null 2>&1; then
    "${sudo[@]}" apt-get update -qq >&2 || fail "failed to update the list of packages"
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y "$@" >/dev/null ||
      fail "failed to install $*; as another user: sudo apt-get install $*"
  fi
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

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  for name in "${@:-kafka}"; do "install_$name"; done
fi
