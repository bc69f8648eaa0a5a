//! Where sessions come from: a password, a product's backend, or one token given by hand.

use std::{future::Future, pin::Pin};

use anser_proto::{
    Code,
    rest::{LoggedIn, Login, Register},
};

use crate::{
    error::{Error, ErrorKind, Result},
    rest::Rest,
};

/// A login that is under way.
pub type LoginFuture<'a> = Pin<Box<dyn Future<Output = Result<LoggedIn>> + Send + 'a>>;

/// Gives a new session (a new device) when there is none or the old one ended.
pub trait Credentials: Send + Sync + 'static {
    /// Logs in, always as the same user.
    ///
    /// Asked once for a new storage, and again when the session was revoked or the device can not
    /// go on.
    ///
    /// # Errors
    /// One that is retryable ([`Error::unreachable`]) is tried again later; another one ends the
    /// client ([`Error::refused`]).
    fn login<'a>(&'a self, rest: &'a Rest) -> LoginFuture<'a>;
}

/// Name and password.
#[derive(Clone)]
pub struct Password {
    name: String,
    password: String,
    device_name: String,
    register: bool,
}

/// One session that something else minted, such as a product's backend through the server API.
/// It can not be renewed: when it ends, the client ends.
pub struct Session(parking_lot::Mutex<Option<LoggedIn>>);

impl Password {
    /// Logs in as `name`; the device is called `device_name` in the list of sessions.
    pub fn new(
        name: impl Into<String>,
        password: impl Into<String>,
        device_name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            device_name: device_name.into(),
            register: false,
        }
    }

    /// Registers the name first, if it is free.
    #[must_use]
    pub fn or_register(mut self) -> Self {
        self.register = true;
        self
    }
}

impl Credentials for Password {
    fn login<'a>(&'a self, rest: &'a Rest) -> LoginFuture<'a> {
        Box::pin(async move {
            if self.register {
                let register = Register {
                    name: self.name.clone(),
                    password: self.password.clone(),
                    display_name: None,
                    invite: None,
                };
                match rest.register(&register).await {
                    Ok(_) => {}
                    Err(error) if error.code() == Some(Code::NameTaken) => {}
                    Err(error) => return Err(error),
                }
            }
            let login = Login {
                name: self.name.clone(),
                password: self.password.clone(),
                device_name: self.device_name.clone(),
            };
            rest.login(&login).await
        })
    }
}

impl Session {
    /// Uses this session.
    pub fn new(session: LoggedIn) -> Self {
        Self(parking_lot::Mutex::new(Some(session)))
    }

    /// No session but the one in the storage: when that ends, the client ends.
    pub fn stored() -> Self {
        Self(parking_lot::Mutex::new(None))
    }
}

impl Credentials for Session {
    fn login<'a>(&'a self, _: &'a Rest) -> LoginFuture<'a> {
        let session = self.0.lock().take();
        let ended = || {
            let code = ErrorKind::Refused(Code::Unauthenticated);
            Error::new(code, "the session ended and there are no credentials for another")
        };
        Box::pin(std::future::ready(session.ok_or_else(ended)))
    }
}
