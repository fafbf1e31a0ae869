//! Whether the configuration's key fits the database, before anybody signs in.

use roadstead_auth::Authenticator;

use crate::error::StartError;

/// Refuses to start where nothing that the database holds encrypted can be read, and warns where something cannot.
pub(crate) async fn check(authenticator: &Authenticator) -> Result<(), StartError> {
    for column in authenticator.check_encrypted_fields().await? {
        tracing::warn!(
            table = column.table,
            column = column.column,
            "DATABASE_SECRET_KEY does not decrypt {column}: the robots and tokens that they belong to cannot sign in"
        );
    }
    Ok(())
}
