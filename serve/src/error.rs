//! Errors in OpenAI's form: a status, and `{"error": {"message", "type", "param", "code"}}`.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// Seconds after which a client that met a full queue may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None }
    }

    fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A request that means nothing here, whatever the field.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field with a wrong value.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad_request(message) }.code("invalid_value")
    }

    /// A field that would change the answer and is not offered.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad_request(message) }.code("unsupported_parameter")
    }

    /// Prompt and answer do not fit into the context.
    pub(crate) fn too_long(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad_request(message) }.code("context_length_exceeded")
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "the API key is missing or wrong\nhint: send `Authorization: Bearer KEY` with the key that the server was started with";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message).code("invalid_api_key")
    }

    pub(crate) fn no_such_model(name: &str, served: &str) -> Self {
        let message =
            format!("there is no model `{name}` here\nhint: leave `model` out, or ask for `{served}`");
        let error =
            Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("model_not_found");
        Self { param: Some("model".to_owned()), ..error }
    }

    pub(crate) fn no_such_route(method: &str, path: &str) -> Self {
        let message = format!("{method} {path} is not offered\nhint: {}", crate::routes::OFFERED);
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("unknown_url")
    }

    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not answer {method}\nhint: {}", crate::routes::OFFERED);
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message).code("method_not_allowed")
    }

    pub(crate) fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the request's body did not arrive in time")
            .code("request_timeout")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!(
            "the request's body is larger than {limit} bytes\nhint: send less at once, or start the server with a larger --max-body"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message).code("request_too_large")
    }

    pub(crate) fn not_json_type() -> Self {
        let message = "the body is not declared as JSON\nhint: send `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
            .code("unsupported_media_type")
    }

    pub(crate) fn encoded() -> Self {
        let message =
            "the body is compressed, which is not offered\nhint: send it without `Content-Encoding`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
            .code("unsupported_content_encoding")
    }

    /// A name that is not this machine's, where no key is demanded.
    pub(crate) fn foreign_host() -> Self {
        let message = "the request's Host is not this machine, and no API key is demanded\nhint: ask 127.0.0.1 or localhost, or start the server with --api-key";
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message).code("foreign_host")
    }

    pub(crate) fn queue_full() -> Self {
        let message = "all slots and the queue are full\nhint: try again later, or start the server with more --slots or a longer --queue";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).code("rate_limit_exceeded")
    }

    pub(crate) fn draining() -> Self {
        let message = "the server is shutting down\nhint: send the request to another server, or to this one when it is back";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code("shutting_down")
    }

    pub(crate) fn timed_out() -> Self {
        let message = "the request took longer than the server allows\nhint: ask for fewer tokens, or start the server with a longer --timeout";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message).code("timeout")
    }

    /// What is not the client's fault.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message).code("internal_error")
    }

    /// The JSON document.
    pub(crate) fn document(&self) -> Value {
        let Self { kind, message, param, code, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.document());
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}

/// A JSON document as a response.
pub(crate) fn json_response(status: StatusCode, document: &impl serde::Serialize) -> Response {
    // Maps have string keys and numbers are finite, so there is nothing that JSON cannot say.
    let body = serde_json::to_vec(document).expect("a JSON document");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
