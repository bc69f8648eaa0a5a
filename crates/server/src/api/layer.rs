//! What surrounds every request: id, time limit, panics, one log line, metrics, and the body of
//! errors. No header, query or body is ever logged: they hold tokens and names.

use std::time::{Duration, Instant};

use anser_proto::{Code, rest::Problem};
use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};

use super::{BindError, error::Error, listen::Peer};
use crate::{
    metrics::{API_REQUEST_SECONDS, API_REQUESTS_TOTAL},
    proxy::TrustedProxies,
};

/// Names the request in answers and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps a role's routes. `time_max` bounds a request from its header to its answer's header.
pub(crate) fn wrap(router: Router, time_max: Duration) -> Router {
    router
        .fallback(async || {
            Error::not_found("There is no such address. The paths are in /v1/openapi.json.")
        })
        .method_not_allowed_fallback(async || {
            Error::new(
                Code::MethodNotAllowed,
                "This address does not take this method; the header Allow names those it takes.",
            )
        })
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(time_max, finish))
}

/// Takes the client's address from those proxies, where they tell it.
pub(crate) fn behind(router: Router, proxies: TrustedProxies) -> Router {
    router.layer(middleware::map_request(move |mut request: Request| {
        if let Some(Peer(Some(peer))) = request.extensions().get().copied() {
            let client = proxies.client(peer, request.headers());
            request.extensions_mut().insert(Peer(Some(client)));
        }
        std::future::ready(request)
    }))
}

/// Lets browsers on these origins call; `None` when there are none.
pub(crate) fn cors(origins: &[String]) -> Result<Option<CorsLayer>, BindError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origins = origins.iter().map(|text| {
        let uri: Option<Uri> = text.parse().ok();
        let host = uri.as_ref().filter(|uri| uri.scheme().is_some()).and_then(Uri::authority);
        // Browsers compare the text: no path, no slash at its end, no wildcard.
        let exact = host.is_some_and(|host| text.ends_with(host.as_str()));
        let value = HeaderValue::from_str(text).ok().filter(|_| exact);
        value.ok_or_else(|| BindError::Origin(text.clone()))
    });
    let layer = CorsLayer::new()
        .allow_origin(origins.collect::<Result<Vec<_>, _>>()?)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(
            [header::AUTHORIZATION, header::CONTENT_TYPE, header::RANGE, header::IF_RANGE]
                .into_iter()
                .chain(TUS_REQUEST.iter().copied().map(HeaderName::from_static))
                .collect::<Vec<_>>(),
        )
        .expose_headers(
            [
                REQUEST_ID,
                header::RETRY_AFTER,
                header::LOCATION,
                header::ETAG,
                header::CONTENT_RANGE,
            ]
            .into_iter()
            .chain(TUS_ANSWER.iter().copied().map(HeaderName::from_static))
            .collect::<Vec<_>>(),
        )
        .max_age(Duration::from_secs(3600));
    Ok(Some(layer))
}

async fn finish(State(time_max): State<Duration>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let carries_files = route.as_ref().is_some_and(|route| route.as_str().starts_with(FILES));
    let time_max = if carries_files { FILE_TIME_MAX } else { time_max };
    let answered = tokio::time::timeout(time_max, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        Error::new(Code::TimedOut, "The request took too long; send it again.").into_response()
    });

    if let Some(error) = response.extensions_mut().remove::<Error>() {
        if let Some(cause) = &error.cause {
            tracing::error!(request_id = %id, code = error.code.name(), cause, "request failed");
        }
        write_problem(&mut response, &error, &id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);

    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    record(&method, route, status, start.elapsed());
    tracing::debug!(request_id = %id, %method, route, status, "request");
    response
}

fn write_problem(response: &mut Response, error: &Error, id: &str) {
    let problem = Problem {
        code: error.code.name().into(),
        title: error.code.sentence().into(),
        status: error.code.status(),
        detail: error.detail.to_string(),
        retryable: error.code.retryable(),
        request_id: id.into(),
    };
    // Texts and numbers always serialise.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
}

fn record(method: &Method, route: &str, status: u16, took: Duration) {
    // Routes are templates, so the number of label values is bounded; so must the methods be.
    let method = match *method {
        Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            method.to_string()
        }
        _ => "other".into(),
    };
    let labels = [("method", method), ("route", route.to_owned())];
    let status = ("status", status.to_string());
    let [first, second] = labels.clone();
    metrics::counter!(API_REQUESTS_TOTAL, &[first, second, status]).increment(1);
    metrics::histogram!(API_REQUEST_SECONDS, &labels).record(took);
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that CatchPanicLayer asks for")]
fn on_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::internal(format!("panic: {}", text.unwrap_or_default())).into_response()
}

fn request_id() -> String {
    // Without random bytes the id is all zero: a request must not fail for it.
    format!("{:016x}", getrandom::u64().unwrap_or(0))
}

/// What tus clients in browsers send, and read.
const TUS_REQUEST: &[&str] =
    &["tus-resumable", "upload-length", "upload-offset", "upload-metadata"];
const TUS_ANSWER: &[&str] = &["tus-resumable", "tus-version", "upload-length", "upload-offset"];
/// Routes whose bodies take as long as the line does; silence on it is bounded elsewhere.
const FILES: &str = "/v1/files";
const FILE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
