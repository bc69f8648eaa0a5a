//! The rules for names and passwords, each refusal with the sentence that says how to do it right.

use super::error::{Error, Result};

/// User names: nothing is normalised, so that a name has one spelling.
pub(crate) fn user_name(name: &str) -> Result<()> {
    let chars = name.chars().count();
    if !(NAME_CHARS.0..=NAME_CHARS.1).contains(&chars) {
        return Err(Error::invalid(format!(
            "name: use {} to {} characters.",
            NAME_CHARS.0, NAME_CHARS.1
        )));
    }
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(Error::invalid("name: use lower-case letters; names have one spelling."));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if !name.chars().all(allowed) {
        return Err(Error::invalid("name: use only the characters a-z 0-9 . _ -"));
    }
    if name.starts_with(['.', '_', '-']) {
        return Err(Error::invalid("name: start with a letter or a digit."));
    }
    Ok(())
}

/// Names to show, of users and devices: any text without control characters.
pub(crate) fn shown(field: &'static str, text: &str) -> Result<()> {
    let chars = text.chars().count();
    if !(1..=SHOWN_CHARS_MAX).contains(&chars) || text.trim().is_empty() {
        return Err(Error::invalid(format!("{field}: use 1 to {SHOWN_CHARS_MAX} characters.")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "{field}: leave out line breaks and control characters."
        )));
    }
    Ok(())
}

/// Like [`shown`]; one name is the server's own.
pub(crate) fn device_name(name: &str) -> Result<()> {
    shown("device_name", name)?;
    if name == SERVER_DEVICE {
        return Err(Error::invalid(
            "device_name: \"server-api\" is the server's own; use another.",
        ));
    }
    Ok(())
}

/// Passwords: length only (NIST SP 800-63B, 3.1.1.2: no rules of composition).
pub(crate) fn password(field: &'static str, password: &str) -> Result<()> {
    let chars = password.chars().count();
    if !(PASSWORD_CHARS.0..=PASSWORD_CHARS.1).contains(&chars) {
        return Err(Error::invalid(format!(
            "{field}: use {} to {} characters.",
            PASSWORD_CHARS.0, PASSWORD_CHARS.1
        )));
    }
    Ok(())
}

/// The device of a system user from which `POST /v1/server/messages` sends.
pub(crate) const SERVER_DEVICE: &str = "server-api";

const NAME_CHARS: (usize, usize) = (3, 32);
const SHOWN_CHARS_MAX: usize = 64;
const PASSWORD_CHARS: (usize, usize) = (8, 256);
