# shellcheck shell=bash
# SQS by fauxqs, an emulator on Node. It keeps everything in memory: a restart loses it.

# 1.9.2 is the last that runs on Node 20; 2.x needs 22.5.
FAUXQS_RELEASE=1.9.2
SQS_PORT=$(port FOREBAY_SQS_PORT 29324)

sqs_needs() { echo 'node:nodejs npm:npm'; }
sqs_url() { echo "http://127.0.0.1:$SQS_PORT"; }
sqs_env() { echo "export FOREBAY_TEST_SQS=$(sqs_url)"; }

sqs_fetch() {
  into_cache "fauxqs-$FAUXQS_RELEASE" npm install --no-audit --no-fund --omit=dev --prefix . "fauxqs@$FAUXQS_RELEASE"
}

sqs_start() {
  spawn sqs env FAUXQS_PORT="$SQS_PORT" FAUXQS_LOGGER=false \
    node --require "$SCRIPTS/brokers.d/lib/loopback.cjs" "$CACHE/fauxqs-$FAUXQS_RELEASE/node_modules/fauxqs/dist/cli.js"
}

sqs_ready() { http_ok "$SQS_PORT" /health; }
