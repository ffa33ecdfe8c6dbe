//! Who answers what, and what all routes share: the key, the counters, bodies and the counts of tokens.

mod chat;
mod completions;
mod tokens;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use b158_runner::StopReason;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::{
    app::{App, seconds},
    engine::Event,
    error::{ApiError, json_response},
    metrics::Timer,
};

/// For errors.
pub(crate) const OFFERED: &str = "there are GET /v1/models, POST /v1/completions, POST /v1/chat/completions, POST /tokenize, POST /detokenize, GET /tokenizer_info, GET /health and GET /metrics";

/// What the body of a request may take to arrive.
const BODY: Duration = Duration::from_mins(1);

/// What the answers come from.
const FINGERPRINT: &str = concat!("b158-", env!("CARGO_PKG_VERSION"));

const ROUTES: [&str; 8] = [
    "/v1/models",
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/health",
    "/metrics",
];

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/completions", post(completions::post))
        .route("/v1/chat/completions", post(chat::post))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/tokenizer_info", get(tokens::info))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(|request: Request| async move {
            ApiError::no_such_route(request.method().as_str(), request.uri().path())
        })
        .method_not_allowed_fallback(|request: Request| async move {
            ApiError::wrong_method(request.method().as_str(), request.uri().path())
        })
        .layer(DefaultBodyLimit::max(app.config.max_body))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// Around every request: the key, the counters, and an answer even if something panics.
async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route = ROUTES.iter().find(|route| **route == path).copied().unwrap_or("other");
    let open = path == "/health";
    let timer = Timer::start(Arc::clone(&app.metrics), route);
    request.extensions_mut().insert(timer.clone());
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let foreign = |host: &HeaderValue| !is_local(host.to_str().unwrap_or_default());
    let response = if app.local_only && request.headers().get(header::HOST).is_some_and(foreign) {
        ApiError::foreign_host().into_response()
    } else if !open && app.key.as_ref().is_some_and(|key| !key.opens(authorization)) {
        ApiError::unauthorized().into_response()
    } else {
        // The shared state has no invariant that a panic could break.
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            ApiError::internal("the server failed while it read this request").into_response()
        })
    };
    app.metrics.answered(route, response.status().as_u16());
    response
}

/// Whether a `Host` is an address or this machine. A name that somebody else owns may lead here, too, and then lets
/// that one's web page read the answers (DNS rebinding).
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default().to_ascii_lowercase();
    name.parse::<std::net::IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// A body that is declared as JSON, whole and within the limit.
async fn read(app: &Arc<App>, request: Request) -> Result<Bytes, ApiError> {
    app.not_draining()?;
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    // Forms and plain text are what a foreign web page may send without asking.
    if !kind.eq_ignore_ascii_case(b"application/json") {
        return Err(ApiError::not_json_type());
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::encoded());
    }
    let body = Bytes::from_request(request, &());
    let body =
        tokio::time::timeout(app.config.timeout.min(BODY), body).await.map_err(|_| ApiError::slow_body())?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(app.config.max_body),
        _ => ApiError::bad_request(format!("the body cannot be read: {}", rejection.body_text())),
    })
}

/// Work of more than some microseconds, on a thread that does not serve connections.
async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = Arc::clone(&app.readers).acquire_owned().await.map_err(|_| ApiError::draining())?;
    let failed = |_| ApiError::internal("the server failed while it read this request");
    // It goes on, and keeps its turn, even if the client leaves.
    let work = move || {
        let result = work();
        drop(turn);
        result
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Shows `take` all events of a request with so many prompts.
async fn collect(
    mut events: Receiver<(usize, Event)>,
    prompts: usize,
    mut take: impl FnMut(usize, Event) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let mut running = prompts;
    while running > 0 {
        // Without an end: the time was up, and there was no room to say so.
        let (index, event) = events.recv().await.ok_or_else(ApiError::timed_out)?;
        running -= usize::from(matches!(event, Event::Done { .. }));
        take(index, event)?;
    }
    Ok(())
}

fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::StopToken | StopReason::StopString | StopReason::Caller => "stop",
        StopReason::MaxTokens | StopReason::ContextFull => "length",
    }
}

fn usage(prompt: usize, new: usize) -> Value {
    json!({ "prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new })
}

fn describe(app: &App) -> Value {
    json!({
        "id": app.config.name, "object": "model", "created": seconds(app.started), "owned_by": "b158",
        "max_model_len": app.context,
    })
}

async fn models(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &json!({ "object": "list", "data": [describe(&app)] }))
}

async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, ApiError> {
    if !app.has_model(&name) {
        return Err(ApiError::no_such_model(&name, &app.config.name));
    }
    Ok(json_response(StatusCode::OK, &describe(&app)))
}

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.draining.load(Ordering::Acquire) {
        return ApiError::draining().into_response();
    }
    json_response(StatusCode::OK, &json!({ "status": "ok" }))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], app.metrics.text()).into_response()
}
