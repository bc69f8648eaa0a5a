//! The running server: invitations, backup, status.

use anser_proto::rest::admin;
use anser_store::StoreError;
use axum::{Json, http::StatusCode};

use super::Operator;
use crate::{
    api::{
        auth,
        error::{Error, Result},
        extract,
    },
    clock, token,
};

pub(super) async fn invite(shared: Operator) -> Result<(StatusCode, Json<admin::Invite>)> {
    let code = token::mint(auth::INVITE_CODE);
    shared.app.store.create_invite(token::hash(&code), clock::now_ms()).await?;
    Ok((StatusCode::CREATED, Json(admin::Invite { code })))
}

pub(super) async fn backup(
    shared: Operator,
    extract::Json(body): extract::Json<admin::Backup>,
) -> Result<Json<admin::BackedUp>> {
    let path = std::path::PathBuf::from(body.path);
    if !path.is_absolute() {
        let detail = "path: give an absolute path; the server does not know your folder.";
        return Err(Error::invalid(detail));
    }
    // The operator must know why; what the store says holds no user's data. It is the folder that
    // does not do: to try again unchanged does not help.
    let report = shared.app.store.backup(&path).await.map_err(|error| match error {
        StoreError::Unavailable(text) => {
            Error::invalid(format!("The backup was not written: {text}."))
        }
        other => other.into(),
    })?;
    Ok(Json(admin::BackedUp { rows: report.rows, bytes: report.bytes }))
}

pub(super) async fn status(shared: Operator) -> Result<Json<admin::Status>> {
    let store = &shared.app.store;
    let meta = store.meta().await?;
    let stats = store.stats();
    Ok(Json(admin::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch: meta.epoch,
        schema: meta.schema,
        uptime_s: shared.start.elapsed().as_secs(),
        connections: shared.connections.as_ref().map(|count| count()),
        data_dir: shared.data_dir.display().to_string(),
        store: admin::StoreStatus {
            commits: stats.commits,
            syncs: stats.syncs,
            messages: stats.messages,
            disk_free_bytes: stats.disk_free_bytes,
            disk_used_bytes: stats.disk_used_bytes,
        },
    }))
}
