# shellcheck shell=bash
# Starting, finding and ending processes. A process is known by pid, start time and boot, so that a pid
# that the system gave to someone else is never taken for ours.

# start_stamp PID: its start time in ticks since boot, and the boot; fails if it is gone or a zombie.
start_stamp() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The second field, the name in brackets, may hold blanks: count from behind it.
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z && ${fields[0]} != X ]] || return 1
  printf '%s@%s\n' "${fields[19]}" "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || true)"
}

# spawn NAME COMMAND...: in a session of its own, away from this shell's input, outputs and lock.
spawn() {
  local name=$1 dir pid
  shift
  dir=$(dir_of "$name")
  setsid "$@" </dev/null >>"$dir/out.log" 2>&1 9>&- &
  pid=$!
  printf '%s %s\n' "$pid" "$(start_stamp "$pid")" >"$dir/pid"
}

pid_of() { cut -d' ' -f1 "$RUN/$1/pid"; }

is_alive() {
  local pid stamp
  read -r pid stamp 2>/dev/null <"$RUN/$1/pid" || return 1
  [[ -n $stamp && $(start_stamp "$pid") == "$stamp" ]]
}

# family PID: it and all that descend from it.
family() {
  local -A children=()
  local stat pid fields todo=("$1") all=()
  for stat in /proc/[0-9]*/stat; do
    stat=$(cat "$stat" 2>/dev/null) || continue
    read -ra fields <<<"${stat##*) }"
    children[${fields[1]}]+=" ${stat%% *}"
  done
  while ((${#todo[@]} > 0)); do
    pid=${todo[0]}
    all+=("$pid")
    # shellcheck disable=SC2206
    todo=("${todo[@]:1}" ${children[$pid]:-})
  done
  printf '%s\n' "${all[@]}"
}

# memory_of PID: resident megabytes of the family. Shared pages count once where the kernel tells them apart.
memory_of() {
  local pid kb total=0
  for pid in $(family "$1"); do
    kb=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null ||
      awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
    total=$((total + ${kb:-0}))
  done
  printf '%s\n' "$((total / 1024))M"
}

# await_gone NAME SECONDS
await_gone() {
  local deadline=$((SECONDS + $2))
  while is_alive "$1"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# await_ready NAME SECONDS: until the broker answers; at once no, if its process ends.
await_ready() {
  local deadline=$((SECONDS + $2))
  until "${1}_ready" 2>/dev/null; do
    is_alive "$1" && ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

stop_broker() {
  local name=$1 signal=TERM
  # PostgreSQL's TERM waits for its clients; its INT sends them away and shuts down cleanly.
  [[ $name != postgres ]] || signal=INT
  kill -"$signal" "$(pid_of "$name")"
  if ! await_gone "$name" 30; then
    say "$name: did not stop within 30 s, killing it"
    kill_broker "$name"
  fi
  rm -f "$RUN/$name/pid"
}

# A crash: the whole family at once, as a machine that loses power would end it.
kill_broker() {
  local members
  mapfile -t members < <(family "$(pid_of "$1")")
  kill -KILL "${members[@]}" 2>/dev/null || true
  await_gone "$1" 10 || die "$1: pid $(pid_of "$1") outlives SIGKILL"
  rm -f "$RUN/$1/pid"
}
