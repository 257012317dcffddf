#!/usr/bin/env bash
# Kafka, PostgreSQL and Mosquitto for development and tests: real servers, on loopback, each on a port of its own,
# with their data in a temporary folder.
#
#   services.sh up [NAME…]      installs what is missing, starts, waits until each answers, prints their addresses
#   services.sh down [NAME…]    stops them by pid; without names the data goes too
#   services.sh status          who answers; fails if one does not
#   services.sh env             their addresses as shell assignments
#   services.sh guard PID       stops all of them when that process is gone, however it went
#
# NAME is kafka, postgres or mosquitto. YIWANG_SERVICES_DIR chooses the folder: two folders are two sets of servers.
# `down` and `up` of one name keep its data and port, which is how a test takes a server away and gives it back.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/install.sh"
dir=${YIWANG_SERVICES_DIR:-${TMPDIR:-/tmp}/yiwang-services-$(id -u)}
all=(kafka postgres mosquitto)
answer_max_s=90

# ---- ports, processes -------------------------------------------------------------------------------------------

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The port of a service: the one it had, else the first from START on that is free and not given away, to another set
# neither.
port() { # NAME START
  local file=$dir/$1.port port=$2
  if [ ! -e "$file" ]; then
    while listens "$port" || grep -qsx "$port" "$dir"/*.port "$(dirname "$dir")"/yiwang-services-*/*.port; do
      port=$((port + 1))
    done
    echo "$port" >"$file"
  fi
  cat "$file"
}

# Starts a process that outlives this script. Its command line names the folder, so that `stop` can be sure of it.
start() { # NAME COMMAND…
  local name=$1
  shift
  setsid "$@" >>"$dir/$name/out.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

alive() { # NAME
  local pid
  pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir/$1"
}

# Waits until a condition holds; the process must live meanwhile.
wait_until() { # NAME CONDITION…
  local name=$1 begun=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    if ! alive "$name" || [ $((SECONDS - begun)) -gt $answer_max_s ]; then
      tail -n 20 "$dir/$name/out.log" >&2
      fail "$name does not answer; its words stand above and in $dir/$name/out.log"
    fi
    sleep 0.1
  done
}

stop() { # NAME SIGNAL
  local name=$1 pid begun=$SECONDS
  if alive "$name"; then
    pid=$(cat "$dir/$name.pid")
    kill "-$2" "$pid"
    while alive "$name"; do
      [ $((SECONDS - begun)) -le 30 ] || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.1
    done
  fi
  rm -f "$dir/$name.pid"
}

# ---- Kafka, one KRaft node --------------------------------------------------------------------------------------

kafka_tool() { java -Xmx256m -cp "$kafka_libs/*" "$@"; }

# Clients go on with the address that a broker names. For tests that put a proxy in between, a second listener names
# the port `kafka-front`, where nobody listens but such a proxy, which carries to `kafka-back`.
up_kafka() {
  local port cport front back home=$dir/kafka
  port=$(port kafka 19092) cport=$(port kafka-controller 19192)
  front=$(port kafka-front 19292) back=$(port kafka-back 19392)
  if [ ! -e "$home/formatted" ]; then
    mkdir -p "$home"
    cat >"$home/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$cport
listeners=PLAINTEXT://127.0.0.1:$port,PROXIED://127.0.0.1:$back,CONTROLLER://127.0.0.1:$cport
advertised.listeners=PLAINTEXT://127.0.0.1:$port,PROXIED://127.0.0.1:$front
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$home/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
    kafka_tool kafka.tools.StorageTool format -t "$(kafka_tool kafka.tools.StorageTool random-uuid 2>/dev/null)" \
      -c "$home/server.properties" >"$home/format.log" 2>&1 || { cat "$home/format.log" >&2; fail "failed to format $home"; }
    touch "$home/formatted"
  fi
  start kafka java -Xmx512m -Dlog4j2.configurationFile="$here/kafka/log4j2.yaml" -cp "$kafka_libs/*" \
    kafka.Kafka "$home/server.properties"
}

answers_kafka() { kcat -b "127.0.0.1:$(cat "$dir/kafka.port")" -L -m 1; }
down_kafka() { stop kafka TERM; }

# ---- PostgreSQL, never as root ----------------------------------------------------------------------------------

as_postgres() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

up_postgres() {
  local port home=$dir/postgres bin
  port=$(port postgres 15432) bin=$(postgres_bin)
  if [ ! -e "$home/data/PG_VERSION" ]; then
    mkdir -p "$home"
    touch "$home/out.log"
    if [ "$(id -u)" = 0 ]; then chown -R postgres "$home"; fi
    as_postgres "$bin/initdb" -D "$home/data" -U postgres -A trust -E UTF8 --no-locale --data-checksums \
      >"$home/out.log" 2>&1 || { cat "$home/out.log" >&2; fail "failed to make a database cluster in $home"; }
  fi
  if [ "$(id -u)" = 0 ]; then
    start postgres runuser -u postgres -- "$bin/postgres" -D "$home/data" -p "$port" \
      -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
  else
    start postgres "$bin/postgres" -D "$home/data" -p "$port" \
      -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
  fi
}

answers_postgres() {
  psql "postgres://postgres@127.0.0.1:$(cat "$dir/postgres.port")/postgres" -qAtc 'SELECT 1'
}

# SIGINT is PostgreSQL's fast shutdown. Under root the pid is runuser's, which hands only TERM on: the postmaster's own
# pid stands in its folder, and it is gone when all its children are.
down_postgres() {
  local pid
  pid=$(head -n 1 "$dir/postgres/data/postmaster.pid" 2>/dev/null || true)
  if alive postgres && [ -n "$pid" ]; then kill -INT "$pid"; fi
  local begun=$SECONDS
  while alive postgres && [ $((SECONDS - begun)) -le 30 ]; do sleep 0.1; done
  stop postgres TERM
}

# ---- Mosquitto, durable -----------------------------------------------------------------------------------------

up_mosquitto() {
  local port home=$dir/mosquitto
  port=$(port mosquitto 18830)
  mkdir -p "$home/data"
  cat >"$home/mosquitto.conf" <<CONF
listener $port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $home/data/
autosave_interval 1
max_queued_messages 0
max_inflight_messages 0
log_dest stdout
log_type error
log_type warning
CONF
  # As root it drops to its own user, which must be able to write.
  if [ "$(id -u)" = 0 ]; then chown -R mosquitto "$home/data"; fi
  PATH=$PATH:/usr/sbin start mosquitto mosquitto -c "$home/mosquitto.conf"
}

answers_mosquitto() {
  mosquitto_pub -h 127.0.0.1 -p "$(cat "$dir/mosquitto.port")" -q 1 -t yiwang/probe -n
}
down_mosquitto() { stop mosquitto TERM; }

# ---- commands ---------------------------------------------------------------------------------------------------

up() {
  mkdir -p "$dir"
  chmod o+x "$dir"
  local name
  for name in "$@"; do "install_$name"; done
  # Two sets that start at once must not choose the same port.
  exec 9>"${TMPDIR:-/tmp}/yiwang-services.lock"
  flock 9
  for name in "$@"; do alive "$name" || "up_$name" 9>&-; done
  for name in "$@"; do wait_until "$name" "answers_$name"; done
  flock -u 9
  env
}

down() {
  [ -d "$dir" ] || return 0
  local name
  for name in "${@:-${all[@]}}"; do "down_$name"; done
  [ $# -gt 0 ] || rm -rf "$dir"
}

status() {
  local name failed=0
  for name in "${all[@]}"; do
    if alive "$name" && "answers_$name" >/dev/null 2>&1; then
      echo "$name answers on 127.0.0.1:$(cat "$dir/$name.port"), pid $(cat "$dir/$name.pid")"
    else
      echo "$name does not answer"
      failed=1
    fi
  done
  return $failed
}

env() {
  local name
  echo "YIWANG_SERVICES_DIR=$dir"
  echo "YIWANG_TEST_SERVICES=$here/services.sh"
  for name in "${all[@]}"; do
    [ -e "$dir/$name.port" ] || continue
    local address
    address=127.0.0.1:$(cat "$dir/$name.port")
    case $name in
      kafka)
        echo "YIWANG_TEST_KAFKA=$address"
        echo "YIWANG_TEST_KAFKA_FRONT=127.0.0.1:$(cat "$dir/kafka-front.port")"
        echo "YIWANG_TEST_KAFKA_BACK=127.0.0.1:$(cat "$dir/kafka-back.port")"
        ;;
      postgres) echo "YIWANG_TEST_POSTGRES=postgres://postgres@$address/postgres" ;;
      mosquitto)
        echo "YIWANG_TEST_MQTT=$address"
        echo "YIWANG_TEST_MOSQUITTO=$(PATH=$PATH:/usr/sbin command -v mosquitto)"
        ;;
    esac
  done
}

# What a test run starts goes with it, even if it is killed.
guard() { # PID
  while kill -0 "$1" 2>/dev/null; do sleep 1; done
  down
}

command=${1:-}
[ $# -eq 0 ] || shift
if [ "$command" = guard ]; then guard "$1"; exit; fi
for name in "$@"; do
  [[ " ${all[*]} " == *" $name "* ]] || fail "no service is called $name; there are: ${all[*]}"
done
case $command in
  up) if [ $# -eq 0 ]; then up "${all[@]}"; else up "$@"; fi ;;
  down) down "$@" ;;
  status) status ;;
  env) env ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
