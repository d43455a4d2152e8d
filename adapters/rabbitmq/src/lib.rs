//! Forebay's adapter for RabbitMQ.
