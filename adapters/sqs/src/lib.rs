//! Forebay's adapter for Amazon SQS.
