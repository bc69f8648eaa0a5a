//! Many users and relations at once, for load tests: without password hashing, with bounded
//! concurrency, so that the store can group the transactions.

use anser_proto::{
    UserId,
    rest::admin::{self, BATCH_MAX},
};
use anser_store::{NewUser, RelationAction};
use axum::Json;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Operator;
use crate::{
    api::{
        App,
        error::{Error, Result},
        extract, relation, session, user, validate,
    },
    clock,
};

/// Stops at the first name that can not be; the users before it stay.
pub(super) async fn users(
    shared: Operator,
    extract::Json(body): extract::Json<admin::CreateUsers>,
) -> Result<Json<admin::CreatedUsers>> {
    within_limit(body.names.len())?;
    for name in &body.names {
        validate::user_name(name)?;
    }
    let made = stream::iter(body.names).map(|name| create(&shared.app, name));
    let users = made.buffered(CONCURRENCY).try_collect().await?;
    Ok(Json(admin::CreatedUsers { users }))
}

/// Stops at the first pair that can not be; the relations before it stay.
pub(super) async fn relations(
    shared: Operator,
    extract::Json(body): extract::Json<admin::BefriendMany>,
) -> Result<Json<admin::BefriendedMany>> {
    within_limit(body.pairs.len())?;
    let app = &shared.app;
    let made = stream::iter(body.pairs).map(async |[one, other]| {
        Ok::<_, Error>(relation::change(app, one, other, RelationAction::Befriend).await?.id)
    });
    let conversations = made.buffered(CONCURRENCY).try_collect().await?;
    Ok(Json(admin::BefriendedMany { conversations }))
}

async fn create(app: &App, name: String) -> Result<admin::CreatedUser> {
    let new = NewUser {
        id: UserId::random(),
        display_name: name.clone(),
        name,
        password_hash: None,
        system: false,
        invite: None,
        now_ms: clock::now_ms(),
    };
    let user = user::created(app.store.create_user(new).await?)?;
    let made = session::mint(app, user, DEVICE_NAME.into()).await?;
    Ok(admin::CreatedUser { user: made.user, device: made.device, token: made.token })
}

fn within_limit(items: usize) -> Result<()> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("At most {BATCH_MAX} at once; send several batches.")))
}

/// About what the store's writer takes into one commit.
const CONCURRENCY: usize = 256;
const DEVICE_NAME: &str = "batch";
