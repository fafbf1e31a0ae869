//! What is said to an identity service and what its answers mean: Swift's own version 1, Keystone's 2 and 3. Nothing is sent here.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use opendal::Buffer;
use roadstead_runtime::Timestamp;
use roadstead_secrets::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{OpenStackOptions, SwiftAuthVersion, SwiftOptions};
use crate::error::{Refusal, StorageErrorKind};

/// The domain of names that come without one, as `OpenStack`'s own clients have it.
const DOMAIN_DEFAULT: &str = "default";

const SERVICE_TYPE_DEFAULT: &str = "object-store";

/// What an identity service has given.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    /// Where the account's containers are, without a slash at the end.
    pub(super) storage_url: String,
    /// When the token ends, if that was said.
    pub(super) expires: Option<Timestamp>,
}

/// Asks for a token.
pub(super) fn request(swift: &SwiftOptions) -> Result<Request<Buffer>, http::Error> {
    match swift.auth_version {
        SwiftAuthVersion::V1 => Request::get(&swift.auth_url)
            .header("x-auth-user", hidden(&swift.user)?)
            .header("x-auth-key", hidden(swift.password.expose())?)
            .body(Buffer::new()),
        SwiftAuthVersion::V2 => post(swift, "v2.0", "tokens", &body_of_version_2(swift)),
        SwiftAuthVersion::V3 => post(swift, "v3", "auth/tokens", &body_of_version_3(swift)),
    }
}

fn hidden(text: &str) -> Result<HeaderValue, http::Error> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn post(
    swift: &SwiftOptions,
    version: &str,
    path: &str,
    body: &Value,
) -> Result<Request<Buffer>, http::Error> {
    let base = swift.auth_url.trim_end_matches('/');
    let has_version = base
        .rsplit('/')
        .next()
        .is_some_and(|last| matches!(last, "v2" | "v2.0" | "v3" | "v3.0"));
    let url = if has_version {
        format!("{base}/{path}")
    } else {
        format!("{base}/{version}/{path}")
    };
    Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(Buffer::from(body.to_string()))
}

fn body_of_version_2(swift: &SwiftOptions) -> Value {
    let os = &swift.os_options;
    let mut credentials = json!({ "password": swift.password.expose() });
    match &os.user_id {
        Some(id) => credentials["userId"] = json!(id),
        None => credentials["username"] = json!(swift.user),
    }
    let mut auth = json!({ "passwordCredentials": credentials });
    match (&os.project_id, &os.project_name) {
        (Some(id), _) => auth["tenantId"] = json!(id),
        (None, Some(name)) => auth["tenantName"] = json!(name),
        (None, None) => {}
    }
    json!({ "auth": auth })
}

fn body_of_version_3(swift: &SwiftOptions) -> Value {
    let os = &swift.os_options;
    let mut user = json!({ "password": swift.password.expose() });
    if let Some(id) = &os.user_id {
        user["id"] = json!(id);
    } else {
        user["name"] = json!(swift.user);
        user["domain"] = domain(os.user_domain_id.as_deref(), os.user_domain_name.as_deref());
    }
    let mut auth = json!({
        "identity": { "methods": ["password"], "password": { "user": user } }
    });
    match (&os.project_id, &os.project_name) {
        (Some(id), _) => auth["scope"] = json!({ "project": { "id": id } }),
        (None, Some(name)) => {
            let domain = domain(
                os.project_domain_id.as_deref(),
                os.project_domain_name.as_deref(),
            );
            auth["scope"] = json!({ "project": { "name": name, "domain": domain } });
        }
        (None, None) => {}
    }
    json!({ "auth": auth })
}

fn domain(id: Option<&str>, name: Option<&str>) -> Value {
    match (id, name) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(name)) => json!({ "name": name }),
        (None, None) => json!({ "id": DOMAIN_DEFAULT }),
    }
}

/// Reads the answer.
pub(super) fn granted(
    swift: &SwiftOptions,
    now: Timestamp,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Granted, Refusal> {
    if !status.is_success() {
        return Err(refused(swift, status));
    }
    match swift.auth_version {
        SwiftAuthVersion::V1 => granted_by_version_1(&swift.os_options, now, headers),
        SwiftAuthVersion::V2 => granted_by_version_2(&swift.os_options, body),
        SwiftAuthVersion::V3 => granted_by_version_3(&swift.os_options, headers, body),
    }
}

fn refused(swift: &SwiftOptions, status: StatusCode) -> Refusal {
    let (kind, hint) = match status.as_u16() {
        401 | 403 => (
            StorageErrorKind::Denied,
            "check swift_user, swift_password and os_options",
        ),
        408 | 500..=599 => (StorageErrorKind::ServerError, "try again later"),
        413 | 429 | 498 => (StorageErrorKind::Throttled, "try again later"),
        _ => (
            StorageErrorKind::Misconfigured,
            "check auth_url, auth_version and os_options",
        ),
    };
    let message = format!(
        "{} answers {status} to a request for a token of version {}; {hint}",
        swift.auth_url, swift.auth_version
    );
    Refusal { kind, message }
}

fn granted_by_version_1(
    os: &OpenStackOptions,
    now: Timestamp,
    headers: &HeaderMap,
) -> Result<Granted, Refusal> {
    const STORAGE_TOKEN: HeaderName = HeaderName::from_static("x-storage-token");
    const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = text(STORAGE_TOKEN.as_str()).or_else(|| text(AUTH_TOKEN.as_str()));
    let token = token.ok_or_else(|| not_understood("no token"))?;
    let url = os
        .object_storage_url
        .as_deref()
        .or_else(|| text("x-storage-url"))
        .ok_or_else(|| not_understood("no storage URL"))?;
    let lifetime = text("x-auth-token-expires").and_then(|seconds| seconds.parse().ok());
    Ok(Granted {
        token: Secret::new(token),
        storage_url: url.trim_end_matches('/').to_owned(),
        expires: lifetime
            .and_then(chrono::TimeDelta::try_seconds)
            .and_then(|lifetime| now.checked_add_signed(lifetime)),
    })
}

#[derive(Deserialize)]
struct AnswerOfVersion2 {
    access: Access2,
}

#[derive(Deserialize)]
struct Access2 {
    token: Token2,
    #[serde(default, rename = "serviceCatalog")]
    catalog: Vec<Service<Value>>,
}

#[derive(Deserialize)]
struct Token2 {
    id: String,
    expires: Option<String>,
}

#[derive(Deserialize)]
struct AnswerOfVersion3 {
    token: Token3,
}

#[derive(Deserialize)]
struct Token3 {
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service<Endpoint3>>,
}

#[derive(Deserialize)]
struct Service<E> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "Vec::new")]
    endpoints: Vec<E>,
}

#[derive(Deserialize)]
struct Endpoint3 {
    interface: String,
    url: String,
    region: Option<String>,
    region_id: Option<String>,
}

fn granted_by_version_2(os: &OpenStackOptions, body: &[u8]) -> Result<Granted, Refusal> {
    let answer: AnswerOfVersion2 =
        serde_json::from_slice(body).map_err(|error| not_understood(error.to_string()))?;
    let access = answer.access;
    let interface = format!("{}URL", interface(os));
    let mut in_region = endpoints(os, access.catalog).filter(|endpoint| {
        let region = endpoint["region"].as_str();
        os.region_name.is_none() || region == os.region_name.as_deref()
    });
    let url = in_region.find_map(|endpoint| endpoint[&interface].as_str().map(str::to_owned));
    Ok(Granted {
        token: Secret::new(access.token.id),
        storage_url: storage_url(os, url)?,
        expires: access.token.expires.as_deref().and_then(moment),
    })
}

fn granted_by_version_3(
    os: &OpenStackOptions,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Granted, Refusal> {
    let token = headers
        .get("x-subject-token")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| not_understood("no token"))?;
    let answer: AnswerOfVersion3 =
        serde_json::from_slice(body).map_err(|error| not_understood(error.to_string()))?;
    let interface = interface(os);
    let url = endpoints(os, answer.token.catalog).find(|endpoint| {
        let wanted = os.region_name.as_ref();
        endpoint.interface == interface
            && (wanted.is_none()
                || endpoint.region.as_ref() == wanted
                || endpoint.region_id.as_ref() == wanted)
    });
    Ok(Granted {
        token: Secret::new(token),
        storage_url: storage_url(os, url.map(|endpoint| endpoint.url))?,
        expires: answer.token.expires_at.as_deref().and_then(moment),
    })
}

fn endpoints<E>(os: &OpenStackOptions, catalog: Vec<Service<E>>) -> impl Iterator<Item = E> {
    let wanted = os.service_type.as_deref().unwrap_or(SERVICE_TYPE_DEFAULT);
    catalog
        .into_iter()
        .filter(move |service| service.kind == wanted)
        .flat_map(|service| service.endpoints)
}

fn interface(os: &OpenStackOptions) -> &str {
    let kind = os.endpoint_type.as_deref().unwrap_or("public");
    kind.strip_suffix("URL").unwrap_or(kind)
}

fn storage_url(os: &OpenStackOptions, found: Option<String>) -> Result<String, Refusal> {
    let url = os.object_storage_url.clone().or(found);
    let url = url.ok_or_else(|| {
        let region = match &os.region_name {
            Some(region) => format!(" in region `{region}`"),
            None => String::new(),
        };
        Refusal {
            kind: StorageErrorKind::Misconfigured,
            message: format!(
                "the identity service's catalogue has no {} endpoint of type `{}`{region}; check os_options",
                interface(os),
                os.service_type.as_deref().unwrap_or(SERVICE_TYPE_DEFAULT),
            ),
        }
    })?;
    Ok(url.trim_end_matches('/').to_owned())
}

fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn not_understood(problem: impl Into<String>) -> Refusal {
    Refusal {
        kind: StorageErrorKind::Misconfigured,
        message: format!(
            "the identity service's answer is not understood: {}; check auth_url and auth_version",
            problem.into()
        ),
    }
}

#[cfg(test)]
mod tests;
