# shellcheck shell=bash
# SQS by ElasticMQ, the emulator that most users know, from Maven Central. Queues and messages outlive a restart.

ELASTICMQ_RELEASE=1.7.1
ELASTICMQ_PORT=$(port FOREBAY_ELASTICMQ_PORT 29325)
ELASTICMQ_HOME=$CACHE/elasticmq-$ELASTICMQ_RELEASE

elasticmq_needs() { echo 'java:openjdk-17-jre-headless mvn:maven'; }
elasticmq_url() { echo "http://127.0.0.1:$ELASTICMQ_PORT"; }
elasticmq_env() { echo "export FOREBAY_TEST_ELASTICMQ=$(elasticmq_url)"; }
elasticmq_fetch() { into_cache "elasticmq-$ELASTICMQ_RELEASE" maven_jars <<<"$(elasticmq_pom)"; }

elasticmq_pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId><artifactId>elasticmq</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.elasticmq</groupId><artifactId>elasticmq-server_2.13</artifactId><version>$ELASTICMQ_RELEASE</version>
    </dependency>
  </dependencies>
</project>
POM
}

elasticmq_start() {
  local dir
  dir=$(dir_of elasticmq)
  elasticmq_conf >"$dir/elasticmq.conf"
  spawn elasticmq java "$(class_archive "$ELASTICMQ_HOME/classes.jsa")" -Xms64m -Xmx384m \
    -Dconfig.file="$dir/elasticmq.conf" -cp "$ELASTICMQ_HOME/libs/*" org.elasticmq.server.Main
}

elasticmq_conf() {
  local dir
  dir=$(dir_of elasticmq)
  cat <<CONF
include classpath("application.conf")
pekko.loglevel = "INFO"
node-address { protocol = "http", host = "127.0.0.1", port = $ELASTICMQ_PORT, context-path = "" }
rest-sqs { enabled = true, bind-hostname = "127.0.0.1", bind-port = $ELASTICMQ_PORT, sqs-limits = strict }
aws { region = "us-east-1", accountId = "000000000000" }
messages-storage {
  enabled = true, driver-class = "org.h2.Driver", uri = "jdbc:h2:file:$dir/messages", username = "", password = ""
}
CONF
}

elasticmq_ready() { http_ok "$ELASTICMQ_PORT" '/?Action=ListQueues&Version=2012-11-05'; }
