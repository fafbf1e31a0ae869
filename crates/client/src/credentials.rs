//! Who the client says it is. How it is said is [`crate::authorization`]'s business.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

/// A user name and its password. `Debug` shows the name only.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// The credentials of `username`.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: Zeroizing::new(password.into()),
        }
    }

    /// The name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The `Authorization` header of RFC 7617, marked as sensitive.
    pub(crate) fn basic(&self) -> HeaderValue {
        let pair = Zeroizing::new(format!("{}:{}", self.username, self.password.as_str()));
        let mut value =
            HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
                .expect("base64 is made of characters that headers may have");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_sent_but_never_shown() {
        let credentials = Credentials::new("Aladdin", "open sesame");
        // The example of RFC 7617, section 2.
        assert_eq!(credentials.basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(credentials.basic().is_sensitive());
        assert!(!format!("{credentials:?}").contains("sesame"));
    }
}
