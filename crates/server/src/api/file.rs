//! `/v1/files`: uploads by the tus protocol (<https://tus.io/protocols/resumable-upload>), version
//! 1.0.0, and downloads with ranges.
//!
//! Who may do what is the store's decision ([`anser_store::Store::file`]); the bytes are in
//! [`crate::files`]. `Upload-Metadata` is not looked at: it is in plain text, and the server is to
//! see only sealed bytes and their number.

mod headers;

use anser_proto::{Code, ConversationId, FileId};
use anser_store::{CreateFile, EndFile, File, FileState, NewFile};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::{
    IntoParams,
    openapi::{
        KnownFormat, RefOr, Schema, SchemaFormat,
        schema::{ObjectBuilder, Type},
    },
};

use super::{
    App,
    auth::Caller,
    error::{Error, Result},
    extract::{Path, Query},
};
use crate::{clock, files};

pub(super) use headers::{guard, seal_off};

/// Shape of sealed bytes in OpenAPI: no value of it is ever made.
pub(super) enum Sealed {}

impl utoipa::PartialSchema for Sealed {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl utoipa::ToSchema for Sealed {}

/// What a new upload is for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct For {
    /// The conversation whose members are to get the file.
    conversation: ConversationId,
}

/// What the server takes, by the tus protocol.
#[utoipa::path(options, path = "/v1/files", operation_id = "describe_uploads", tag = "files",
    responses((status = 204, description = "Versions, extensions and Tus-Max-Size",
        headers(("Tus-Version" = String), ("Tus-Extension" = String), ("Tus-Max-Size" = u64)))))]
pub(super) async fn describe(State(app): State<App>) -> Response {
    let headers = [
        (headers::VERSION, HeaderValue::from_static(headers::TUS)),
        (headers::EXTENSION, HeaderValue::from_static(EXTENSIONS)),
        (headers::MAX_SIZE, HeaderValue::from(app.files.config().bytes_max)),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Begin an upload (tus `creation`, `creation-with-upload`). `Upload-Metadata` is not looked at.
#[utoipa::path(post, path = "/v1/files", operation_id = "create_upload", tag = "files",
    security(("device_token" = [])),
    params(For,
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Length" = u64, Header, description = "The sealed file's length in bytes")),
    request_body(content = Option<Sealed>, content_type = "application/offset+octet-stream",
        description = "The first bytes, if they are to be sent at once"),
    responses((status = 201, description = "Made; Location is its address",
        headers(("Location" = String), ("Upload-Offset" = u64)))))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Query(upload): Query<For>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let size = headers::upload_length(&headers)?;
    let has_bytes = headers.contains_key(header::CONTENT_TYPE);
    let body = if has_bytes { body } else { Body::empty() };
    if has_bytes {
        headers::check_bytes(&headers)?;
    }
    let max = app.files.config().bytes_max;
    if size > max {
        let detail = format!("The file takes {size} bytes, sealed; this server takes {max}.");
        return Err(Error::new(Code::FileTooLarge, detail));
    }
    if !app.files.has_room(size) {
        return Err(Error::plain(Code::DiskFull));
    }
    let new = NewFile {
        owner: caller.user,
        conversation: upload.conversation,
        size,
        user_bytes_max: app.files.config().user_bytes_max,
        now_ms: clock::now_ms(),
    };
    let file = match app.store.create_file(new).await? {
        CreateFile::Created(file) => file,
        CreateFile::Refused(code) => return Err(Error::plain(code)),
    };
    let id = file.id;
    let offset = if size == 0 {
        // It is complete at once.
        append(&app, file, 0, body).await?.0
    } else if has_bytes {
        // What goes wrong with the first bytes is told by the offset.
        append(&app, file, 0, body).await.map_or(0, |(offset, _)| offset)
    } else {
        0
    };
    let location = format!("/v1/files/{id}");
    let location = HeaderValue::from_str(&location).map_err(Error::internal)?;
    let headers = [(header::LOCATION, location), (headers::OFFSET, HeaderValue::from(offset))];
    Ok((StatusCode::CREATED, headers).into_response())
}

/// How many bytes of an upload are on disk, synced.
#[utoipa::path(head, path = "/v1/files/{id}", operation_id = "get_upload", tag = "files",
    security(("device_token" = [])),
    params(("id" = FileId, Path, description = "The file")),
    responses((status = 200, description = "How far it is",
        headers(("Upload-Offset" = u64), ("Upload-Length" = u64)))))]
pub(super) async fn progress(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<Response> {
    let file = seen(&app, caller, id).await?;
    let looks = app.clone();
    let offset = heard(async move { synced(&looks, &file).await }).await?;
    if offset == file.size {
        // The server may have been stopped between the last sync and this.
        complete(&app, &file).await?;
    }
    let headers = [
        (headers::OFFSET, HeaderValue::from(offset)),
        (headers::LENGTH, HeaderValue::from(file.size)),
    ];
    Ok((StatusCode::OK, headers).into_response())
}

/// Add bytes to an upload. What came before a connection broke is kept.
#[utoipa::path(patch, path = "/v1/files/{id}", operation_id = "append_to_upload", tag = "files",
    security(("device_token" = [])),
    params(("id" = FileId, Path, description = "The file"),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Where the bytes begin")),
    request_body(content = Sealed, content_type = "application/offset+octet-stream"),
    responses((status = 204, description = "On disk, synced",
        headers(("Upload-Offset" = u64)))))]
pub(super) async fn add(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<FileId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let file = seen(&app, caller, id).await?;
    headers::check_bytes(&headers)?;
    let offset = headers::upload_offset(&headers)?;
    if file.owner != caller.user {
        return Err(Error::new(Code::Forbidden, "Only its sender can write to a file."));
    }
    let left = file.size.checked_sub(offset);
    if headers::content_length(&headers).is_some_and(|length| Some(length) > left) {
        return Err(too_long(&file));
    }
    let (offset, cut) = append(&app, file, offset, body).await?;
    match cut {
        None => {
            let headers = [(headers::OFFSET, HeaderValue::from(offset))];
            Ok((StatusCode::NO_CONTENT, headers).into_response())
        }
        Some(Code::PayloadTooLarge) => Err(too_long(&file)),
        Some(code) => Err(Error::plain(code)),
    }
}

/// Give an upload up (tus `termination`). A file that a message names stays.
#[utoipa::path(delete, path = "/v1/files/{id}", operation_id = "delete_upload", tag = "files",
    security(("device_token" = [])),
    params(("id" = FileId, Path, description = "The file"),
        ("Tus-Resumable" = String, Header, description = "1.0.0")),
    responses((status = 204, description = "Given up")))]
pub(super) async fn give_up(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<StatusCode> {
    match app.store.end_file(caller.user, id).await? {
        EndFile::Ended => {
            // Its room is free at once. What fails here is done by the next round of retention.
            if let Ok(Some(writing)) = app.files.writing_soon(id).await
                && app.files.remove(writing).await.is_ok()
            {
                app.store.forget_files(vec![id]).await?;
            }
            Ok(StatusCode::NO_CONTENT)
        }
        EndFile::Unknown => Err(unknown()),
        EndFile::Referenced => {
            Err(Error::new(Code::Forbidden, "A message names this file; it stays with it."))
        }
    }
}

/// The sealed bytes of a file, or a range of them.
#[utoipa::path(get, path = "/v1/files/{id}", operation_id = "get_file", tag = "files",
    security(("device_token" = [])),
    params(("id" = FileId, Path, description = "The file"),
        ("Range" = Option<String>, Header, description = "One range of bytes")),
    responses(
        (status = 200, description = "All bytes", body = Sealed,
            content_type = "application/octet-stream"),
        (status = 206, description = "The range", body = Sealed,
            content_type = "application/octet-stream")))]
pub(super) async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<FileId>,
    headers: HeaderMap,
) -> Result<Response> {
    let file = seen(&app, caller, id).await?;
    if file.state == FileState::Incomplete {
        return Err(Error::plain(Code::FileIncomplete));
    }
    let tag = format!("\"{id}\"");
    let asked = headers::range(&headers, &tag, file.size);
    let range = asked.clone().unwrap_or(Ok(0..file.size)).map_err(|headers::NoSuchRange| {
        let detail = format!("The file has {} bytes, sealed.", file.size);
        Error::new(Code::RangeInvalid, detail)
    })?;
    let pieces = app.files.read(id, range.clone()).await?.ok_or_else(|| missing(&file))?;
    let mut response = Body::from_stream(pieces).into_response();
    let mut set = |name, value: String| -> Result<()> {
        let value = HeaderValue::from_str(&value).map_err(Error::internal)?;
        response.headers_mut().insert(name, value);
        Ok(())
    };
    set(header::CONTENT_TYPE, "application/octet-stream".into())?;
    set(header::CONTENT_LENGTH, (range.end - range.start).to_string())?;
    set(header::ACCEPT_RANGES, "bytes".into())?;
    set(header::ETAG, tag)?;
    if asked.is_some() {
        let last = range.end.saturating_sub(1);
        set(header::CONTENT_RANGE, format!("bytes {}-{last}/{}", range.start, file.size))?;
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Adds bytes at an offset and tells the store. Gives the offset then, and why it ended early.
async fn append(app: &App, file: File, offset: u64, body: Body) -> Result<(u64, Option<Code>)> {
    let app = app.clone();
    heard(async move { append_here(&app, file, offset, body).await }).await
}

/// Does in a task of its own what a request only waits for: when the client goes away, what a disk
/// said of a sync is heard all the same. It says it once.
async fn heard<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.map_err(Error::internal)?
}

async fn append_here(
    app: &App,
    file: File,
    offset: u64,
    body: Body,
) -> Result<(u64, Option<Code>)> {
    let writing = app.files.writing(file.id).await?;
    let writing = writing.ok_or_else(|| Error::plain(Code::UploadBusy))?;
    // Now, not before: a file that has ended meanwhile would be made anew, and nobody would know.
    let file = app.store.file(file.owner, file.id).await?.ok_or_else(unknown)?;
    let known = synced(app, &file).await?;
    if known != offset {
        let detail = format!("The upload goes on at byte {known}.");
        return Err(Error::new(Code::OffsetConflict, detail));
    }
    if file.state != FileState::Incomplete {
        return Ok((known, None));
    }
    let now_ms = clock::now_ms();
    let kept_ms = app.files.config().unfinished_kept.as_millis();
    let touch_ms = TOUCH_MS.min(u64::try_from(kept_ms / 4).unwrap_or(u64::MAX));
    if now_ms.saturating_sub(file.updated_at_ms) > touch_ms {
        app.store.advance_file(file.id, false, now_ms).await?;
    }
    let append = files::Append { writing, offset, size: file.size, body };
    let appended = match app.files.append(append).await {
        Ok(appended) => appended,
        Err(failure) => return Err(failed(app, &file, failure).await),
    };
    if app.files.adds_unseen() {
        ended_meanwhile(app, &file).await?;
    }
    if appended.offset == file.size {
        complete(app, &file).await?;
    }
    Ok((appended.offset, appended.cut))
}

/// When a disk fails, what is on it is not known any more, and a second sync could lie about it:
/// the upload is over.
async fn failed(app: &App, file: &File, failure: files::Failure) -> Error {
    if let files::Failure::Disk(_) = failure
        && let Err(error) = app.store.end_file(file.owner, file.id).await
    {
        return error.into();
    }
    failure.into()
}

/// Another server may have ended the file and removed its bytes while some were added here: these
/// would stay for ever.
async fn ended_meanwhile(app: &App, file: &File) -> Result<()> {
    if app.store.file(file.owner, file.id).await?.is_some() {
        return Ok(());
    }
    if let Some(writing) = app.files.writing_soon(file.id).await? {
        app.files.remove(writing).await?;
    }
    Err(unknown())
}

async fn complete(app: &App, file: &File) -> Result<()> {
    if file.state == FileState::Incomplete {
        let advanced = app.store.advance_file(file.id, true, clock::now_ms()).await?;
        advanced.ok_or_else(unknown)?;
    }
    Ok(())
}

/// A file that the caller may see. One that belongs to others is told like one that never was.
async fn seen(app: &App, caller: Caller, id: FileId) -> Result<File> {
    app.store.file(caller.user, id).await?.ok_or_else(unknown)
}

/// How many bytes of a file are on disk.
async fn synced(app: &App, file: &File) -> Result<u64> {
    let bytes = match app.files.synced_bytes(file.id).await {
        Ok(bytes) => bytes,
        Err(failure) if file.state == FileState::Incomplete => {
            return Err(failed(app, file, failure).await);
        }
        Err(failure) => return Err(failure.into()),
    };
    match (file.state, bytes) {
        (FileState::Incomplete, bytes) => Ok(bytes.unwrap_or(0).min(file.size)),
        (_, Some(bytes)) if bytes == file.size => Ok(bytes),
        _ => Err(missing(file)),
    }
}

fn unknown() -> Error {
    Error::not_found("There is no such file, or it is not yours to see.")
}

fn too_long(file: &File) -> Error {
    let detail = format!("Upload-Length said {} bytes; more were sent.", file.size);
    Error::new(Code::PayloadTooLarge, detail)
}

/// The store knows a file whose bytes are not there: a backup was restored without them, or the
/// disk lost them. The operator must hear of it.
fn missing(file: &File) -> Error {
    tracing::error!(file = %file.id, "the bytes of a file are missing");
    Error::plain(Code::FileGone)
}

const EXTENSIONS: &str = "creation,creation-with-upload,termination";
/// That an upload grows is stored so often; a day of silence ends it.
const TOUCH_MS: u64 = 3_600_000;
