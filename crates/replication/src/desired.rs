//! What must be where beside the configuration: rules, regions, and how many locations a push waits for. Shown and changed here; kept by
//! [`Replication::reconcile`], which queues what a change demands. Nothing here deletes: a copy that is not demanded any more stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roadstead_metadata::{MetadataError, MinLocations, RepositoryPath, UserId};
use roadstead_placement::{
    Desired, LocationName, PlacementRule, PlacementRules, RuleError, RuleScope, TagPattern,
    TagPatternError,
};
use serde::Serialize;

use crate::Replication;

/// How many names an error lists of those that there are.
const KNOWN_MAX: u32 = 20;

/// A namespace, or one of its repositories, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The repository in it; none: all of it.
    pub repository: Option<String>,
}

impl Place {
    /// `namespace` or `namespace/repository`, the latter with any number of slashes.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, repository)) => Self {
                namespace: namespace.to_owned(),
                repository: Some(repository.to_owned()),
            },
            None => Self {
                namespace: text.to_owned(),
                repository: None,
            },
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.namespace)?;
        match &self.repository {
            Some(repository) => write!(formatter, "/{repository}"),
            None => Ok(()),
        }
    }
}

/// A rule as somebody words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleWording {
    /// What it is for.
    pub place: Place,
    /// Only for tags that fit; none: for all.
    pub tags: Option<String>,
    /// The locations that must hold it.
    pub locations: Vec<String>,
    /// At least so many locations must; 0: that is not asked for.
    pub copies: u32,
    /// Whether it never leaves the locations.
    pub only: bool,
}

/// A rule as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleListing {
    /// What it is for.
    #[serde(flatten)]
    pub place: Place,
    /// The tags that it is for; none: all.
    pub tags: Option<String>,
    /// The locations that must hold it.
    pub locations: BTreeSet<LocationName>,
    /// At least so many locations must; 0: that is not asked for.
    pub copies: u32,
    /// Whether it never leaves the locations.
    pub only: bool,
    /// What it comes to now: where what it is for belongs.
    pub belongs_to: BTreeSet<LocationName>,
}

/// What a namespace demands besides rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamespaceListing {
    /// The namespace.
    pub namespace: String,
    /// Its regions.
    pub regions: BTreeSet<LocationName>,
    /// How many locations its pushes wait for; none: they do not wait.
    pub min_locations: Option<u32>,
    /// How long they do, in seconds.
    pub deadline_seconds: Option<u64>,
    /// Where what no rule is for belongs.
    pub belongs_to: BTreeSet<LocationName>,
}

/// A location that rules can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsableLocation {
    /// Its name.
    pub name: LocationName,
    /// Whether everything belongs there unless a rule says otherwise.
    pub default: bool,
}

/// Everything that is demanded beside the configuration, of a registry or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demands {
    /// The locations that everything belongs to unless a rule says otherwise.
    pub defaults: BTreeSet<LocationName>,
    /// Where images without a tag of its own rule belong in the place that was asked for.
    pub belongs_to: Option<BTreeSet<LocationName>>,
    /// The rules, by name.
    pub rules: Vec<RuleListing>,
    /// The namespaces that demand something besides rules, by name.
    pub namespaces: Vec<NamespaceListing>,
}

/// Why a demand was not shown or changed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum DemandError {
    /// There is no such namespace.
    #[error("there is no namespace `{name}`; {}", there_are(known))]
    UnknownNamespace {
        /// What was asked for.
        name: String,
        /// Some that there are.
        known: Vec<String>,
    },
    /// There is no such repository.
    #[error(
        "there is no repository `{name}` in namespace `{namespace}`; {}",
        there_are(known)
    )]
    UnknownRepository {
        /// The namespace.
        namespace: String,
        /// What was asked for.
        name: String,
        /// Some that there are.
        known: Vec<String>,
    },
    /// Locations that are not configured, or are being removed.
    #[error("{} no location that takes part; {}", are(names), there_are(known))]
    UnknownLocations {
        /// What was named.
        names: Vec<String>,
        /// Those that take part.
        known: Vec<String>,
    },
    /// The pattern for tags cannot be understood.
    #[error(transparent)]
    Tags(#[from] TagPatternError),
    /// The rule cannot be kept.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There is no such rule.
    #[error("there is no such rule for `{place}`; `admin placement show {}` shows those that there are", place.namespace)]
    NoRule {
        /// What it would be for.
        place: Place,
    },
    /// A push would wait for what never comes.
    #[error(
        "pushes into `{place}` cannot wait for {demanded} locations, because what is there belongs to {}: demand more copies first, or wait \
         for fewer locations",
        number(locations)
    )]
    MinLocations {
        /// Where.
        place: Place,
        /// How many locations pushes are to wait for.
        demanded: u32,
        /// The locations that must hold them.
        locations: BTreeSet<LocationName>,
    },
    /// Waiting for nothing is no demand.
    #[error("a push waits for at least 1 location, for at least 1 second")]
    NoWait,
    /// Replication is switched off.
    #[error(
        "pushes cannot wait for copies while replication is switched off; set FEATURE_STORAGE_REPLICATION"
    )]
    NotReplicated,
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// A [`Place`] that there is.
struct Found {
    name: String,
    namespace: UserId,
    repository: Option<i32>,
}

impl Found {
    fn namespace_only(&self) -> Place {
        Place {
            namespace: self.name.clone(),
            repository: None,
        }
    }
}

impl Replication {
    /// The locations that take part, which rules can name, in the order in which copies are filled up.
    pub async fn usable_locations(&self) -> Result<Vec<UsableLocation>, MetadataError> {
        let defaults = self.topology.defaults();
        let usable = self.usable().await?.into_iter();
        Ok(usable
            .map(|name| UsableLocation {
                default: defaults.contains(&name),
                name,
            })
            .collect())
    }

    /// What is demanded beside the configuration, in the whole registry or for a namespace or a repository.
    pub async fn demands(&self, place: Option<&Place>) -> Result<Demands, DemandError> {
        let found = match place {
            Some(place) => Some(self.find_place(place).await?),
            None => None,
        };
        let namespace = found.as_ref().map(|found| found.namespace);
        let rules = self.database.placement_rules(namespace).await?;
        let settings = self.database.namespace_settings(namespace).await?;
        let usable = self.usable().await?;
        let mut regions: BTreeMap<i32, BTreeSet<LocationName>> = BTreeMap::new();
        for named in &rules {
            let of = named.rule.scope.namespace;
            if let std::collections::btree_map::Entry::Vacant(vacant) = regions.entry(of) {
                vacant.insert(self.database.namespace_regions(UserId(of)).await?);
            }
        }
        for of in &settings {
            regions.insert(of.id.0, of.regions.clone());
        }
        let sorted = PlacementRules::new(rules.iter().map(|named| named.rule.clone()).collect());
        let desired = Desired {
            usable: &usable,
            defaults: self.topology.defaults(),
            regions: &regions,
            rules: &sorted,
        };
        let belongs_to = found.as_ref().map(|found| {
            let of = found.namespace.0;
            // No repository has the number 0.
            let rule = sorted.of(of, found.repository.unwrap_or_default(), None);
            desired.locations(of, rule).into_set()
        });
        let concerned = |rule: &PlacementRule| {
            let asked = found.as_ref().and_then(|found| found.repository);
            asked.is_none() || rule.scope.repository.is_none() || rule.scope.repository == asked
        };
        Ok(Demands {
            defaults: desired.locations(0, None).into_set(),
            belongs_to,
            rules: rules
                .iter()
                .filter(|named| concerned(&named.rule))
                .map(|named| RuleListing {
                    place: Place {
                        namespace: named.namespace.clone(),
                        repository: named.repository.clone(),
                    },
                    tags: tags_of(&named.rule),
                    locations: named.rule.locations.clone(),
                    copies: named.rule.copies,
                    only: named.rule.only,
                    belongs_to: desired
                        .locations(named.rule.scope.namespace, Some(&named.rule))
                        .into_set(),
                })
                .collect(),
            namespaces: settings
                .into_iter()
                .map(|of| NamespaceListing {
                    belongs_to: desired.locations(of.id.0, None).into_set(),
                    namespace: of.namespace,
                    regions: of.regions,
                    min_locations: of.min_locations.map(|min| min.locations),
                    deadline_seconds: of.min_locations.map(|min| min.deadline.as_secs()),
                })
                .collect(),
        })
    }

    /// Sets a rule, in place of the one for the same. Reconcile afterwards.
    pub async fn set_rule(&self, wording: &RuleWording) -> Result<(), DemandError> {
        let usable = self.usable().await?;
        let found = self.find_place(&wording.place).await?;
        let rule = PlacementRule {
            scope: scope(&found, wording.tags.as_deref())?,
            locations: known_locations(&wording.locations, &usable)?,
            copies: wording.copies,
            only: wording.only,
        };
        rule.check()?;
        let mut rules = self.rules_of(&found).await?;
        rules.retain(|(_, other)| other.scope != rule.scope);
        rules.push((wording.place.clone(), rule.clone()));
        let min = self.database.min_locations(found.namespace).await?;
        let regions = self.database.namespace_regions(found.namespace).await?;
        self.require_reachable(&found, min, regions, &rules).await?;
        Ok(self.database.set_placement_rule(&rule).await?)
    }

    /// Takes a rule away. Reconcile afterwards.
    pub async fn clear_rule(&self, place: &Place, tags: Option<&str>) -> Result<(), DemandError> {
        let found = self.find_place(place).await?;
        let scope = scope(&found, tags)?;
        let mut rules = self.rules_of(&found).await?;
        rules.retain(|(_, rule)| rule.scope != scope);
        let min = self.database.min_locations(found.namespace).await?;
        let regions = self.database.namespace_regions(found.namespace).await?;
        self.require_reachable(&found, min, regions, &rules).await?;
        if self.database.clear_placement_rule(&scope).await? {
            Ok(())
        } else {
            Err(DemandError::NoRule {
                place: place.clone(),
            })
        }
    }

    /// Sets the regions of a namespace (`userregion`), which Quay's workers go by too. Reconcile afterwards.
    pub async fn set_regions(
        &self,
        namespace: &str,
        locations: &[String],
    ) -> Result<(), DemandError> {
        let usable = self.usable().await?;
        let found = self.find_place(&Place::parse(namespace)).await?;
        let regions = known_locations(locations, &usable)?;
        let min = self.database.min_locations(found.namespace).await?;
        let rules = self.rules_of(&found).await?;
        self.require_reachable(&found, min, regions.clone(), &rules)
            .await?;
        Ok(self
            .database
            .set_namespace_regions(found.namespace, &regions)
            .await?)
    }

    /// Sets how many locations pushes into a namespace wait for, and how long; `None`: they do not wait. `replicated` says whether copies are
    /// made at all.
    pub async fn set_min_locations(
        &self,
        namespace: &str,
        min: Option<(u32, Duration)>,
        replicated: bool,
    ) -> Result<(), DemandError> {
        let found = self.find_place(&Place::parse(namespace)).await?;
        let min = match min {
            None => None,
            Some(_) if !replicated => return Err(DemandError::NotReplicated),
            Some((locations, deadline)) if locations == 0 || deadline.as_secs() == 0 => {
                return Err(DemandError::NoWait);
            }
            Some((locations, deadline)) => Some(MinLocations {
                locations,
                deadline,
            }),
        };
        let regions = self.database.namespace_regions(found.namespace).await?;
        let rules = self.rules_of(&found).await?;
        self.require_reachable(&found, min, regions, &rules).await?;
        Ok(self
            .database
            .set_min_locations(found.namespace, min)
            .await?)
    }

    /// The locations that take part, in the order in which copies are filled up.
    async fn usable(&self) -> Result<Vec<LocationName>, MetadataError> {
        self.database.open_locations(self.demand().configured).await
    }

    async fn rules_of(&self, found: &Found) -> Result<Vec<(Place, PlacementRule)>, MetadataError> {
        let rules = self.database.placement_rules(Some(found.namespace)).await?;
        Ok(rules
            .into_iter()
            .map(|named| {
                let place = Place {
                    namespace: named.namespace,
                    repository: named.repository,
                };
                (place, named.rule)
            })
            .collect())
    }

    /// Checks that no push waits for more locations than what it pushes belongs to, once the namespace has these rules and regions.
    async fn require_reachable(
        &self,
        found: &Found,
        min: Option<MinLocations>,
        regions: BTreeSet<LocationName>,
        rules: &[(Place, PlacementRule)],
    ) -> Result<(), DemandError> {
        let Some(min) = min else {
            return Ok(());
        };
        let of = found.namespace.0;
        let usable = self.usable().await?;
        let counting = PlacementRules::new(rules.iter().map(|(_, rule)| rule.clone()).collect());
        let desired = Desired {
            usable: &usable,
            defaults: self.topology.defaults(),
            regions: &BTreeMap::from([(of, regions)]),
            rules: &counting,
        };
        let whole = counting.of(of, 0, None);
        let rest = (
            found.namespace_only(),
            desired.locations(of, whole).into_set(),
        );
        let by_rule = rules
            .iter()
            .filter(|(_, rule)| counting.as_slice().contains(rule))
            .map(|(place, rule)| (place.clone(), desired.locations(of, Some(rule)).into_set()));
        let demanded = usize::try_from(min.locations).unwrap_or(usize::MAX);
        match std::iter::once(rest)
            .chain(by_rule)
            .find(|(_, locations)| locations.len() < demanded)
        {
            None => Ok(()),
            Some((place, locations)) => Err(DemandError::MinLocations {
                place,
                demanded: min.locations,
                locations,
            }),
        }
    }

    async fn find_place(&self, place: &Place) -> Result<Found, DemandError> {
        let name = &place.namespace;
        let Some(namespace) = self.database.find_namespace(name).await? else {
            return Err(DemandError::UnknownNamespace {
                name: name.clone(),
                known: self.database.some_namespaces(KNOWN_MAX + 1).await?,
            });
        };
        let Some(repository) = &place.repository else {
            return Ok(Found {
                name: name.clone(),
                namespace,
                repository: None,
            });
        };
        let path = RepositoryPath {
            namespace: name.clone(),
            name: repository.clone(),
        };
        match self.database.find_repository(&path).await? {
            Some(found) => Ok(Found {
                name: name.clone(),
                namespace,
                repository: Some(found.id.0),
            }),
            None => Err(DemandError::UnknownRepository {
                namespace: name.clone(),
                name: repository.clone(),
                known: self
                    .database
                    .some_repositories(namespace, KNOWN_MAX + 1)
                    .await?,
            }),
        }
    }
}

fn scope(found: &Found, tags: Option<&str>) -> Result<RuleScope, TagPatternError> {
    Ok(RuleScope {
        namespace: found.namespace.0,
        repository: found.repository,
        tags: tags.map(TagPattern::new).transpose()?,
    })
}

fn tags_of(rule: &PlacementRule) -> Option<String> {
    let tags = rule.scope.tags.as_ref();
    tags.map(|pattern| pattern.as_str().to_owned())
}

fn known_locations(
    named: &[String],
    usable: &[LocationName],
) -> Result<BTreeSet<LocationName>, DemandError> {
    let (known, unknown): (Vec<_>, Vec<_>) = named
        .iter()
        .map(|name| {
            let known = usable.iter().find(|location| location.as_str() == name);
            known.cloned().ok_or_else(|| name.clone())
        })
        .partition(Result::is_ok);
    let names: Vec<String> = unknown.into_iter().filter_map(Result::err).collect();
    if !names.is_empty() {
        return Err(DemandError::UnknownLocations {
            names,
            known: usable.iter().map(ToString::to_string).collect(),
        });
    }
    Ok(known.into_iter().filter_map(Result::ok).collect())
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", quoted(names))
}

/// The names that there are, as far as they are listed.
fn there_are(known: &[String]) -> String {
    let shown = usize::try_from(KNOWN_MAX).unwrap_or(usize::MAX);
    match known {
        [] => "there is none".to_owned(),
        [one] => format!("there is `{one}`"),
        some if some.len() <= shown => format!("there are {}", quoted(some)),
        many => format!(
            "there are {} and more",
            quoted(many.get(..shown).unwrap_or(many))
        ),
    }
}

fn number(locations: &BTreeSet<LocationName>) -> String {
    let names: Vec<String> = locations.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "no location".to_owned(),
        names => format!("{} only", quoted(names)),
    }
}
