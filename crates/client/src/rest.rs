//! The REST side of the SDK: a typed method per route, without state but the address.

mod file;

use std::time::Duration;

use anser_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    rest::{
        ChangePassword, Connectors, Conversations, LoggedIn, Login, Messages, Problem, Register,
        Relation, Relations, RequestRelation, ServerInfo, Sessions, Snapshot, UpdateProfile, User,
    },
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};

/// No request of a healthy server takes this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Far above any honest answer: a snapshot takes about 1 KiB a conversation.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A server's REST interface; a cheap clone.
#[derive(Clone, Debug)]
pub struct Rest {
    http: reqwest::Client,
    base: String,
}

/// Which part of a conversation's history, by message numbers (`conv_seq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest messages.
    Latest,
    /// Those right below this number.
    Before(Seq),
    /// Those right above this number.
    After(Seq),
    /// Half below, this one, half above.
    Around(Seq),
}

impl Rest {
    /// A client for the server at `base`, such as `http://127.0.0.1:7401`.
    ///
    /// # Errors
    /// `Protocol`: the HTTP client can not be made.
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.map_err(|error| {
            Error::with(ErrorKind::Protocol, "the HTTP client does not start", error)
        })?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// Makes an account.
    ///
    /// # Errors
    /// `Refused` with `name_taken`, `registration_closed`, `invite_invalid` or `invalid_request`.
    pub async fn register(&self, register: &Register) -> Result<User> {
        self.call(self.request(Method::POST, "/users", None).json(register)).await
    }

    /// Logs in as a new device.
    ///
    /// # Errors
    /// `Refused` with `wrong_password` or `rate_limited`.
    pub async fn login(&self, login: &Login) -> Result<LoggedIn> {
        self.call(self.request(Method::POST, "/sessions", None).json(login)).await
    }

    /// What the server is and takes.
    ///
    /// # Errors
    /// As for every call: `Unreachable`, `Refused`, `Protocol`.
    pub async fn server(&self) -> Result<ServerInfo> {
        self.call(self.request(Method::GET, "/server", None)).await
    }

    /// The calls of a session.
    pub fn with_token(&self, token: impl Into<String>) -> Authorized {
        Authorized { rest: self.clone(), token: token.into() }
    }

    fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/v1{path}", self.base));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Error::with(ErrorKind::Protocol, "the server's answer is not understood", error)
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body = self.body(answer).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// The body of an answer that is no file.
    async fn body(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::new(ErrorKind::Protocol, "the server's answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let detail = format!("the server at {} can not be reached", self.base);
        Error::with(ErrorKind::Unreachable, detail, error)
    }
}

/// What an answer that is no success says.
fn refused(status: StatusCode, body: &[u8]) -> Error {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else { return unexplained(status) };
    let kind = match Code::from_name(&problem.code) {
        Some(code) => ErrorKind::Refused(code),
        // A code of a later version: the problem itself tells whether it passes.
        None if problem.retryable => ErrorKind::Refused(Code::Unavailable),
        None => ErrorKind::Protocol,
    };
    Error::new(kind, problem.detail)
}

/// What a status says without a problem: something in front of the server answered, mostly.
fn unexplained(status: StatusCode) -> Error {
    let kind = match status.as_u16() {
        // What a proxy says while there is no server behind it, or too much comes.
        408 | 425 | 429 | 500..600 => ErrorKind::Unreachable,
        _ => ErrorKind::Protocol,
    };
    Error::new(kind, format!("the server answered {status}"))
}

/// The calls of one session.
#[derive(Clone)]
pub struct Authorized {
    rest: Rest,
    token: String,
}

impl Authorized {
    /// Ends this session.
    ///
    /// # Errors
    /// As for every call: `Unreachable`, `Refused` (`unauthenticated` …), `Protocol`.
    pub async fn logout(&self) -> Result<()> {
        self.done(self.request(Method::DELETE, "/sessions/current")).await
    }

    /// Where to connect, best first.
    ///
    /// # Errors
    /// As for every call.
    pub async fn connectors(&self) -> Result<Connectors> {
        self.get("/connectors").await
    }

    /// The own profile.
    ///
    /// # Errors
    /// As for every call.
    pub async fn me(&self) -> Result<User> {
        self.get("/me").await
    }

    /// Changes the own profile.
    ///
    /// # Errors
    /// As for every call.
    pub async fn update_profile(&self, update: &UpdateProfile) -> Result<User> {
        self.with_body(Method::PATCH, "/me", update).await
    }

    /// Changes the password; all other sessions end.
    ///
    /// # Errors
    /// `Refused` with `wrong_password` or `invalid_request`.
    pub async fn change_password(&self, change: &ChangePassword) -> Result<()> {
        self.done(self.request(Method::PUT, "/me/password").json(change)).await
    }

    /// The own sessions.
    ///
    /// # Errors
    /// As for every call.
    pub async fn sessions(&self) -> Result<Sessions> {
        self.get("/me/sessions").await
    }

    /// Ends one of the own sessions.
    ///
    /// # Errors
    /// `Refused` with `not_found`.
    pub async fn revoke(&self, device: DeviceId) -> Result<()> {
        self.done(self.request(Method::DELETE, &format!("/me/sessions/{device}"))).await
    }

    /// Looks a user up by exact name.
    ///
    /// # Errors
    /// `Refused` with `not_found`.
    pub async fn user_by_name(&self, name: &str) -> Result<User> {
        let path = format!("/users?name={}", percent_encode(name));
        self.get(&path).await
    }

    /// Looks a user up by id.
    ///
    /// # Errors
    /// `Refused` with `not_found`.
    pub async fn user(&self, user: UserId) -> Result<User> {
        self.get(&format!("/users/{user}")).await
    }

    /// All relations with their keys.
    ///
    /// # Errors
    /// As for every call.
    pub async fn relations(&self) -> Result<Relations> {
        self.get("/relations").await
    }

    /// Asks a user to become friends; a crossing request accepts.
    ///
    /// # Errors
    /// `Refused` with `not_found`, `relation_state` or `too_many`.
    pub async fn request_relation(&self, user: UserId) -> Result<Relation> {
        self.with_body(Method::POST, "/relations", &RequestRelation { user }).await
    }

    /// `accept`, `decline`, `remove`, `block` or `unblock` the relation with a user.
    ///
    /// # Errors
    /// `Refused` with `not_found` or `relation_state`.
    pub async fn change_relation(&self, user: UserId, action: RelationAction) -> Result<Relation> {
        let path = format!("/relations/{user}/{}", action.name());
        self.rest.call(self.request(Method::POST, &path)).await
    }

    /// All conversations.
    ///
    /// # Errors
    /// As for every call.
    pub async fn conversations(&self) -> Result<Conversations> {
        self.get("/conversations").await
    }

    /// A page of history, rising.
    ///
    /// # Errors
    /// `Refused` with `not_found` or `invalid_request` (a limit above the server's maximum).
    pub async fn history(
        &self,
        conversation: ConversationId,
        range: Range,
        limit: u32,
    ) -> Result<Messages> {
        let range = match range {
            Range::Latest => String::new(),
            Range::Before(seq) => format!("&before={seq}"),
            Range::After(seq) => format!("&after={seq}"),
            Range::Around(seq) => format!("&around={seq}"),
        };
        self.get(&format!("{}?limit={limit}{range}", messages_path(conversation))).await
    }

    /// Like `history`, a page as long as the server likes.
    pub(crate) async fn history_page(
        &self,
        conversation: ConversationId,
        range: Range,
    ) -> Result<Messages> {
        let (name, seq) = match range {
            Range::Latest => return self.get(&messages_path(conversation)).await,
            Range::Before(seq) => ("before", seq),
            Range::After(seq) => ("after", seq),
            Range::Around(seq) => ("around", seq),
        };
        self.get(&format!("{}?{name}={seq}", messages_path(conversation))).await
    }

    /// All state but the messages.
    ///
    /// # Errors
    /// As for every call.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        self.get("/snapshot").await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.rest.request(method, path, Some(&self.token))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.rest.call(self.request(Method::GET, path)).await
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T> {
        self.rest.call(self.request(method, path).json(body)).await
    }

    async fn done(&self, request: RequestBuilder) -> Result<()> {
        self.rest.send(request).await.map(|_| ())
    }
}

/// What to do with a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationAction {
    /// Accept an incoming request.
    Accept,
    /// Decline an incoming request, or take the own one back.
    Decline,
    /// End being friends.
    Remove,
    /// Block the user.
    Block,
    /// Undo the own block.
    Unblock,
}

impl RelationAction {
    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Decline => "decline",
            Self::Remove => "remove",
            Self::Block => "block",
            Self::Unblock => "unblock",
        }
    }
}

fn messages_path(conversation: ConversationId) -> String {
    format!("/conversations/{conversation}/messages")
}

/// Everything but unreserved characters (RFC 3986) as `%XX`.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Error {
        refused(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn a_page_of_a_proxy_passes_or_not_by_its_status() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            for body in ["<html>Bad Gateway</html>", "", "{}"] {
                let error = told(status, body);
                assert_eq!(error.kind(), ErrorKind::Unreachable, "{status} {body}");
                assert!(error.is_retryable());
            }
        }
        for status in [304, 400, 401, 403, 404, 405, 413] {
            let error = told(status, "<html>Forbidden</html>");
            assert_eq!(error.kind(), ErrorKind::Protocol, "{status}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn a_problem_tells_by_its_code_and_one_of_a_later_version_by_itself() {
        let problem = |code: &str, status, retryable| {
            let problem = Problem {
                code: code.to_owned(),
                title: String::new(),
                status,
                detail: "why".to_owned(),
                retryable,
                request_id: "1".to_owned(),
            };
            told(status, &serde_json::to_string(&problem).unwrap())
        };
        let known = problem("quota_exceeded", 413, true);
        assert_eq!(known.kind(), ErrorKind::Refused(Code::QuotaExceeded));
        assert!(!known.is_retryable());
        let passes = problem("of_a_later_version", 413, true);
        assert!(passes.is_retryable(), "{passes:?}");
        assert_eq!(passes.to_string(), "why");
        let stays = problem("of_a_later_version", 503, false);
        assert_eq!((stays.kind(), stays.is_retryable()), (ErrorKind::Protocol, false));
    }
}
