//! Who asks: the bearer token of a device, or the server key.

use anser_proto::{Code, DeviceId, UserId};
use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

use super::{
    App,
    error::{Error, Result},
    listen::Peer,
};
use crate::token;

/// A device with a valid token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
}

/// The product's own server, which holds the server key.
pub(crate) struct Product;

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let token = bearer(parts)?;
        let owner = app.store.token(token::hash(token)).await?;
        let owner = owner.ok_or_else(|| {
            Error::new(Code::Unauthenticated, "The token is not valid (any more); log in again.")
        })?;
        Ok(Self { user: owner.user, device: owner.device })
    }
}

impl FromRequestParts<App> for Product {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let Some(expected) = app.server_key_hash else {
            return Err(Error::new(Code::Forbidden, "This server has no server key; make one."));
        };
        // Comparing hashes of a 256-bit secret tells nothing by its timing.
        if token::hash(bearer(parts)?) == expected {
            return Ok(Self);
        }
        Err(Error::new(
            Code::Unauthenticated,
            "This address takes the server key, not a user's token.",
        ))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// The token that a request carries.
pub(super) fn bearer(parts: &Parts) -> Result<&str> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    // With two of them a proxy in front may have checked the other one.
    let value = values.next().filter(|_| values.next().is_none());
    let value = value.and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.ok_or_else(|| {
        Error::new(Code::Unauthenticated, "Send the header Authorization: Bearer <token>.")
    })
}

/// Prefix of device tokens.
pub(crate) const DEVICE_TOKEN: &str = "ansd_";
/// Prefix of invitation codes.
pub(crate) const INVITE_CODE: &str = "ansi_";
