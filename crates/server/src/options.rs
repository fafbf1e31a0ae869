//! What the configuration says, in the words of the crates that act on it.

use std::net::IpAddr;

use roadstead_api::{
    ApiOptions, ConcurrencyLimits, ExternalUrl, RateLimits, Redirects, StorageProxy,
};
use roadstead_auth::{AuthOptions, PasswordKey};
use roadstead_config::{Concurrency, Config, Delivery, Network, Rate, RegistryState, UrlScheme};
use roadstead_distribution::{DistributionOptions, Writes};
use roadstead_metadata::{Features, ImmutableTags, QuotaChecks, QuotaSizes};

use crate::deployment::Deployment;
use crate::error::{StartError, secret_key};

/// What tokens are for when the configuration names no host: every region of a registry on one machine shares it.
const STANDALONE_HOSTNAME: &str = "localhost";

pub(crate) fn auth_options(
    config: &Config,
    deployment: &Deployment,
) -> Result<AuthOptions, StartError> {
    let accounts = &config.accounts;
    let hostname = config
        .hosting
        .server_hostname
        .clone()
        .unwrap_or_else(|| STANDALONE_HOSTNAME.to_owned());
    let names = |names: &[String]| names.iter().cloned().collect();
    Ok(AuthOptions {
        service: accounts.token_service.clone(),
        superusers: accounts.super_users.iter().collect(),
        superusers_full_access: accounts.super_users_full_access,
        readonly_superusers: accounts.global_readonly_super_users.iter().collect(),
        robots: !accounts.robots_disallow,
        robots_allowed: names(&accounts.robots_whitelist),
        app_tokens: accounts.app_specific_tokens,
        note_use: accounts.user_last_accessed,
        field_key: deployment.field_key.clone(),
        password_key: accounts
            .secret_key
            .as_ref()
            .map(|key| PasswordKey::new(key.expose()))
            .transpose()
            .map_err(secret_key("SECRET_KEY"))?,
        encrypted_passwords_only: accounts.encrypted_passwords_only,
        user_creation: accounts.user_creation,
        superusers_create_organizations: accounts.superusers_create_organizations,
        restricted_users: accounts.restricted_users,
        unrestricted_users: names(&accounts.restricted_users_whitelist),
        proxy_cache: config.registry.proxy_cache,
        anonymous_access: config.registry.anonymous_access,
        public_catalog: config.registry.public_catalog,
        create_namespace_on_push: config.registry.create_namespace_on_push,
        tag_window: config.tags.default_expiration,
        private_on_push: config.registry.create_private_repo_on_push,
        library_namespace: config.registry.library_namespace.clone(),
        token_life_max: accounts.token_lifetime_max,
        ..AuthOptions::new(hostname)
    })
}

pub(crate) fn distribution_options(
    config: &Config,
    deployment: &Deployment,
) -> DistributionOptions {
    let defaults = DistributionOptions::default();
    DistributionOptions {
        writes: match (config.registry.state, config.registry.disable_pushes) {
            (RegistryState::ReadOnly, _) => Writes::ReadOnly,
            (RegistryState::Normal, true) => Writes::PushesDisabled,
            (RegistryState::Normal, false) => Writes::Taken,
        },
        blob_bytes_max: config
            .registry
            .maximum_layer_size
            .unwrap_or(defaults.blob_bytes_max),
        unreferenced_hold: config.registry.push_temp_tag_expiration,
        abandoned_after: config.registry.blob_upload_threshold,
        // Quay's pages end at 100 entries unless told otherwise; ours are never shorter than our own default.
        page_entries_max: u32::try_from(config.registry.pagination_size)
            .unwrap_or(u32::MAX)
            .max(defaults.page_entries_max),
        push_wait_max: config.replication.push_wait_max,
        replication_queue: deployment.queue.clone(),
        features: features(config),
        library_namespace: config
            .registry
            .library_namespace
            .clone()
            .unwrap_or(defaults.library_namespace.clone()),
        ..defaults
    }
}

pub(crate) fn features(config: &Config) -> Features {
    Features {
        quota: match (config.quota.enabled, config.quota.invalidated) {
            (true, _) => QuotaSizes::Kept,
            (false, true) => QuotaSizes::Invalidated,
            (false, false) => QuotaSizes::Left,
        },
        quota_checks: if config.quota.enabled && config.quota.verified {
            let default = config.quota.default_bytes;
            QuotaChecks::Held {
                default_bytes: default.and_then(|bytes| i64::try_from(bytes).ok()),
            }
        } else {
            QuotaChecks::None
        },
        immutable_tags: match (config.tags.immutable, config.tags.immutable_can_expire) {
            (false, _) => ImmutableTags::Ignored,
            (true, false) => ImmutableTags::Kept,
            (true, true) => ImmutableTags::KeptUntilTheyExpire,
        },
    }
}

pub(crate) fn api_options(
    config: &Config,
    deployment: &Deployment,
) -> Result<ApiOptions, StartError> {
    let scheme = match config.hosting.preferred_url_scheme {
        UrlScheme::Http => roadstead_api::UrlScheme::Http,
        UrlScheme::Https => roadstead_api::UrlScheme::Https,
    };
    Ok(ApiOptions {
        external_url: config
            .hosting
            .server_hostname
            .as_deref()
            .map(|host| ExternalUrl::new(scheme, host))
            .transpose()?,
        manifest_bytes_max: config.registry.manifest_size_limit,
        redirects: redirects(&config.delivery),
        storage_proxy: config
            .delivery
            .proxy_storage
            .then(|| StorageProxy::new(deployment.http.clone())),
        rate_limits: config.limits.rates.as_ref().map(rate_limits),
        concurrency: concurrency(config.limits.concurrency),
        cdn_namespaces: config.delivery.cdn_namespaces.iter().cloned().collect(),
        chunk_bytes_min: config.registry.upload_chunk_min_length.map(Into::into),
        ..ApiOptions::default()
    })
}

fn rate_limits(rates: &roadstead_config::RateLimits) -> RateLimits {
    let rate = |rate: Rate| roadstead_api::Rate {
        per_second: u32::try_from(rate.per_second).unwrap_or(u32::MAX),
        burst: u32::try_from(rate.burst).unwrap_or(u32::MAX),
    };
    RateLimits {
        address: rate(rates.address),
        account: rate(rates.account),
        exempt: rates.exempt.iter().cloned().collect(),
    }
}

fn concurrency(at_once: Concurrency) -> ConcurrencyLimits {
    let usual = ConcurrencyLimits::default();
    let or = |given: Option<u64>, usual: usize| {
        given.map_or(usual, |given| usize::try_from(given).unwrap_or(usize::MAX))
    };
    ConcurrencyLimits {
        requests: or(at_once.requests, usual.requests),
        uploads: or(at_once.uploads, usual.uploads),
        downloads: or(at_once.downloads, usual.downloads),
    }
}

/// Who is sent to a store: everybody, as with Quay, but for networks that are streamed to.
fn redirects(delivery: &Delivery) -> Redirects {
    let Delivery {
        stream_networks,
        redirect_networks,
        ..
    } = delivery.clone();
    let within = |networks: &[Network], client: Option<IpAddr>| {
        client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
    };
    Redirects::of(move |client| {
        !within(&stream_networks, client)
            && redirect_networks
                .as_deref()
                .is_none_or(|networks| within(networks, client))
    })
}
