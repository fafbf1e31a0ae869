//! The driver `MultiCDNStorage`: several CDNs in front of one bucket, of which rules choose one for each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use figment::value::{Dict, Value};

use super::cdn::{self, Cdn};
use super::driver::{self, Driver};
use super::parameters::{Layer, Parameters, refuse_unknown};
use super::s3::{S3Store, amazon};
use super::same_store::{Place, Relation};
use crate::reader::{Remark, did_you_mean};

/// `MultiCDNStorage`: several CDNs in front of one bucket.
///
/// `storage_config` and `providers`, both required, are resolved: what the former says of the bucket holds for each of the latter, unless that one
/// says otherwise. Providers that nothing leads to are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiCdnStorage {
    /// `default_provider`, required: who serves what no rule is about. Its bucket is the one that is written and read.
    pub default_provider: Arc<CdnProvider>,
    /// `rules`, required: the first one that fits a request counts.
    pub rules: Vec<CdnRule>,
}

/// A CDN, under the name that rules choose it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdnProvider {
    /// Its name.
    pub name: String,
    /// The bucket that its URLs are signed for. Its region is known.
    pub store: S3Store,
    /// The CDN.
    pub cdn: Cdn,
}

/// A rule: fits a request if everything that it names is equal to what the request has; one that names nothing fits all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdnRule {
    /// `namespace`: of the repository.
    pub namespace: Option<String>,
    /// `continent`: where the client's address is.
    pub continent: Option<Continent>,
    /// `host`: the request's `Host`, with the port if there is one in it.
    pub host: Option<String>,
    /// `target`, required: who serves it.
    pub provider: Arc<CdnProvider>,
}

/// A continent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continent {
    /// `AF`
    Africa,
    /// `AN`
    Antarctica,
    /// `AS`
    Asia,
    /// `EU`
    Europe,
    /// `NA`
    NorthAmerica,
    /// `OC`
    Oceania,
    /// `SA`
    SouthAmerica,
}

const CONTINENTS: [(&str, Continent); 7] = [
    ("AF", Continent::Africa),
    ("AN", Continent::Antarctica),
    ("AS", Continent::Asia),
    ("EU", Continent::Europe),
    ("NA", Continent::NorthAmerica),
    ("OC", Continent::Oceania),
    ("SA", Continent::SouthAmerica),
];

pub(super) const PARAMETERS: [&str; 4] = [DEFAULT, PROVIDERS, RULES, STORE];

const DEFAULT: &str = "default_provider";
const PROVIDERS: &str = "providers";
const RULES: &str = "rules";
const STORE: &str = "storage_config";

/// What a rule may hold.
const OF_A_RULE: [&str; 4] = ["namespace", "continent", "host", "target"];

type ReadCdn = fn(&mut Parameters<'_, '_>) -> Option<Cdn>;

/// The drivers of providers, with the names of the parameters that a CDN has besides its bucket.
const DRIVERS: [(&str, &[&str], ReadCdn); 3] = [
    (
        "CloudFrontedS3Storage",
        &cdn::OF_CLOUD_FRONT,
        |parameters| cdn::read_cloud_front(parameters).map(Cdn::CloudFront),
    ),
    ("CloudFlareStorage", &cdn::OF_CLOUD_FLARE, |parameters| {
        cdn::read_flare(parameters).map(Cdn::CloudFlare)
    }),
    ("AkamaiS3Storage", &cdn::OF_AKAMAI, |parameters| {
        cdn::read_edge(parameters).map(Cdn::Akamai)
    }),
];

/// The providers by name, in which `None` is one that was refused.
type Providers = BTreeMap<String, Option<Arc<CdnProvider>>>;

pub(super) fn read(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let providers = read_providers(parameters);
    let names: Vec<String> = providers.keys().cloned().collect();
    let default_provider = read_default(parameters, &providers, &names);
    let rules = read_rules(parameters, &providers, &names);
    let multi = MultiCdnStorage {
        default_provider: default_provider?,
        rules: rules?,
    };
    warn_of_other_buckets(parameters, &multi);
    warn_of_unreached(parameters, &multi, &names);
    Some(Driver::MultiCDNStorage(Box::new(multi)))
}

/// A map that has to be there and hold something.
fn map<'v>(
    parameters: &mut Parameters<'_, 'v>,
    name: &str,
    what: &str,
) -> Option<(String, &'v Value, &'v Dict)> {
    match parameters.given(name) {
        Some((path, value @ Value::Dict(_, entries))) if !entries.is_empty() => {
            return Some((path, value, entries));
        }
        Some((path, value @ Value::Dict(..))) => {
            let remark = Remark::new("it is empty", what, "fill it in");
            parameters.keys.refuse_absent(&path, value, remark);
        }
        Some((path, value)) => parameters.keys.mismatch(&path, value, what, "correct it"),
        None => {
            let remark = Remark::new("it is missing", what, "fill it in");
            parameters.refuse_absent(name, remark);
        }
    }
    None
}

/// What stands for a provider, taken apart.
struct Written<'v> {
    name: String,
    entry: &'v Value,
    path: String,
    parameters: &'v Dict,
    of_cdn: &'static [&'static str],
    read: ReadCdn,
}

fn read_providers(parameters: &mut Parameters<'_, '_>) -> Providers {
    let store = map(parameters, STORE, "a map of parameters of S3Storage");
    let Some((path, _, entries)) = map(
        parameters,
        PROVIDERS,
        "a map of names, each with [DRIVER, {PARAMETER: VALUE}]",
    ) else {
        return Providers::new();
    };
    let mut providers = Providers::new();
    let mut all_written = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        providers.insert(name.clone(), None);
        all_written.extend(split(parameters, &path, name, entry));
    }
    let base = store.map(|(path, around, entries)| {
        check_shared(parameters, &path, entries, &all_written);
        Layer {
            path,
            around,
            entries,
        }
    });
    for written in all_written {
        let provider = read_provider(parameters, base.clone(), &written);
        providers.insert(written.name, provider.map(Arc::new));
    }
    providers
}

fn split<'v>(
    parameters: &mut Parameters<'_, 'v>,
    path: &str,
    name: &str,
    entry: &'v Value,
) -> Option<Written<'v>> {
    let keys = &mut *parameters.keys;
    let path = format!("{path}.{name}");
    let (driver, given) = driver::split(keys, &path, entry)?;
    let driver_path = format!("{path}[0]");
    let driver_name = keys.text_of(&driver_path, driver)?;
    let Some((driver_name, of_cdn, read)) = DRIVERS
        .iter()
        .find(|(candidate, ..)| *candidate == driver_name)
    else {
        let names = DRIVERS.map(|(name, ..)| name);
        let hint = did_you_mean(&driver_name, names);
        let remark = Remark::new("not the driver of a CDN", names.join(", "), hint);
        keys.refuse(&driver_path, Some(driver), remark);
        return None;
    };
    let path = format!("{path}[1]");
    let Some(Value::Dict(_, entries)) = given else {
        let remark = Remark::new("not a map of parameters", driver::FORM, "correct it");
        keys.refuse_absent(&path, given.unwrap_or(entry), remark);
        return None;
    };
    let known = [&amazon::PARAMETERS, *of_cdn].concat();
    refuse_unknown(keys, driver_name, &path, entries, &known);
    Some(Written {
        name: name.to_owned(),
        entry,
        path,
        parameters: entries,
        of_cdn,
        read: *read,
    })
}

/// What all providers share has to be known to each of them.
fn check_shared(
    parameters: &mut Parameters<'_, '_>,
    path: &str,
    entries: &Dict,
    providers: &[Written<'_>],
) {
    let of_all = providers.first().map_or(&[][..], |first| first.of_cdn);
    let of_all = of_all.iter().filter(|name| {
        providers
            .iter()
            .all(|provider| provider.of_cdn.contains(name))
    });
    let known: Vec<&str> = amazon::PARAMETERS.iter().chain(of_all).copied().collect();
    refuse_unknown(parameters.keys, STORE, path, entries, &known);
}

fn read_provider(
    parameters: &mut Parameters<'_, '_>,
    base: Option<Layer<'_>>,
    written: &Written<'_>,
) -> Option<CdnProvider> {
    // Without what is shared the bucket cannot be judged, and that has been reported.
    let layers = vec![
        base?,
        Layer {
            path: written.path.clone(),
            around: written.entry,
            entries: written.parameters,
        },
    ];
    let mut merged = Parameters::new(parameters.keys, layers);
    let store = cdn::read_store(&mut merged);
    merged.home = 1;
    let cdn = (written.read)(&mut merged);
    Some(CdnProvider {
        name: written.name.clone(),
        store: store?,
        cdn: cdn?,
    })
}

fn read_default(
    parameters: &mut Parameters<'_, '_>,
    providers: &Providers,
    names: &[String],
) -> Option<Arc<CdnProvider>> {
    let name = parameters.required_text(DEFAULT, "the name of a provider")?;
    if let Some(provider) = providers.get(&name) {
        return provider.clone();
    }
    let remark = unknown_provider(&name, names)?;
    parameters.refuse(DEFAULT, remark);
    None
}

/// `None` where no provider is known: that has been reported.
fn unknown_provider(name: &str, names: &[String]) -> Option<Remark> {
    (!names.is_empty()).then(|| {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        Remark::new("no such provider", names.join(", "), hint)
    })
}

fn read_rules(
    parameters: &mut Parameters<'_, '_>,
    providers: &Providers,
    names: &[String],
) -> Option<Vec<CdnRule>> {
    const WHAT: &str = "a list of maps such as {continent: EU, target: PROVIDER}";
    let Some((path, value)) = parameters.given(RULES) else {
        let remark = Remark::new(
            "it is missing",
            WHAT,
            "fill it in, with [] if there are none",
        );
        parameters.refuse_absent(RULES, remark);
        return None;
    };
    let Value::Array(_, items) = value else {
        parameters
            .keys
            .mismatch(&path, value, WHAT, "write it as a list");
        return None;
    };
    let mut rules = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let rule = read_rule(parameters, &path, item, providers, names);
        if let Some(rule) = &rule
            && index + 1 < items.len()
            && rule.namespace.is_none()
            && rule.continent.is_none()
            && rule.host.is_none()
        {
            let remark = Remark::new(
                "it names nothing, so it fits every request and no rule behind it counts",
                "",
                "name a namespace, continent or host, or put it last",
            );
            parameters.keys.warn(&path, Some(item), remark);
        }
        rules.push(rule);
    }
    rules.into_iter().collect()
}

fn read_rule(
    parameters: &mut Parameters<'_, '_>,
    path: &str,
    item: &Value,
    providers: &Providers,
    names: &[String],
) -> Option<CdnRule> {
    let Value::Dict(_, entries) = item else {
        let what = "a map such as {continent: EU, target: PROVIDER}";
        parameters.keys.mismatch(path, item, what, "correct it");
        return None;
    };
    refuse_unknown(parameters.keys, "a rule", path, entries, &OF_A_RULE);
    let layer = Layer {
        path: path.to_owned(),
        around: item,
        entries,
    };
    let mut rule = Parameters::new(parameters.keys, vec![layer]);
    let namespace = rule.text("namespace");
    let host = rule.text("host");
    let continent = read_continent(&mut rule);
    let target = rule.required_text("target", &names.join(", "))?;
    let Some(provider) = providers.get(&target) else {
        let remark = unknown_provider(&target, names)?;
        rule.refuse("target", remark);
        return None;
    };
    Some(CdnRule {
        namespace,
        continent,
        host,
        provider: provider.clone()?,
    })
}

fn read_continent(rule: &mut Parameters<'_, '_>) -> Option<Continent> {
    let text = rule.text("continent")?;
    let found = CONTINENTS.iter().find(|(code, _)| *code == text);
    if found.is_none() {
        let codes = CONTINENTS.map(|(code, _)| code);
        let remark = Remark::new(
            "not a continent",
            codes.join(", "),
            did_you_mean(&text, codes),
        );
        rule.refuse("continent", remark);
    }
    found.map(|(_, continent)| *continent)
}

fn warn_of_other_buckets(parameters: &mut Parameters<'_, '_>, multi: &MultiCdnStorage) {
    let own = Place::of_bucket(&multi.default_provider.store);
    for rule in &multi.rules {
        let CdnProvider { name, store, .. } = rule.provider.as_ref();
        let place = Place::of_bucket(store);
        if place.relation(&own) != Relation::Same {
            let problem = format!(
                "the URLs of {name} lead to the {place}, while what is pushed gets into the {own}"
            );
            let action = "copy the one to the other, or let both be the same";
            parameters.warn(PROVIDERS, Remark::new(problem, "", action));
        }
    }
}

fn warn_of_unreached(
    parameters: &mut Parameters<'_, '_>,
    multi: &MultiCdnStorage,
    names: &[String],
) {
    let is_reached = |name: &&String| {
        multi.default_provider.name == **name
            || multi.rules.iter().any(|rule| rule.provider.name == **name)
    };
    let unreached: Vec<&str> = names
        .iter()
        .filter(|name| !is_reached(name))
        .map(String::as_str)
        .collect();
    if !unreached.is_empty() {
        let problem = format!("no rule leads to {}", unreached.join(", "));
        let action = "add a rule, or take it out";
        parameters.warn(PROVIDERS, Remark::new(problem, "", action));
    }
}
