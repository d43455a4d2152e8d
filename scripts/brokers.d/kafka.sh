# shellcheck shell=bash
# Apache Kafka itself, one node that is broker and controller (KRaft), from Maven Central.

KAFKA_RELEASE=4.4.0
KAFKA_PORT=$(port FOREBAY_KAFKA_PORT 29092)
KAFKA_TLS_PORT=$(port FOREBAY_KAFKA_TLS_PORT 29093)
KAFKA_CONTROLLER_PORT=$(port FOREBAY_KAFKA_CONTROLLER_PORT 29094)
# Behind the tests' fault proxy: the broker listens here, and tells its clients to come back to the proxy.
KAFKA_BEHIND_PORT=$(port FOREBAY_KAFKA_BEHIND_PORT 29095)
KAFKA_PROXY_PORT=$(port FOREBAY_KAFKA_PROXY_PORT 29096)
KAFKA_HOME=$CACHE/kafka-$KAFKA_RELEASE
# Any 16 bytes in base64: "forebay-brokers1".
KAFKA_CLUSTER_ID=Zm9yZWJheS1icm9rZXJzMQ
# A broker that was killed is let in again when its old session has ended. For tests that kill theirs; less
# than 9 s is too little where a machine is busy and the broker is to stay.
KAFKA_SESSION_MS=${FOREBAY_KAFKA_SESSION_MS:-9000}
# Who may log in on the TLS listener, by SCRAM-SHA-256 and by PLAIN.
KAFKA_USER=forebay
KAFKA_PASSWORD=forebay-secret

kafka_needs() { echo 'java:openjdk-17-jre-headless mvn:maven openssl:openssl'; }
kafka_url() { echo "127.0.0.1:$KAFKA_PORT"; }

kafka_env() {
  echo "export FOREBAY_TEST_KAFKA=$(kafka_url)"
  echo "export FOREBAY_TEST_KAFKA_BEHIND=127.0.0.1:$KAFKA_BEHIND_PORT"
  echo "export FOREBAY_TEST_KAFKA_PROXY=127.0.0.1:$KAFKA_PROXY_PORT"
  echo "export FOREBAY_TEST_KAFKA_TLS=127.0.0.1:$KAFKA_TLS_PORT"
  echo "export FOREBAY_TEST_KAFKA_USER=$KAFKA_USER"
  echo "export FOREBAY_TEST_KAFKA_PASSWORD=$KAFKA_PASSWORD"
  echo "export FOREBAY_TEST_CA=$TLS/ca.pem"
}

kafka_fetch() { into_cache "kafka-$KAFKA_RELEASE" maven_jars <<<"$(kafka_pom)"; }

# The broker, its command line tools without Kafka Connect, and the binding that brings its logs to log4j.
kafka_pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_RELEASE</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_RELEASE</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-api</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.5</version>
    </dependency>
  </dependencies>
</project>
POM
}

kafka_start() {
  local dir
  dir=$(dir_of kafka)
  tls_ensure
  kafka_properties >"$dir/server.properties"
  kafka_log4j >"$dir/log4j2.properties"
  [[ -s $dir/data/meta.properties ]] || kafka_format
  spawn kafka java "$(class_archive "$KAFKA_HOME/classes.jsa")" -Xms256m -Xmx512m \
    -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$KAFKA_HOME/libs/*" kafka.Kafka "$dir/server.properties"
}

kafka_format() {
  local dir
  dir=$(dir_of kafka)
  java -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$KAFKA_HOME/libs/*" \
    kafka.tools.StorageTool format --cluster-id "$KAFKA_CLUSTER_ID" --config "$dir/server.properties" \
    --add-scram "SCRAM-SHA-256=[name=$KAFKA_USER,password=$KAFKA_PASSWORD]" >>"$(log_of kafka)" 2>&1 ||
    fail_with_log kafka 'the data folder could not be formatted'
}

# Small where the default is meant for a cluster; quick where the default is meant for hours of uptime.
kafka_properties() {
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,SASL_SSL://127.0.0.1:$KAFKA_TLS_PORT,PROXIED://127.0.0.1:$KAFKA_BEHIND_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,SASL_SSL://127.0.0.1:$KAFKA_TLS_PORT,PROXIED://127.0.0.1:$KAFKA_PROXY_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
log.dirs=$(dir_of kafka)/data
auto.create.topics.enable=false

ssl.keystore.type=PEM
ssl.keystore.location=$TLS/kafka.pem
ssl.truststore.type=PEM
ssl.truststore.location=$TLS/ca.pem
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$KAFKA_USER="$KAFKA_PASSWORD";

# One node.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
min.insync.replicas=1

# A group forms at once, and a test may set session timeouts down to a second; the defaults stay.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200

broker.session.timeout.ms=$KAFKA_SESSION_MS
broker.heartbeat.interval.ms=$((KAFKA_SESSION_MS / 5))

# Retention and compaction come about within seconds where a topic asks for them.
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=8388608
PROPERTIES
}

kafka_log4j() {
  cat <<'PROPERTIES'
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=INFO
rootLogger.appenderRefs=out
rootLogger.appenderRef.out.ref=out
PROPERTIES
}

# ApiVersions, which the broker answers only once the controller has let it in: size 15, key 18, version 0,
# correlation 1, client "ready". The answer's correlation id is the 1.
kafka_ready() {
  local answer
  answer=$(ask "$KAFKA_PORT" '\x00\x00\x00\x0f\x00\x12\x00\x00\x00\x00\x00\x01\x00\x05ready' 10)
  # Size (4 bytes), correlation 1 (4), error 0 (2).
  [[ ${answer:8} == 000000010000 ]]
}

# kafka_ctl TOOL ARGS...: TopicCommand, consumer.ConsoleConsumer, ConsoleProducer, consumer.group.ConsumerGroupCommand ...
kafka_ctl() {
  local tool=${1:-}
  [[ -n $tool ]] || die 'ctl kafka needs a tool: scripts/brokers ctl kafka TopicCommand --list'
  shift
  java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$KAFKA_HOME/libs/*" "org.apache.kafka.tools.$tool" \
    --bootstrap-server "$(kafka_url)" "$@"
}
