# shellcheck shell=bash
# PostgreSQL in a cluster of its own, as Debian packages it. The system's cluster is left alone.

POSTGRES_PORT=$(port FOREBAY_POSTGRES_PORT 25432)

postgres_needs() { echo '/usr/lib/postgresql/*/bin/postgres:postgresql'; }
postgres_url() { echo "postgres://postgres@127.0.0.1:$POSTGRES_PORT/forebay"; }
postgres_env() { echo "export FOREBAY_TEST_POSTGRES=$(postgres_url)"; }
postgres_fetch() { :; }

# The newest version's programs.
postgres_bin() { compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1; }

# PostgreSQL and PgBouncer refuse to run as root: root hands them to Debian's user `postgres`.
AS_POSTGRES=()
((EUID != 0)) || AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --init-groups --)

# postgres_home NAME: where its data lies: beside its log, unless root's checkout is in a folder that the user
# `postgres` may not enter, such as /root.
postgres_home() {
  local home
  home=$(dir_of "$1")
  if ((EUID == 0)) && ! others_may_enter "$home"; then
    home=/var/tmp/forebay-$(cksum <<<"$RUN" | cut -d' ' -f1)
    mkdir -p "$home"
    # Anybody may make a folder there.
    [[ -O $home ]] || die "$home belongs to somebody else; set FOREBAY_BROKERS_DIR to a folder that others may enter"
    home+=/$1
  fi
  printf '%s\n' "$home"
}

# others_may_enter FOLDER
others_may_enter() {
  local folder=$1
  while [[ $folder != / ]]; do
    [[ $(stat -c %A "$folder") == *[xt] ]] || return 1
    folder=$(dirname "$folder")
  done
}

# give_to_postgres FOLDER
give_to_postgres() {
  mkdir -p "$1"
  if ((EUID == 0)); then
    chown -R postgres: "$1"
    "${AS_POSTGRES[@]}" test -w "$1" ||
      die "the user postgres cannot reach $1; set FOREBAY_BROKERS_DIR to a folder that others may enter"
  fi
}

postgres_start() {
  local data bin
  data=$(postgres_home postgres)/data
  bin=$(postgres_bin)
  give_to_postgres "$data"
  if [[ ! -s $data/PG_VERSION ]]; then
    "${AS_POSTGRES[@]}" "$bin/initdb" --pgdata="$data" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
      --no-sync >>"$(log_of postgres)" 2>&1 || fail_with_log postgres 'initdb failed'
  fi
  postgres_forget_the_dead "$data/postmaster.pid"
  spawn postgres "${AS_POSTGRES[@]}" "$bin/postgres" -D "$data" -p "$POSTGRES_PORT" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= -c max_connections=100
}

# postgres_forget_the_dead FILE: after a crash PostgreSQL takes a zombie for a running server, and the first
# process of a container may collect its dead late, or never.
postgres_forget_the_dead() {
  local pid
  if pid=$(head -n 1 "$1" 2>/dev/null) && ! start_stamp "$pid" >/dev/null; then
    rm -f "$1"
  fi
}

postgres_ready() { "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d postgres -t 2; }

postgres_first_use() {
  [[ $(postgres_sql postgres "select count(*) from pg_database where datname = 'forebay'") == 1 ]] ||
    postgres_sql postgres 'create database forebay' >/dev/null
}

# postgres_sql DATABASE STATEMENT
postgres_sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d "$1" -c "$2"; }

postgres_ctl() { psql "$(postgres_url)" "$@"; }
