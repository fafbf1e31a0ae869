//! The driver `SwiftStorage`.

use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};

use super::driver::Driver;
use super::endpoint::{self, Endpoint};
use super::key_prefix::{self, Rule};
use super::parameters::{Layer, Parameters};
use crate::reader::{Remark, did_you_mean};
use crate::secret::Secret;

/// `SwiftStorage`: a container of OpenStack Swift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwiftStorage {
    /// `auth_url`, required: where tokens are given out, as a rule with the version in its path: `/v3`, `/v2.0`, `/auth/v1.0`.
    pub auth_url: Endpoint,
    /// `auth_version`: how (default: 2).
    pub auth_version: SwiftAuthVersion,
    /// `swift_user`, required: who asks. With version 1 as Swift wants it, `ACCOUNT:USER`; with the others `TENANT:USER` has been taken apart.
    pub user: String,
    /// `swift_password`, required: the password, or the key of version 1.
    pub password: Secret<String>,
    /// `os_options`: what else OpenStack wants to know.
    pub options: OpenStackOptions,
    /// `swift_container`, required: the container.
    pub container: String,
    /// `storage_path`, required, as it stands right before every key: without slashes in front, with one behind unless it is empty or
    /// `simple_path_concat` is true (default: false).
    pub key_prefix: String,
    /// `ca_cert_path`: a file with the authorities that certificates are checked against, which is there (default: those of the system).
    /// `conf/stack/` in front stands for the directory of the configuration, as in Quay's image; else a relative path starts from the working
    /// directory.
    pub ca_certificate: Option<PathBuf>,
    /// `temp_url_key`: what URLs for reading are signed with. Without it blobs are streamed.
    pub temp_url_key: Option<Secret<String>>,
    /// `connect_timeout`, in seconds: for how long a connection may take (default: 5 s).
    pub connect_timeout: Duration,
    /// `retry_count`: how often a request is tried again, up to 100 (default: 5, and 0 is 5 too).
    pub retry_count: u32,
    /// `retry_on_ratelimit`: whether it is also tried again when the store says that it is asked too often (default: true).
    pub retry_on_rate_limit: bool,
}

/// How Swift gives out tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwiftAuthVersion {
    /// `1`: Swift's own, by `X-Auth-User` and `X-Auth-Key`.
    V1,
    /// `2`: Keystone's, with tenants.
    V2,
    /// `3`: Keystone's, with projects and domains.
    V3,
}

/// `os_options` of Swift: all optional. Where a name and an id are given, the id counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenStackOptions {
    /// `project_id`, or `tenant_id`.
    pub project_id: Option<String>,
    /// `project_name`, or `tenant_name`, or what stands before the colon in `swift_user`.
    pub project_name: Option<String>,
    /// `project_domain_id`.
    pub project_domain_id: Option<String>,
    /// `project_domain_name`.
    pub project_domain_name: Option<String>,
    /// `user_id`, instead of `swift_user`.
    pub user_id: Option<String>,
    /// `user_domain_id`.
    pub user_domain_id: Option<String>,
    /// `user_domain_name`.
    pub user_domain_name: Option<String>,
    /// `region_name`: of the catalogue's endpoints that of this region (default: the first).
    pub region_name: Option<String>,
    /// `service_type` in the catalogue (default: `object-store`).
    pub service_type: Option<String>,
    /// `endpoint_type` in the catalogue, such as `internalURL` (default: `publicURL`).
    pub endpoint_type: Option<String>,
    /// `object_storage_url`: where the account's containers are, whatever the catalogue says.
    pub object_storage_url: Option<Endpoint>,
    /// `auth_token`: a token that is there already.
    pub auth_token: Option<Secret<String>>,
}

pub(super) const PARAMETERS: [&str; 13] = [
    "auth_url",
    "auth_version",
    "ca_cert_path",
    "connect_timeout",
    OPTIONS,
    "retry_count",
    "retry_on_ratelimit",
    "simple_path_concat",
    "storage_path",
    "swift_container",
    "swift_password",
    USER,
    "temp_url_key",
];

const OPTIONS: &str = "os_options";
const USER: &str = "swift_user";

/// Of `os_options`, what is read; Quay's library lets everything else pass.
const KNOWN_OPTIONS: [&str; 14] = [
    "auth_token",
    "endpoint_type",
    "object_storage_url",
    "project_domain_id",
    "project_domain_name",
    "project_id",
    "project_name",
    "region_name",
    "service_type",
    "tenant_id",
    "tenant_name",
    "user_domain_id",
    "user_domain_name",
    "user_id",
];

/// Quay's defaults.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_COUNT: u32 = 5;

pub(super) fn read(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let auth_version = read_auth_version(parameters);
    let rule = if parameters.flag("simple_path_concat", false) {
        Rule::Concatenate
    } else {
        Rule::DropAll
    };
    let key_prefix = key_prefix::read(parameters, rule);
    let container = parameters.container("swift_container");
    if parameters.given("auth_url").is_none() {
        parameters.required_text("auth_url", endpoint::ALLOWED);
    }
    let auth_url = endpoint::read_url(parameters, "auth_url");
    let user = parameters.required_text(USER, "the name of a user");
    let password = parameters.required_secret("swift_password", "the user's password");
    let options = read_options(parameters);
    let (user, options) = match user {
        Some(user) => {
            let (user, options) = with_tenant(auth_version, user, options);
            (Some(user), options)
        }
        None => (None, options),
    };
    check_project(parameters, auth_version, &options);
    let retry_count = parameters
        .quoted_number("retry_count", 0..=100)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0);
    Some(Driver::SwiftStorage(Box::new(SwiftStorage {
        ca_certificate: parameters.file("ca_cert_path"),
        temp_url_key: parameters.secret("temp_url_key"),
        connect_timeout: parameters.seconds("connect_timeout", CONNECT_TIMEOUT),
        retry_count: retry_count.unwrap_or(RETRY_COUNT),
        retry_on_rate_limit: parameters.flag("retry_on_ratelimit", true),
        auth_url: auth_url?,
        auth_version,
        user: user?,
        password: password?,
        options,
        container: container?,
        key_prefix: key_prefix?,
    })))
}

fn read_auth_version(parameters: &mut Parameters<'_, '_>) -> SwiftAuthVersion {
    match parameters.quoted_number("auth_version", 1..=3) {
        Some(1) => SwiftAuthVersion::V1,
        Some(3) => SwiftAuthVersion::V3,
        _ => SwiftAuthVersion::V2,
    }
}

fn read_options(parameters: &mut Parameters<'_, '_>) -> OpenStackOptions {
    let Some((path, value)) = parameters.given(OPTIONS) else {
        return OpenStackOptions::default();
    };
    let Value::Dict(_, entries) = value else {
        parameters
            .keys
            .mismatch(&path, value, "a map of options", "correct it");
        return OpenStackOptions::default();
    };
    warn_of_unknown(parameters, &path, entries);
    let layer = Layer {
        path,
        around: value,
        entries,
    };
    let mut options = Parameters::new(parameters.keys, vec![layer]);
    let mut either = |one: &str, other: &str| {
        let (one, other) = (options.text(one), options.text(other));
        one.or(other)
    };
    let project_id = either("project_id", "tenant_id");
    let project_name = either("project_name", "tenant_name");
    OpenStackOptions {
        project_id,
        project_name,
        project_domain_id: options.text("project_domain_id"),
        project_domain_name: options.text("project_domain_name"),
        user_id: options.text("user_id"),
        user_domain_id: options.text("user_domain_id"),
        user_domain_name: options.text("user_domain_name"),
        region_name: options.text("region_name"),
        service_type: options.text("service_type"),
        endpoint_type: options.text("endpoint_type"),
        object_storage_url: endpoint::read_url(&mut options, "object_storage_url"),
        auth_token: options.secret("auth_token"),
    }
}

fn warn_of_unknown(parameters: &mut Parameters<'_, '_>, path: &str, entries: &Dict) {
    for (name, value) in entries {
        if !KNOWN_OPTIONS.contains(&name.as_str()) {
            let hint = did_you_mean(name, KNOWN_OPTIONS);
            let remark = Remark::new("unknown option, without effect", "", hint);
            parameters
                .keys
                .warn(&format!("{path}.{name}"), Some(value), remark);
        }
    }
}

/// Takes `TENANT:USER` apart, as Quay's library does where no tenant is named.
fn with_tenant(
    auth_version: SwiftAuthVersion,
    user: String,
    mut options: OpenStackOptions,
) -> (String, OpenStackOptions) {
    if auth_version != SwiftAuthVersion::V1
        && options.project_name.is_none()
        && let Some((tenant, name)) = user.split_once(':')
    {
        options.project_name = Some(tenant.to_owned());
        return (name.to_owned(), options);
    }
    (user, options)
}

fn check_project(
    parameters: &mut Parameters<'_, '_>,
    auth_version: SwiftAuthVersion,
    options: &OpenStackOptions,
) {
    let is_known = options.project_id.is_some() || options.project_name.is_some();
    let (what, allowed) = match auth_version {
        SwiftAuthVersion::V1 => return,
        SwiftAuthVersion::V2 => ("tenant", "tenant_id or tenant_name"),
        SwiftAuthVersion::V3 => ("project", "project_id or project_name"),
    };
    if !is_known {
        let problem = format!("no {what} is named, without which there is no token for a store");
        let remark = Remark::new(problem, allowed, "add it to os_options");
        parameters.refuse_absent(OPTIONS, remark);
    }
}
