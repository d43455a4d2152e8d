# shellcheck shell=bash
# PgBouncer in transaction mode before our PostgreSQL.

PGBOUNCER_PORT=$(port FOREBAY_PGBOUNCER_PORT 26432)

pgbouncer_needs() { echo "/usr/sbin/pgbouncer:pgbouncer $(postgres_needs)"; }
pgbouncer_url() { echo "postgres://postgres@127.0.0.1:$PGBOUNCER_PORT/forebay"; }
pgbouncer_env() { echo "export FOREBAY_TEST_PGBOUNCER=$(pgbouncer_url)"; }
pgbouncer_fetch() { :; }

pgbouncer_start() {
  local dir
  dir=$(postgres_home pgbouncer)
  mkdir -p "$dir"
  echo '"postgres" ""' >"$dir/users.txt"
  cat >"$dir/pgbouncer.ini" <<CONF
[databases]
* = host=127.0.0.1 port=$POSTGRES_PORT
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $PGBOUNCER_PORT
unix_socket_dir =
auth_type = trust
auth_file = $dir/users.txt
admin_users = postgres
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
CONF
  give_to_postgres "$dir"
  spawn pgbouncer "${AS_POSTGRES[@]}" /usr/sbin/pgbouncer "$dir/pgbouncer.ini"
}

# An answer means that PostgreSQL behind it answers too.
pgbouncer_ready() {
  [[ $(PGCONNECT_TIMEOUT=2 psql -X -A -t "$(pgbouncer_url)" -c 'select 1') == 1 ]]
}

pgbouncer_ctl() { psql -h 127.0.0.1 -p "$PGBOUNCER_PORT" -U postgres pgbouncer "$@"; }
