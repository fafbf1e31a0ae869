//! What whoever runs a registry can do about a server that does not let it in.

/// For a server that is not there.
pub(super) const UNREACHABLE: &str = "check host and port in DB_URI, and whether the server runs and takes connections from this machine";

/// For a server with which no encryption is agreed on.
pub(super) const ENCRYPTION: &str = "check sslmode and the certificates in DB_CONNECTION_ARGS";

/// For a refusal with one of PostgreSQL's codes (its appendix A).
pub(super) fn on_refusal(code: &str) -> Option<&'static str> {
    match code {
        // invalid_password.
        "28P01" => Some("check user and password in DB_URI"),
        // invalid_authorization_specification: no such role, one that may not log in, or no line for it.
        "28000" => Some("check the user in DB_URI, sslmode, and the server's pg_hba.conf"),
        // invalid_catalog_name.
        "3D000" => Some("create it, or name another in DB_URI"),
        // insufficient_privilege.
        "42501" => Some("have an administrator grant the role CONNECT on the database"),
        _ => None,
    }
}
