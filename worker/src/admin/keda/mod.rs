//! KEDA's external scaler: KEDA asks how many workers there should be, and Kubernetes sees to it.
//!
//! The metric is the number of workers itself, its target 1 for each. So the horizontal pod autoscaler
//! comes to exactly that number: it divides the one by the other. Where the backlog is not known, the
//! answer is an error, which leaves the workers as they are; a number would move them by a guess.
//!
//! The routes are plain axum, each of them one call of tonic's `Grpc`: what a generated server would
//! wrap around that is longer than this file, and would need a generator in each build.

mod wire;

use super::{Admin, View, guard};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use std::{collections::HashMap, future::ready, pin::Pin};
use tonic::{Code, Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;
use wire::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};

/// The one metric.
const METRIC: &str = "desired_workers";
/// A request is a name, a namespace, and what a ScaledObject says.
const REQUEST_MAX: usize = 64 << 10;
/// The keys of a trigger under which the token may be: KEDA sends no header of ours.
const TOKEN_KEYS: [&str; 2] = ["tokenFromEnv", "token"];

pub(super) fn router() -> Router<Admin> {
    let service = Router::new()
        .route("/IsActive", post(is_active))
        .route("/StreamIsActive", post(stream_is_active))
        .route("/GetMetricSpec", post(get_metric_spec))
        .route("/StreamMetricSpec", post(stream_metric_spec))
        .route("/GetMetrics", post(get_metrics))
        .fallback(|| ready(Status::unimplemented("no such method").into_http::<Body>()));
    Router::new().nest("/externalscaler.ExternalScaler", service)
}

async fn is_active(State(admin): State<Admin>, request: Request) -> Response {
    unary(admin, request, |admin, _: ScaledObjectRef| {
        Ok(IsActiveResponse { result: is_active_now(&admin.view()).ok_or_else(|| unknown(admin))? })
    })
    .await
}

async fn stream_is_active(State(admin): State<Admin>, request: Request) -> Response {
    streaming(admin, request, |admin, _: ScaledObjectRef| {
        changes(admin).map(|result| Ok(IsActiveResponse { result })).boxed()
    })
    .await
}

async fn get_metric_spec(State(admin): State<Admin>, request: Request) -> Response {
    unary(admin, request, |_, _: ScaledObjectRef| Ok(spec())).await
}

async fn stream_metric_spec(State(admin): State<Admin>, request: Request) -> Response {
    streaming(admin, request, |_, _: ScaledObjectRef| {
        // It never changes.
        stream::once(ready(Ok(spec()))).chain(stream::pending()).boxed()
    })
    .await
}

async fn get_metrics(State(admin): State<Admin>, request: Request) -> Response {
    unary(admin, request, |admin, _: GetMetricsRequest| {
        let desired = desired(&admin.view()).ok_or_else(|| unknown(admin))?;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: desired.into(),
            metric_value_float: desired.into(),
        };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    })
    .await
}

fn spec() -> GetMetricSpecResponse {
    let spec =
        MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

fn desired(view: &View) -> Option<u32> {
    view.backlog().and(view.advice.as_ref()).map(|advice| advice.desired_workers)
}

/// Whether there should be any worker at all.
fn is_active_now(view: &View) -> Option<bool> {
    // What has come since the policy was last asked counts too.
    Some(desired(view)? > 0 || view.to_handle()? > 0)
}

fn unknown(admin: &Admin) -> Status {
    let why = admin.view().disconnected();
    Status::unavailable(why.unwrap_or_else(|| "the backlog has not been read yet".to_owned()))
}

/// Whether there should be any worker: now, and each time that it changes. While that is not known,
/// nothing is said.
fn changes(admin: &Admin) -> impl Stream<Item = bool> + Send + use<> {
    let mut views = admin.changes();
    views.mark_changed();
    stream::unfold((views, None), |(mut views, last)| async move {
        loop {
            views.changed().await.ok()?;
            let now = is_active_now(&views.borrow_and_update());
            if let Some(active) = now.filter(|_| now != last) {
                return Some((active, (views, now)));
            }
        }
    })
}

/// A request that may present the token in its body.
trait Asks: Message + Default + 'static {
    fn metadata(&self) -> Option<&HashMap<String, String>>;
}

impl Asks for ScaledObjectRef {
    fn metadata(&self) -> Option<&HashMap<String, String>> {
        Some(&self.scaler_metadata)
    }
}

impl Asks for GetMetricsRequest {
    fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.scaled_object_ref.as_ref().map(|object| &object.scaler_metadata)
    }
}

fn allowed<M: Asks>(admin: &Admin, request: tonic::Request<M>) -> Result<M, Status> {
    let in_header = guard::bearer(request.metadata().as_ref()).map(str::to_owned);
    let asked = request.into_inner();
    let of_trigger = |key| asked.metadata()?.get(key).map(String::as_str);
    let token = TOKEN_KEYS.into_iter().find_map(of_trigger).or(in_header.as_deref());
    if admin.lets_in(token) {
        return Ok(asked);
    }
    let help = "the token is missing or wrong: name it in the trigger's metadata as `tokenFromEnv`";
    Err(Status::new(Code::Unauthenticated, help))
}

async fn unary<M: Asks, A: Message + Default + 'static>(
    admin: Admin,
    request: Request,
    answer: impl Fn(&Admin, M) -> Result<A, Status> + Send + Sync,
) -> Response {
    let mut grpc = Grpc::new(ProstCodec::<A, M>::default()).max_decoding_message_size(REQUEST_MAX);
    let service = service_fn(|request| {
        let answered = allowed(&admin, request).and_then(|asked| answer(&admin, asked));
        ready(answered.map(tonic::Response::new))
    });
    grpc.unary(service, request).await.map(Body::new)
}

type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

async fn streaming<M: Asks, A: Message + Default + 'static>(
    admin: Admin,
    request: Request,
    answer: impl Fn(&Admin, M) -> Answers<A> + Send + Sync,
) -> Response {
    let mut grpc = Grpc::new(ProstCodec::<A, M>::default()).max_decoding_message_size(REQUEST_MAX);
    let service = service_fn(|request| {
        let answers = allowed(&admin, request).map(|asked| answer(&admin, asked));
        ready(answers.map(tonic::Response::new))
    });
    grpc.server_streaming(service, request).await.map(Body::new)
}
