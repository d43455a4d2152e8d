# shellcheck shell=bash
# Toxiproxy, to put faults between a client and a broker by hand. Optional: only when named. Needs Go 1.21 or newer.

TOXIPROXY_RELEASE=v2.12.0
TOXIPROXY_PORT=$(port FOREBAY_TOXIPROXY_PORT 28474)

toxiproxy_needs() { echo 'go:golang-go'; }
toxiproxy_url() { echo "http://127.0.0.1:$TOXIPROXY_PORT"; }
toxiproxy_env() { echo "export FOREBAY_TEST_TOXIPROXY=$(toxiproxy_url)"; }
toxiproxy_fetch() { into_cache "toxiproxy-$TOXIPROXY_RELEASE" toxiproxy_build; }
toxiproxy_build() { GOBIN=$PWD go install "github.com/Shopify/toxiproxy/v2/cmd/server@$TOXIPROXY_RELEASE"; }
toxiproxy_start() { spawn toxiproxy "$CACHE/toxiproxy-$TOXIPROXY_RELEASE/server" -host 127.0.0.1 -port "$TOXIPROXY_PORT"; }
toxiproxy_ready() { http_ok "$TOXIPROXY_PORT" /version; }
