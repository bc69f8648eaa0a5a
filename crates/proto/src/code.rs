//! The one table of codes that frames, REST answers and SDKs share.
//!
//! A code has a number (frames), a name (JSON), a sentence for people, whether trying the same
//! thing again can help, and the HTTP status that REST uses for it. Numbers are never reused.

use std::fmt;

macro_rules! codes {
    (
        $($(#[$doc:meta])* $variant:ident = $number:literal,
            $name:literal, $status:literal, $retryable:literal, $sentence:literal;)*
    ) => {
        /// Why something was refused or a connection closed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* #[doc = $sentence] $variant,)* }

        impl Code {
            /// The whole table, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub const fn number(self) -> u32 { match self { $(Self::$variant => $number,)* } }
            /// The stable name in JSON.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)* } }
            /// Whether the same request or connection can succeed later, unchanged.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
            /// One sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
            /// The code of a number, if this version knows it.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// The code of a name, if this version knows it.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    Normal = 1, "normal", 200, true, "The connection was closed on purpose.";
    GoingAway = 2, "going_away", 503, true, "The server is stopping; reconnect.";
    Unavailable = 3, "unavailable", 503, true, "The server can not take this now; try again later.";
    Internal = 4, "internal", 500, true, "Something went wrong inside the server; its log has the request id.";
    TimedOut = 5, "timed_out", 408, true, "The other side was silent for too long.";
    RateLimited = 6, "rate_limited", 429, true, "Too many attempts; wait, then try again.";
    DiskFull = 7, "disk_full", 507, true, "The server's disk is nearly full; it takes no new commands until there is room.";
    TooManyConnections = 8, "too_many_connections", 429, true, "Too many connections of this user or address.";

    Malformed = 20, "malformed", 400, false, "The bytes do not decode.";
    FrameTooLarge = 21, "frame_too_large", 413, false, "The frame is above the limit.";
    UnexpectedFrame = 22, "unexpected_frame", 400, false, "This frame is not allowed in this state.";
    UnsupportedVersion = 23, "unsupported_version", 400, false, "The server does not speak this version of the protocol.";
    AckAboveHead = 24, "ack_above_head", 400, false, "An acknowledgement names a number that was never pushed.";
    WindowExceeded = 25, "window_exceeded", 400, false, "More was pushed than the window allows.";
    InboxGap = 26, "inbox_gap", 400, true, "An entry is missing before this one; reconnect and resume.";
    OutboxGap = 27, "outbox_gap", 400, true, "A command is missing before this one; reconnect and resend from the server's position.";

    Unauthenticated = 40, "unauthenticated", 401, false, "The token is not valid (any more); log in again.";
    Replaced = 41, "replaced", 409, false, "The same device connected again; this older connection ended.";
    DeviceStale = 42, "device_stale", 409, false, "The device's storage is older than what it already sent; log in as a new device.";
    Conflict = 43, "conflict", 409, false, "The same number was used before with another content.";

    NotMember = 60, "not_member", 403, false, "You can not write to this conversation.";
    BodyTooLarge = 61, "body_too_large", 413, false, "The body is above the limit.";
    BodyEmpty = 62, "body_empty", 400, false, "The message has no body.";
    UnknownCommand = 63, "unknown_command", 400, false, "The server does not know this kind of command.";
    UnknownKeyVersion = 64, "unknown_key_version", 400, false, "The relation has no key of this version.";
    ReadAboveHead = 65, "read_above_head", 400, false, "The read mark is above the last message.";
    FileIncomplete = 66, "file_incomplete", 409, false, "The file is not uploaded to its end.";
    FileGone = 67, "file_gone", 410, false, "The file is not there (any more); upload it again.";
    TooManyFiles = 68, "too_many_files", 400, false, "The message lists more files than a message may have.";

    InvalidRequest = 80, "invalid_request", 400, false, "The request is not valid.";
    NotFound = 81, "not_found", 404, false, "There is no such thing, or it is not yours to see.";
    Forbidden = 82, "forbidden", 403, false, "You may not do this.";
    NameTaken = 83, "name_taken", 409, false, "This user name is taken.";
    WrongPassword = 84, "wrong_password", 401, false, "The user name or the password is wrong.";
    RegistrationClosed = 85, "registration_closed", 403, false, "This server does not take registrations.";
    InviteInvalid = 86, "invite_invalid", 403, false, "The invitation code is not valid (any more).";
    RelationState = 87, "relation_state", 409, false, "The relation is in a state that does not allow this.";
    PayloadTooLarge = 88, "payload_too_large", 413, false, "The request body is above the limit.";
    MethodNotAllowed = 89, "method_not_allowed", 405, false, "This address does not take this method.";
    UnsupportedMedia = 90, "unsupported_media_type", 415, false, "The body is not of the media type that this address takes.";
    BelowFloor = 91, "below_floor", 410, false, "The inbox entries before the floor were pruned; take a snapshot.";
    TooMany = 92, "too_many", 409, false, "The account has as many of these as it may have.";
    FileTooLarge = 93, "file_too_large", 413, false, "The file is larger than the server takes.";
    QuotaExceeded = 94, "quota_exceeded", 413, false, "The files of this account would take more room than it has.";
    OffsetConflict = 95, "offset_conflict", 409, false, "The upload goes on at another offset; ask for it, then send from there.";
    UploadBusy = 96, "upload_busy", 423, true, "Another request writes to this upload.";
    RangeInvalid = 97, "range_invalid", 416, false, "The file has no bytes in this range.";
    UnsupportedTus = 98, "unsupported_tus", 412, false, "The server does not speak this version of the tus protocol.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_lead_back() {
        let numbers: HashSet<_> = Code::ALL.iter().map(|code| code.number()).collect();
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!((numbers.len(), names.len()), (Code::ALL.len(), Code::ALL.len()));
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(*code));
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.number()));
        assert_eq!((Code::from_number(0), Code::from_number(u32::MAX)), (None, None));
        assert_eq!((Code::from_name(""), Code::from_name("Normal")), (None, None));
    }

    #[test]
    fn every_line_is_well_formed() {
        for code in Code::ALL {
            let name = code.name();
            let snake = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(snake && !name.starts_with('_'), "{name}");
            assert!((200..600).contains(&code.status()), "{name}");
            assert!(code.sentence().ends_with('.'), "{name}");
            assert_eq!(code.to_string(), code.sentence());
        }
    }

    /// A client that retries what can not succeed floods; one that gives up loses: both are decided
    /// here.
    #[test]
    fn what_ends_a_device_is_not_retryable_and_what_passes_is() {
        for code in [Code::Replaced, Code::DeviceStale, Code::Unauthenticated, Code::Malformed] {
            assert!(!code.retryable(), "{code:?}");
        }
        for code in [Code::OutboxGap, Code::InboxGap, Code::GoingAway, Code::TimedOut] {
            assert!(code.retryable(), "{code:?}");
        }
    }
}
