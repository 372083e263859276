#!/usr/bin/env bash
# Kills a broker with SIGKILL in the middle of a run, again and again; then reads everything back.
#
#   cargo build --release && benches/torture/kill9.sh [CYCLES=100] [DIR=a temporary directory]
#
# A name server, a broker on its own core, and a load generator that reconnects and goes on. After each kill the broker is
# started again on the same directory; the time until it is ready is printed. At the end the load generator reads every
# queue and judges: no acknowledged message lost, none invented, offsets dense. Leaves with its verdict.
set -euo pipefail
cycles=${1:-100}
directory=${2:-$(mktemp -d)}
binaries=${CARGO_TARGET_DIR:-target}/release
segment=${SEGMENT:-64MiB}
mkdir -p "$directory"
port=$((20000 + RANDOM % 10000))

"$binaries/ringmq-namesrv" --listen 127.0.0.1:$port >"$directory/namesrv.out" 2>"$directory/namesrv.log" &
namesrv=$!
broker=
cleanup() { kill "$broker" "$namesrv" 2>/dev/null || true; }
trap cleanup EXIT

milliseconds() { date +%s%3N; }
worst=0
start_broker() {
  local began out=$directory/broker.out
  began=$(milliseconds)
  : >"$out"
  "$binaries/ringmq-broker" --name broker-a --namesrv 127.0.0.1:$port --listen 127.0.0.1:$((port + 1)) \
    --data "$directory/data" --segment "$segment" >"$out" 2>>"$directory/broker.log" &
  broker=$!
  until grep -q '^ready' "$out"; do
    kill -0 "$broker" 2>/dev/null || { echo "the broker did not start:" >&2; tail -5 "$directory/broker.log" >&2; exit 1; }
    sleep 0.01
  done
  took=$(($(milliseconds) - began))
  [ "$took" -gt "$worst" ] && worst=$took
  return 0
}

start_broker
# Long enough for all kills; the load generator is told to stop by its time.
seconds=$((cycles * 2 + 5))
"$binaries/ringmq-loadgen" mixed --namesrv 127.0.0.1:$port --topic kill9 --seconds $seconds --rate "${RATE:-50000}" \
  --connections 16 --in-flight 8 --json "$directory/loadgen.json" >"$directory/loadgen.out" 2>"$directory/loadgen.log" &
loadgen=$!
for cycle in $(seq "$cycles"); do
  sleep "$(awk -v seed="$RANDOM" 'BEGIN { srand(seed); printf "%.2f", 0.4 + rand() }')"
  kill -9 "$broker"
  wait "$broker" 2>/dev/null || true
  start_broker
  printf '\rkill %d of %d, ready again after %d ms (worst %d ms)' "$cycle" "$cycles" "$took" "$worst"
done
echo
status=0
wait "$loadgen" || status=$?
tail -25 "$directory/loadgen.out"
kill "$broker"
wait "$broker" || echo "the broker left with $?"
"$binaries/ringmq-broker" check --data "$directory/data" || true
echo "kills: $cycles, worst restart: $worst ms, verdict: $([ $status = 0 ] && echo sound || echo "FAILED ($status)"), files in $directory"
exit $status
