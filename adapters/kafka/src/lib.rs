//! Forebay's adapter for Apache Kafka.
