# shellcheck shell=bash
# RabbitMQ, as Debian packages it, with management, Prometheus and TLS.

RABBITMQ_PORT=$(port FOREBAY_RABBITMQ_PORT 25672)
RABBITMQ_TLS_PORT=$(port FOREBAY_RABBITMQ_TLS_PORT 25671)
RABBITMQ_MANAGEMENT_PORT=$(port FOREBAY_RABBITMQ_MANAGEMENT_PORT 25673)
RABBITMQ_PROMETHEUS_PORT=$(port FOREBAY_RABBITMQ_PROMETHEUS_PORT 25674)
RABBITMQ_OWN_DIST_PORT=$(port FOREBAY_RABBITMQ_DIST_PORT 25675)
RABBITMQ_EPMD_PORT=$(port FOREBAY_RABBITMQ_EPMD_PORT 25676)
# Debian's wrappers in /usr/sbin insist on the folders of the system's broker; these do not.
RABBITMQ_BIN=/usr/lib/rabbitmq/bin

rabbitmq_needs() { echo "$RABBITMQ_BIN/rabbitmq-server:rabbitmq-server openssl:openssl"; }
rabbitmq_url() { echo "amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2f"; }
rabbitmq_fetch() { :; }

rabbitmq_env() {
  echo "export FOREBAY_TEST_AMQP=$(rabbitmq_url)"
  echo "export FOREBAY_TEST_AMQPS=amqps://guest:guest@127.0.0.1:$RABBITMQ_TLS_PORT/%2f"
  echo "export FOREBAY_TEST_RABBITMQ_MANAGEMENT=http://guest:guest@127.0.0.1:$RABBITMQ_MANAGEMENT_PORT"
  echo "export FOREBAY_TEST_CA=$TLS/ca.pem"
}

# What the broker and its tools must agree on. systemd's way makes the start script become the broker, so that
# the pid is the broker's.
RABBITMQ_HOME_DIR=$(dir_of rabbitmq)
RABBITMQ_ENVIRONMENT=(
  HOME="$RABBITMQ_HOME_DIR"
  RUNNING_UNDER_SYSTEMD=1
  RABBITMQ_CONF_ENV_FILE=/dev/null
  RABBITMQ_NODENAME=forebay@localhost
  RABBITMQ_MNESIA_BASE="$RABBITMQ_HOME_DIR/mnesia"
  RABBITMQ_LOG_BASE="$RABBITMQ_HOME_DIR/log"
  RABBITMQ_LOGS=-
  RABBITMQ_CONFIG_FILE="$RABBITMQ_HOME_DIR/rabbitmq.conf"
  RABBITMQ_ENABLED_PLUGINS_FILE="$RABBITMQ_HOME_DIR/enabled_plugins"
  RABBITMQ_PID_FILE="$RABBITMQ_HOME_DIR/rabbitmq.pid"
  RABBITMQ_DIST_PORT="$RABBITMQ_OWN_DIST_PORT"
  ERL_EPMD_ADDRESS=127.0.0.1
  ERL_EPMD_PORT="$RABBITMQ_EPMD_PORT"
  ERL_CRASH_DUMP="$RABBITMQ_HOME_DIR/erl_crash.dump"
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
)

rabbitmq_start() {
  local dir=$RABBITMQ_HOME_DIR
  tls_ensure
  mkdir -p "$dir/log" "$dir/mnesia"
  echo '[rabbitmq_management,rabbitmq_prometheus].' >"$dir/enabled_plugins"
  cat >"$dir/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$RABBITMQ_PORT
listeners.ssl.1 = 127.0.0.1:$RABBITMQ_TLS_PORT
ssl_options.cacertfile = $TLS/ca.pem
ssl_options.certfile = $TLS/server.pem
ssl_options.keyfile = $TLS/server.key
ssl_options.verify = verify_none
management.tcp.ip = 127.0.0.1
management.tcp.port = $RABBITMQ_MANAGEMENT_PORT
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $RABBITMQ_PROMETHEUS_PORT
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
CONF
  # The names' daemon of Erlang: started here, so that it is ours to stop.
  is_alive rabbitmq-epmd || {
    mkdir -p "$(dir_of rabbitmq-epmd)"
    spawn rabbitmq-epmd env ERL_EPMD_ADDRESS=127.0.0.1 epmd -port "$RABBITMQ_EPMD_PORT"
  }
  spawn rabbitmq env "${RABBITMQ_ENVIRONMENT[@]}" "$RABBITMQ_BIN/rabbitmq-server"
}

# AMQP's greeting is answered by a method frame (1) on channel 0, and management is the last to come up.
rabbitmq_ready() {
  [[ $(ask "$RABBITMQ_PORT" 'AMQP\x00\x00\x09\x01' 3) == 010000 ]] && http_ok "$RABBITMQ_MANAGEMENT_PORT" /
}

rabbitmq_ctl() { env "${RABBITMQ_ENVIRONMENT[@]}" "$RABBITMQ_BIN/rabbitmqctl" "$@"; }

rabbitmq_after_stop() {
  if is_alive rabbitmq-epmd; then
    stop_broker rabbitmq-epmd
  fi
}
