# shellcheck shell=bash
# Words, folders and ports that every broker shares.

say() { printf '%s\n' "brokers: $*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# Where data, logs and pids go (git ignores /.run), and where downloads are kept for every checkout.
RUN=${FOREBAY_BROKERS_DIR:-$(dirname "$SCRIPTS")/.run/brokers}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/forebay/brokers
[[ $RUN == /* ]] || RUN=$PWD/$RUN
# shellcheck disable=SC2034 # read by the brokers
readonly RUN CACHE

dir_of() { printf '%s\n' "$RUN/$1"; }
log_of() { printf '%s\n' "$RUN/$1/out.log"; }

OFFSET=${FOREBAY_BROKERS_OFFSET:-0}
[[ $OFFSET =~ ^[0-9]+$ ]] || die "FOREBAY_BROKERS_OFFSET=$OFFSET is not a number to add to each port"

# port VARIABLE DEFAULT: the variable's value, else the default moved by FOREBAY_BROKERS_OFFSET.
port() {
  local value=${!1:-$(($2 + 10#$OFFSET))}
  if ! [[ $value =~ ^[0-9]{1,5}$ ]] || ((10#$value == 0 || 10#$value > 65535)); then
    die "$1=$value is not a port (1 to 65535)"
  fi
  printf '%s\n' "$value"
}

# Two `up` at once must not start a broker twice. Held until the subshell ends; spawn closes it for the broker.
hold_lock() {
  exec 9>"$RUN/$1/lock"
  flock -w 300 9 || die "$1: another scripts/brokers has held $RUN/$1/lock for 300 s"
}

fail_with_log() {
  local log
  log=$(log_of "$1")
  say "$1: $2. The end of its log:"
  tail -n 15 "$log" 2>/dev/null | sed 's/^/    /' >&2 || true
  die "$1: see more with: less $log"
}
