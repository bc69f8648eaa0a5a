//! What a client must know before it logs in.

use anser_proto::rest;
use axum::{Json, extract::State};

use super::{App, auth::Caller};
use crate::config::Registration;

/// About this server.
#[utoipa::path(get, path = "/v1/server", operation_id = "get_server",
    tag = "server",
    responses((status = 200, description = "About this server", body = rest::ServerInfo)))]
pub(super) async fn server(State(app): State<App>) -> Json<rest::ServerInfo> {
    let registration = match app.config.registration {
        Registration::Open => "open",
        Registration::Invite => "invite",
        Registration::Closed => "closed",
    };
    Json(rest::ServerInfo {
        product: "anser".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        registration: registration.into(),
        limits: rest::ServerLimits {
            frame_bytes_max: app.limits.frame_bytes_max as u64,
            body_bytes_max: app.limits.body_bytes_max as u64,
            page_max: app.config.page_max as u64,
            file_bytes_max: app.files.config().bytes_max,
            user_file_bytes_max: app.files.config().user_bytes_max,
        },
    })
}

/// Where to connect, best first.
#[utoipa::path(get, path = "/v1/connectors", operation_id = "list_connectors",
    tag = "server", security(("device_token" = [])),
    responses((status = 200, description = "The addresses to try", body = rest::Connectors)))]
pub(super) async fn connectors(State(app): State<App>, _: Caller) -> Json<rest::Connectors> {
    Json(rest::Connectors { connectors: (app.connectors)() })
}
