//! An OTLP receiver on a loopback port, over gRPC and HTTP, made of the official protobuf crate: it
//! keeps what it gets. The tests of the binary use it too.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// What has arrived.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    services: Vec<String>,
    tokens: Vec<String>,
}

/// The header that the tests send, as a secret.
pub const TOKEN: &str = "x-token";

impl Collector {
    /// Starts it over gRPC; returns its address.
    pub async fn grpc(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", self.grpc_on(listener, Server::builder()))
    }

    /// Starts it over gRPC, as `server` is set up, on a port that is open; returns the address.
    pub fn grpc_on(&self, listener: TcpListener, mut server: Server) -> SocketAddr {
        let address = listener.local_addr().unwrap();
        let server = server
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        address
    }

    /// Starts it over HTTP; returns its address.
    pub async fn http(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    pub fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The latest of each metric.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.0.lock().unwrap().metrics.iter().rev().find(|metric| metric.name == name).cloned()
    }

    pub fn services(&self) -> Vec<String> {
        self.0.lock().unwrap().services.clone()
    }

    pub fn tokens(&self) -> Vec<String> {
        self.0.lock().unwrap().tokens.clone()
    }

    fn take_traces(&self, request: ExportTraceServiceRequest, token: Option<&str>) {
        let mut received = self.0.lock().unwrap();
        received.tokens.extend(token.map(str::to_owned));
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            received.services.extend(text(&attributes, "service.name"));
            received.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest, token: Option<&str>) {
        let mut received = self.0.lock().unwrap();
        received.tokens.extend(token.map(str::to_owned));
        let scopes = request.resource_metrics.into_iter().flat_map(|one| one.scope_metrics);
        received.metrics.extend(scopes.flat_map(|scope| scope.metrics));
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get(TOKEN).and_then(|token| token.to_str().ok());
        let token = token.map(str::to_owned);
        self.take_traces(request.into_inner(), token.as_deref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let token = request.metadata().get(TOKEN).and_then(|token| token.to_str().ok());
        let token = token.map(str::to_owned);
        self.take_metrics(request.into_inner(), token.as_deref());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

async fn traces(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    collector.take_traces(ExportTraceServiceRequest::decode(body).unwrap(), token);
    ExportTraceServiceResponse::default().encode_to_vec()
}

async fn metrics(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
    collector.take_metrics(ExportMetricsServiceRequest::decode(body).unwrap(), token);
    ExportMetricsServiceResponse::default().encode_to_vec()
}

/// The text of an attribute.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}
