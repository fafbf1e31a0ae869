//! Passwords that clients hold encrypted, so that the password itself is in no file of theirs: `{"password": ...}`, sealed with `SECRET_KEY`.

use roadstead_secrets::{IV_BYTES, PasswordKey, Secret, UnsealError};
use serde::{Deserialize, Serialize};

use crate::authenticator::{Authenticator, Inner};
use crate::login::{Credentials, LoginError};

/// What is sealed, as it is read. The text is wiped with the secret that it becomes.
#[derive(Deserialize)]
struct Sealed {
    password: String,
}

#[derive(Serialize)]
struct Sealing<'a> {
    password: &'a str,
}

fn unseal(key: &PasswordKey, password: &Secret) -> Result<Secret, UnsealError> {
    let text = key.unseal(password.expose())?;
    let sealed: Sealed = serde_json::from_str(text.expose()).map_err(|_| UnsealError::WrongKey)?;
    Ok(Secret::new(sealed.password))
}

impl Authenticator {
    /// The password as a client may keep it and send it in place of the password, to any instance with the same `SECRET_KEY`, Quay's included. None
    /// without one.
    ///
    /// It is good for as long as the password is: whoever holds it can sign in to the registry with it, and cannot read the password in it.
    pub fn encrypted_password(&self, password: &Secret) -> Option<Secret> {
        let key = self.inner.options.password_key.as_ref()?;
        let mut iv = [0; IV_BYTES];
        self.inner.environment.ids.fill(&mut iv);
        let sealing = Sealing {
            password: password.expose(),
        };
        let text = Secret::new(serde_json::to_string(&sealing).ok()?);
        Some(Secret::new(key.seal(&text, iv)))
    }
}

impl Inner {
    /// The credentials with the password itself, if it came encrypted.
    pub(super) fn unsealed(&self, credentials: Credentials) -> Result<Credentials, LoginError> {
        let Some(key) = &self.options.password_key else {
            return Ok(credentials);
        };
        let password = match unseal(key, &credentials.password) {
            Ok(password) => password,
            Err(_) if !self.options.encrypted_passwords_only => return Ok(credentials),
            Err(UnsealError::Form) => return Err(LoginError::Unencrypted),
            // Looked at like any other, so that neither the answer nor the time that it takes tells what came out of it: it is nobody's password.
            Err(UnsealError::WrongKey) => {
                let mut nobodys = [0; 32];
                self.environment.ids.fill(&mut nobodys);
                Secret::new(nobodys.map(|byte| format!("{byte:02x}")).concat())
            }
        };
        Ok(Credentials {
            password,
            ..credentials
        })
    }
}
