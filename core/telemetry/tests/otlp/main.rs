//! Traces and metrics arrive at an OTLP receiver; and where there is none, jobs go on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the parts of a test are no interface")]

mod collector;
mod trouble;

use collector::{Collector, TOKEN, text};
use forebay::{
    BatchOptions, BatchOutcome, DeadFilter, DeadLetters, Failure, Headers, Invoke, Job, Outgoing,
    Sink, Worker,
    policy::{Jitter, RetryPolicy, RetrySettings},
    testing::{MemoryQueue, until_done},
};
use forebay_telemetry::{About, Otlp, Protocol, Telemetry, propagate};
use opentelemetry::{
    Context,
    baggage::BaggageExt,
    trace::{FutureExt, TraceContextExt, Tracer},
};
use opentelemetry_proto::tonic::{
    metrics::v1::metric::Data,
    trace::v1::{Span, span::SpanKind},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

fn telemetry(endpoint: String, protocol: Protocol) -> Telemetry {
    let headers = [(TOKEN.to_owned(), "secret".to_owned())].into();
    let otlp = Otlp { endpoint: Some(endpoint), protocol, headers, ..Otlp::default() };
    let about = About::new("rabbitmq", "orders").group("keepers");
    Telemetry::builder(about).service("keeper").sample(1.0).otlp(otlp).build().unwrap()
}

/// Sends what there is, on a thread that may block.
async fn flush(telemetry: &Telemetry) {
    let telemetry = telemetry.clone();
    let sent = tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(30)));
    assert!(sent.await.unwrap(), "not all was sent");
}

fn two_attempts() -> RetryPolicy {
    let settings = RetrySettings {
        base: Duration::from_millis(10),
        jitter: Jitter::None,
        max_attempts: 2,
        ..RetrySettings::default()
    };
    RetryPolicy::new(settings).unwrap()
}

/// Runs a worker until its queue is empty.
async fn work_off<I: Invoke>(
    queue: &MemoryQueue,
    telemetry: &Telemetry,
    handler: impl FnOnce(
        forebay::Builder<forebay::testing::MemorySource>,
    ) -> forebay::Builder<forebay::testing::MemorySource, (), (), I>,
) {
    let builder =
        Worker::builder(queue.source()).retry(two_attempts()).observer(telemetry.observer());
    let worker = handler(builder).build().unwrap();
    telemetry.watch(worker.control());
    let control = worker.control();
    let running = tokio::spawn(worker.run_until_drained());
    until_done(queue).await;
    control.drain();
    running.await.unwrap().unwrap();
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    let mut spans: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

/// From a producer over a retry and the dead letters to a redrive and its success: one trace.
async fn one_trace(collector: &Collector, endpoint: String, protocol: Protocol) {
    let (queue, telemetry) = (MemoryQueue::new(), telemetry(endpoint, protocol));
    let baggage = Context::new().with_baggage([opentelemetry::KeyValue::new("tenant", "blue")]);
    {
        let sink = telemetry.sink(queue.clone());
        let outgoing = [Outgoing::new("\"a\"").id("order-17")];
        sink.publish(&outgoing).with_context(baggage).await.remove(0).unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tenants = seen.clone();
    let handler = move |job: Job<String>| {
        let tenants = tenants.clone();
        async move {
            tokio::task::yield_now().await;
            let context = Context::current();
            tenants.lock().unwrap().push(context.baggage().get("tenant").map(ToString::to_string));
            // A span of the handler's own, by the program's own tracer.
            let tracer = opentelemetry::global::tracer("handler");
            drop(tracer.start("a span of nobody's"));
            assert!(context.span().span_context().is_sampled());
            match job.message().redrives {
                0 => Err(Failure::transient("not now")),
                _ => Ok(()),
            }
        }
    };
    work_off(&queue, &telemetry, |builder| builder.handler(handler.clone())).await;
    assert_eq!(queue.redrive(&DeadFilter::default(), 10).await.unwrap().moved.len(), 1);
    work_off(&queue, &telemetry, |builder| builder.handler(handler)).await;
    flush(&telemetry).await;

    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let [send] = named(&spans, "send orders")[..] else { panic!("{names:?}") };
    let [first, second, third] = named(&spans, "process orders")[..] else { panic!("{names:?}") };
    assert_eq!(send.kind(), SpanKind::Producer);
    for (process, attempt, outcome) in
        [(first, "1", "transient"), (second, "2", "transient"), (third, "1", "done")]
    {
        assert_eq!(process.trace_id, send.trace_id, "one trace");
        assert_eq!(process.parent_span_id, send.span_id);
        assert_eq!(process.links[0].span_id, send.span_id);
        assert_eq!(process.kind(), SpanKind::Consumer);
        let attribute = |key| text(&process.attributes, key);
        assert_eq!(attribute("messaging.system").unwrap(), "rabbitmq");
        assert_eq!(attribute("messaging.destination.name").unwrap(), "orders");
        assert_eq!(attribute("messaging.consumer.group.name").unwrap(), "keepers");
        assert_eq!(attribute("messaging.operation.type").unwrap(), "process");
        assert_eq!(attribute("messaging.message.id").unwrap(), "order-17");
        assert_eq!(attribute("forebay.attempt").unwrap(), attempt);
        assert_eq!(attribute("forebay.outcome").unwrap(), outcome);
        let error = attribute("error.type");
        assert_eq!(error.is_some(), outcome != "done");
        assert_eq!(process.status.as_ref().unwrap().code == 2, outcome != "done");
    }
    for (settle, process) in
        [("retry orders", first), ("dead_letter orders", second), ("ack orders", third)]
    {
        let [settle] = named(&spans, settle)[..] else { panic!("{settle}: {names:?}") };
        assert_eq!(settle.parent_span_id, process.span_id);
        assert_eq!(settle.trace_id, send.trace_id);
        assert_eq!(settle.kind(), SpanKind::Client);
        assert_eq!(text(&settle.attributes, "messaging.operation.type").unwrap(), "settle");
    }
    let receive = named(&spans, "receive orders");
    assert_eq!(receive.len(), 3, "{names:?}");
    assert!(receive.iter().all(|span| span.links[0].span_id == send.span_id));
    assert_eq!(*seen.lock().unwrap(), vec![Some("blue".to_owned()); 3], "baggage came along");
    assert!(collector.services().iter().all(|name| name == "keeper"));

    let consumed = collector.metric("messaging.client.consumed.messages").unwrap();
    let Some(Data::Sum(sum)) = consumed.data else { panic!("{consumed:?}") };
    assert!(sum.is_monotonic);
    let value = sum.data_points[0].value.as_ref().unwrap();
    assert_eq!(format!("{value:?}"), "AsInt(3)");
    let durations = collector.metric("messaging.process.duration").unwrap();
    let Some(Data::Histogram(histogram)) = durations.data else { panic!("{durations:?}") };
    assert_eq!(histogram.data_points.iter().map(|point| point.count).sum::<u64>(), 3);
    assert_eq!(durations.unit, "s");
    let tokens = collector.tokens();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token == "secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_producer_to_redrive_over_grpc() {
    let collector = Collector::default();
    one_trace(&collector, collector.grpc().await, Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_producer_to_redrive_over_http() {
    let collector = Collector::default();
    one_trace(&collector, collector.http().await, Protocol::Http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_linked_to_all_its_producers() {
    async fn all_done(jobs: Vec<Job<String>>) -> BatchOutcome {
        BatchOutcome::Each(jobs.iter().map(|_| Ok(())).collect())
    }
    let collector = Collector::default();
    let (queue, telemetry) =
        (MemoryQueue::new(), telemetry(collector.grpc().await, Protocol::Grpc));
    let foreign = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let batch = [
        Outgoing::new("\"a\""),
        Outgoing::new("\"b\""),
        Outgoing::new("\"c\"").header("traceparent", foreign),
    ];
    for result in telemetry.sink(queue.clone()).publish(&batch).await {
        result.unwrap();
    }
    work_off(&queue, &telemetry, |b| b.batch_handler(BatchOptions::of(3), all_done)).await;
    flush(&telemetry).await;
    let spans = collector.spans();
    let created = named(&spans, "create orders");
    let [send] = named(&spans, "send orders")[..] else { panic!("one span sends the batch") };
    assert_eq!(created.len(), 2, "what has a trace keeps it");
    assert_eq!((send.links.len(), send.kind()), (3, SpanKind::Client));
    let [process] = named(&spans, "process orders")[..] else { panic!("one call, one span") };
    assert!(process.parent_span_id.is_empty());
    assert_eq!(text(&process.attributes, "messaging.batch.message_count").unwrap(), "3");
    let mut linked: Vec<_> = process.links.iter().map(|link| link.span_id.clone()).collect();
    let mut expected: Vec<_> = created.iter().map(|span| span.span_id.clone()).collect();
    expected.push(vec![0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    linked.sort();
    expected.sort();
    assert_eq!(linked, expected);
    assert_eq!(named(&spans, "ack orders").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_producer_does_not_sample_is_not_sampled_and_says_so() {
    let collector = Collector::default();
    let (queue, telemetry) =
        (MemoryQueue::new(), telemetry(collector.grpc().await, Protocol::Grpc));
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    queue
        .publish(&[Outgoing::new("\"a\"").header("traceparent", unsampled)])
        .await
        .remove(0)
        .unwrap();
    let carried = Arc::new(Mutex::new(None));
    let noted = carried.clone();
    let handler = move |_: Job<String>| {
        let noted = noted.clone();
        async move {
            let mut headers = Headers::new();
            propagate::inject(&Context::current(), &mut headers);
            *noted.lock().unwrap() = headers.get_str("traceparent").map(str::to_owned);
            Ok::<(), Failure>(())
        }
    };
    work_off(&queue, &telemetry, |builder| builder.handler(handler)).await;
    flush(&telemetry).await;
    assert!(named(&collector.spans(), "process orders").is_empty());
    let carried = carried.lock().unwrap().clone().unwrap();
    assert!(carried.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{carried}");
    assert!(carried.ends_with("-00"), "{carried}");
}
