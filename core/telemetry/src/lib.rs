//! Metrics and traces of a worker, by OpenTelemetry.
//!
//! ```
//! # use forebay::{Failure, Job, Worker, testing::MemoryQueue};
//! use forebay_telemetry::{About, Telemetry};
//!
//! # async fn handle(_: Job<u32>) -> Result<(), Failure> { Ok(()) }
//! # async fn run(queue: MemoryQueue) -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = Telemetry::builder(About::new("rabbitmq", "orders")).build()?;
//! let worker =
//!     Worker::builder(queue.source()).observer(telemetry.observer()).handler(handle).build()?;
//! telemetry.watch(worker.control());
//! worker.run().await?;
//! println!("{}", telemetry.render()); // for `GET /metrics`
//! # Ok(()) }
//! ```
//!
//! ```text
//!   the runtime's Observer ---> recorder.rs ---> instruments.rs (OpenTelemetry) --+--> render()
//!   Control::status() --------> gauges.rs  -------------^                         |
//!   set_backlog() ------------------^                                             +--> OTLP
//!                               latencies.rs (percentiles of the last minute)
//!   a message's headers ------> spans.rs, sink.rs, by propagate.rs -> trouble.rs -----> OTLP
//! ```
//!
//! One registry, OpenTelemetry's, holds every metric, so that Prometheus and OTLP say the same. What
//! there is, with units and attributes, is one table, [`METRICS`]: instruments are built from it, and
//! the documentation, the dashboard and the alerts are checked against it.

mod about;
mod exports;
mod gauges;
mod hands;
mod instruments;
mod latencies;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
pub mod propagate;
mod recorder;
mod sink;
mod spans;
mod telemetry;
#[cfg(feature = "otlp")]
mod trouble;
mod words;

pub use about::About;
pub use latencies::{Latencies, Percentiles, WINDOW};
pub use metrics::{Instrument, METRICS, Metric, prometheus_name};
#[cfg(feature = "otlp")]
pub use otlp::{Otlp, Protocol};
pub use sink::TracedSink;
pub use telemetry::{Builder, Telemetry, TelemetryError};
