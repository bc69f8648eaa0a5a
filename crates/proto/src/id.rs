//! Identifiers and positions. All are below [`NUMBER_MAX`], so that every JSON reader can hold
//! them.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A position in a log, or a number of one of its entries: 1, 2, 3 … without gaps; 0 is "nothing".
pub type Seq = u64;

/// First number that is not allowed: 2^53, the end of the integers that an IEEE double holds.
pub const NUMBER_MAX: u64 = 1 << 53;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// A random id from the operating system, in 1 .. 2^53. The store checks that it is
            /// free.
            ///
            /// # Panics
            /// When the operating system gives no random bytes.
            pub fn random() -> Self {
                loop {
                    let bits = getrandom::u64().expect("the operating system gives random bytes");
                    let id = bits >> 11;
                    if id != 0 {
                        return Self(id);
                    }
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::rest::id_schema()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

id! {
    /// A user account.
    UserId
}
id! {
    /// One installed client of a user. The server mints it at login.
    DeviceId
}
id! {
    /// Where messages are ordered. A 1:1 conversation has the id of the relation it belongs to.
    ConversationId
}
id! {
    /// One Hello of a device. 0: no session, as for commands that the server itself makes.
    SessionId
}

id! {
    /// One run of a server's process.
    NodeId
}
id! {
    /// An uploaded file.
    FileId
}

/// The text is no id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id is a decimal number from 1 to 9007199254740991, as a string")]
pub struct IdError;

impl From<ParseIntError> for IdError {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

/// Decimal digits only, no sign, no leading zero: one text per id.
fn parse_id(text: &str) -> Result<u64, IdError> {
    if text.starts_with(['0', '+']) {
        return Err(IdError);
    }
    let number: u64 = text.parse()?;
    if number < NUMBER_MAX { Ok(number) } else { Err(IdError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decimal_strings_in_json() {
        let id = ConversationId(7_205_759_403_792_793);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, r#""7205759403792793""#);
        assert_eq!(serde_json::from_str::<ConversationId>(&json).unwrap(), id);
        // A string with an escape can not be borrowed from the input.
        assert_eq!(serde_json::from_str::<UserId>(r#""\u0031""#).unwrap(), UserId(1));
        let value = serde_json::Value::from("12");
        assert_eq!(serde_json::from_value::<DeviceId>(value).unwrap(), DeviceId(12));
    }

    #[test]
    fn other_json_is_no_id() {
        for json in ["12", "1.0", "null", "[\"1\"]", "{}", "true"] {
            assert!(serde_json::from_str::<UserId>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn one_text_per_id() {
        assert_eq!("9007199254740991".parse(), Ok(UserId(NUMBER_MAX - 1)));
        let no_ids = [
            "",
            "0",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "1e3",
            "١",
            "9007199254740992",
            "18446744073709551616",
        ];
        for text in no_ids {
            assert_eq!(text.parse::<UserId>(), Err(IdError), "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<UserId>(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn ids_show_their_kind_in_debug_and_only_the_number_in_text() {
        assert_eq!(format!("{:?} {}", DeviceId(5), DeviceId(5)), "DeviceId(5) 5");
    }

    #[test]
    fn random_ids_are_allowed_and_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| UserId::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| (1..NUMBER_MAX).contains(&id.0)));
    }
}
