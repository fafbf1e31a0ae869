//! Rules about where the images of a namespace or a repository belong, which of them counts, and what it comes to.
//!
//! Of the rules that fit an image the most specific counts, and no other: that of its repository for its tag, that of its repository, that of its
//! namespace for its tag, that of its namespace, and else the default, which is the default locations and the namespace's regions. A rule that
//! does not confine adds to the default; one that does replaces it. A blob belongs wherever anything that holds it belongs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::{LocationName, RequiredLocations};

/// A pattern for whole tags: `*` stands for any characters, also none, `?` for one. Upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagPattern(String);

impl TagPattern {
    /// The most characters: those of the longest tag.
    pub const LENGTH_MAX: usize = 128;

    /// Checks a pattern.
    ///
    /// # Errors
    /// One for each rule.
    pub fn new(pattern: &str) -> Result<Self, TagPatternError> {
        if pattern.is_empty() || pattern.len() > Self::LENGTH_MAX {
            return Err(TagPatternError::Length);
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.-*?".contains(letter);
        match pattern.chars().find(|letter| !fits(*letter)) {
            Some(letter) => Err(TagPatternError::Character { letter }),
            None => Ok(Self(pattern.to_owned())),
        }
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it fits the whole tag.
    pub fn matches(&self, tag: &str) -> bool {
        let (pattern, tag) = (self.0.as_bytes(), tag.as_bytes());
        let (mut at, mut read) = (0, 0);
        // Behind the last star, and how much of the tag it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while read < tag.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, read));
                }
                Some(letter) if *letter == b'?' || tag.get(read) == Some(letter) => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((behind, taken)) = star else {
                        return false;
                    };
                    star = Some((behind, taken + 1));
                    (at, read) = (behind, taken + 1);
                }
            }
        }
        pattern
            .get(at..)
            .is_some_and(|rest| rest.iter().all(|letter| *letter == b'*'))
    }
}

/// Why a text is no pattern for tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagPatternError {
    /// There is none, or too much of it.
    #[error(
        "a tag pattern has 1 to {} characters; write `*` for all tags, or give no pattern",
        TagPattern::LENGTH_MAX
    )]
    Length,
    /// No tag has this character, and it means nothing in a pattern.
    #[error(
        "a tag pattern has letters, digits, `_`, `.`, `-`, `*` and `?`; `{}` is none of them",
        letter.escape_debug()
    )]
    Character {
        /// The first of them.
        letter: char,
    },
}

/// What a rule is for. Namespaces and repositories go by the numbers that the caller knows them by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleScope {
    /// The namespace that the rule, or its repository, belongs to.
    pub namespace: i32,
    /// Its repository; none: all of the namespace.
    pub repository: Option<i32>,
    /// Only images with a tag that fits; none: all.
    pub tags: Option<TagPattern>,
}

/// One rule: where what it is for belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementRule {
    /// What it is for. No two rules have the same.
    pub scope: RuleScope,
    /// These locations must hold it.
    pub locations: BTreeSet<LocationName>,
    /// At least so many locations must hold it: what is missing is filled up with others. 0: that is not asked for.
    pub copies: u32,
    /// Whether it never leaves `locations`.
    pub only: bool,
}

impl PlacementRule {
    /// Whether the rule says something that can be kept.
    ///
    /// # Errors
    /// The first of its faults.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.only && self.locations.is_empty() {
            Err(RuleError::OnlyNowhere)
        } else if self.only && self.scope.tags.is_some() {
            Err(RuleError::OnlyTags)
        } else if self.only && count(self.copies) > self.locations.len() {
            Err(RuleError::OnlyTooFew {
                copies: self.copies,
                locations: self.locations.len(),
            })
        } else if self.locations.is_empty() && self.copies == 0 {
            Err(RuleError::Nothing)
        } else {
            Ok(())
        }
    }

    /// What comes first counts: of a repository before of a namespace, what confines before what is for some tags before what is for all. Of
    /// several patterns the longest, then the first by its characters.
    fn precedence(&self) -> (bool, bool, bool, Reverse<usize>, &RuleScope) {
        let scope = &self.scope;
        let pattern = scope.tags.as_ref().map(TagPattern::as_str);
        (
            scope.repository.is_none(),
            !self.only,
            pattern.is_none(),
            Reverse(pattern.map_or(0, str::len)),
            scope,
        )
    }
}

/// Why a rule cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It says nothing.
    #[error("the rule says nothing; name locations, or a number of copies")]
    Nothing,
    /// It confines to no location.
    #[error("to confine to nowhere is impossible; name the locations that may hold it")]
    OnlyNowhere,
    /// It confines some tags. Where bytes are written is chosen before anybody knows the tag, and a tag moves.
    #[error(
        "some tags cannot be confined, because blobs are written before their tags are known; confine the whole repository"
    )]
    OnlyTags,
    /// It wants more copies than it allows.
    #[error("{copies} copies do not fit into the {locations} locations that are allowed")]
    OnlyTooFew {
        /// How many copies.
        copies: u32,
        /// How many locations.
        locations: usize,
    },
}

/// The rules of a registry, those that count first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRules(Vec<PlacementRule>);

impl PlacementRules {
    /// Puts rules in their order, and leaves out those that never count: those for tags where the whole is confined.
    pub fn new(mut rules: Vec<PlacementRule>) -> Self {
        rules.sort_by(|one, other| one.precedence().cmp(&other.precedence()));
        let whole = |scope: &RuleScope| scope.tags.is_none();
        let own: BTreeSet<i32> = rules
            .iter()
            .filter(|rule| whole(&rule.scope))
            .filter_map(|rule| rule.scope.repository)
            .collect();
        let confined: BTreeSet<i32> = rules
            .iter()
            .filter(|rule| rule.only && rule.scope.repository.is_none())
            .map(|rule| rule.scope.namespace)
            .collect();
        rules.retain(|rule| {
            let RuleScope {
                namespace,
                repository,
                tags,
            } = &rule.scope;
            let inherits = repository.is_some_and(|repository| !own.contains(&repository));
            !(tags.is_some() && inherits && confined.contains(namespace))
        });
        Self(rules)
    }

    /// The rules, those that count first.
    pub fn as_slice(&self) -> &[PlacementRule] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them confines.
    pub fn confine(&self) -> bool {
        self.0.iter().any(|rule| rule.only)
    }

    /// The rule that counts for a repository, and for a tag of it.
    pub fn of(&self, namespace: i32, repository: i32, tag: Option<&str>) -> Option<&PlacementRule> {
        self.0.iter().find(|rule| {
            let scope = &rule.scope;
            let here = match scope.repository {
                Some(own) => own == repository,
                None => scope.namespace == namespace,
            };
            let fits = match (&scope.tags, tag) {
                (Some(pattern), Some(tag)) => pattern.matches(tag),
                (Some(_), None) => false,
                (None, _) => true,
            };
            here && fits
        })
    }

    /// The locations that a repository is confined to; none: it is not.
    pub fn confinement(&self, namespace: i32, repository: i32) -> Option<&BTreeSet<LocationName>> {
        self.of(namespace, repository, None)
            .filter(|rule| rule.only)
            .map(|rule| &rule.locations)
    }
}

/// Everything that what must be where follows from.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// The configured locations that take new bytes, in the order in which copies are filled up: the same for every region.
    pub usable: &'a [LocationName],
    /// The locations that everything belongs to.
    pub defaults: &'a BTreeSet<LocationName>,
    /// The regions of namespaces.
    pub regions: &'a BTreeMap<i32, BTreeSet<LocationName>>,
    /// The rules.
    pub rules: &'a PlacementRules,
}

/// What holds a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A manifest of a repository.
    Manifest {
        /// The repository's namespace.
        namespace: i32,
        /// The repository.
        repository: i32,
        /// The tags that point to it or to an index above it, also those that did lately and can be restored.
        tags: Vec<String>,
    },
    /// An upload into a repository that no manifest refers to yet.
    Upload {
        /// The repository's namespace.
        namespace: i32,
        /// The repository.
        repository: i32,
    },
}

impl Desired<'_> {
    /// The locations that what a rule is for belongs to; without a rule, what is in the namespace.
    pub fn locations(&self, namespace: i32, rule: Option<&PlacementRule>) -> RequiredLocations {
        let configured = |named: &BTreeSet<LocationName>| -> BTreeSet<LocationName> {
            let usable = self.usable.iter();
            usable
                .filter(|location| named.contains(*location))
                .cloned()
                .collect()
        };
        if let Some(rule) = rule.filter(|rule| rule.only) {
            return RequiredLocations::of(configured(&rule.locations));
        }
        let mut required = configured(self.defaults);
        if let Some(regions) = self.regions.get(&namespace) {
            required.extend(configured(regions));
        }
        if let Some(rule) = rule {
            required.extend(configured(&rule.locations));
            for location in self.usable {
                if required.len() >= count(rule.copies) {
                    break;
                }
                required.insert(location.clone());
            }
        }
        RequiredLocations::of(required)
    }

    /// The locations that a blob belongs to: wherever anything that holds it does. A blob that nothing but an upload holds belongs to the
    /// default locations, unless its repository is confined; what nothing holds does too, unless any repository is.
    pub fn required<'b>(&self, holders: impl IntoIterator<Item = &'b Holder>) -> RequiredLocations {
        let mut required = BTreeSet::new();
        let mut held = false;
        let nowhere = BTreeMap::new();
        let defaults_only = Desired {
            regions: &nowhere,
            ..*self
        };
        for holder in holders {
            held = true;
            let of_holder = match holder {
                Holder::Upload {
                    namespace,
                    repository,
                } => match self.rules.confinement(*namespace, *repository) {
                    Some(_) => RequiredLocations::default(),
                    None => defaults_only.locations(*namespace, None),
                },
                Holder::Manifest {
                    namespace,
                    repository,
                    tags,
                } => {
                    let of_tag = |tag| {
                        let rule = self.rules.of(*namespace, *repository, tag);
                        self.locations(*namespace, rule)
                    };
                    if tags.is_empty() {
                        of_tag(None)
                    } else {
                        let each = tags.iter().map(|tag| of_tag(Some(tag.as_str())));
                        RequiredLocations::of(each.flat_map(RequiredLocations::into_set).collect())
                    }
                }
            };
            required.extend(of_holder.into_set());
        }
        if !held && !self.rules.confine() {
            return defaults_only.locations(0, None);
        }
        RequiredLocations::of(required)
    }
}

fn count(copies: u32) -> usize {
    usize::try_from(copies).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{names, some_names};
    use proptest::prelude::*;

    const ACME: i32 = 1;
    const APP: i32 = 10;
    const LIB: i32 = 11;

    fn pattern(pattern: &str) -> TagPattern {
        TagPattern::new(pattern).unwrap()
    }

    fn scope(repository: Option<i32>, tags: Option<&str>) -> RuleScope {
        RuleScope {
            namespace: ACME,
            repository,
            tags: tags.map(pattern),
        }
    }

    fn rule(repository: Option<i32>, tags: Option<&str>, locations: &str) -> PlacementRule {
        PlacementRule {
            scope: scope(repository, tags),
            locations: names(locations),
            copies: 0,
            only: false,
        }
    }

    fn only(repository: Option<i32>, locations: &str) -> PlacementRule {
        PlacementRule {
            only: true,
            ..rule(repository, None, locations)
        }
    }

    fn copies(repository: Option<i32>, locations: &str, copies: u32) -> PlacementRule {
        PlacementRule {
            copies,
            ..rule(repository, None, locations)
        }
    }

    fn image(repository: i32, tags: &str) -> Holder {
        Holder::Manifest {
            namespace: ACME,
            repository,
            tags: tags.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// What is required of the locations `a b c d` with the defaults `a` and the region `b` of the namespace.
    fn required(rules: &[PlacementRule], holders: &[Holder]) -> BTreeSet<LocationName> {
        let usable: Vec<_> = names("a b c d");
        let desired = Desired {
            usable: &usable,
            defaults: &names("a"),
            regions: &BTreeMap::from([(ACME, names("b gone"))]),
            rules: &PlacementRules::new(rules.to_vec()),
        };
        desired.required(holders).as_set().clone()
    }

    #[test]
    fn patterns_fit_whole_tags() {
        for (of, tag, expected) in [
            ("v*", "v1.2", true),
            ("v*", "v", true),
            ("v*", "rv1", false),
            ("*", "anything", true),
            ("v?", "v1", true),
            ("v?", "v", false),
            ("v?", "v10", false),
            ("*-prod", "x-prod-prod", true),
            ("*a*b", "aab", true),
            ("*a*b", "aabc", false),
            ("V*", "v1", false),
            ("a.c", "abc", false),
            ("a_c", "abc", false),
            ("**", "x", true),
        ] {
            assert_eq!(pattern(of).matches(tag), expected, "{of} and {tag}");
        }
        assert_eq!(TagPattern::new(""), Err(TagPatternError::Length));
        assert_eq!(
            TagPattern::new(&"x".repeat(129)),
            Err(TagPatternError::Length)
        );
        for bad in ["a[b]", "a b", "50%", "é", "a\0"] {
            let refused = TagPattern::new(bad);
            assert!(
                matches!(refused, Err(TagPatternError::Character { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_most_specific_rule_counts_and_no_other() {
        let rules = [
            rule(None, None, "c"),
            rule(Some(APP), None, "d"),
            rule(Some(APP), Some("v*"), "b c"),
            rule(None, Some("v*"), "d"),
        ];
        for (holder, expected) in [
            (image(APP, ""), "a b d"),
            (image(APP, "latest"), "a b d"),
            (image(APP, "v1"), "a b c"),
            (image(APP, "v1 latest"), "a b c d"),
            (image(LIB, ""), "a b c"),
            (image(LIB, "v1"), "a b d"),
        ] {
            assert_eq!(
                required(&rules, std::slice::from_ref(&holder)),
                names(expected),
                "{holder:?}"
            );
        }
    }

    #[test]
    fn of_several_patterns_the_longest_counts() {
        let rules = [
            rule(Some(APP), Some("*"), "b"),
            rule(Some(APP), Some("v*"), "c"),
            rule(Some(APP), Some("v1*"), "d"),
        ];
        assert_eq!(required(&rules, &[image(APP, "v12")]), names("a b d"));
        assert_eq!(required(&rules, &[image(APP, "v2")]), names("a b c"));
        assert_eq!(required(&rules, &[image(APP, "")]), names("a b"));
    }

    #[test]
    fn copies_are_filled_up_in_order_and_never_beyond_what_there_is() {
        for (rule, expected) in [
            (copies(None, "", 1), "a b"),
            (copies(None, "", 3), "a b c"),
            (copies(None, "d", 3), "a b d"),
            (copies(None, "d", 4), "a b c d"),
            (copies(None, "", 9), "a b c d"),
            (copies(None, "gone", 2), "a b"),
        ] {
            let found = required(std::slice::from_ref(&rule), &[image(APP, "")]);
            assert_eq!(found, names(expected), "{rule:?}");
        }
    }

    #[test]
    fn what_is_confined_never_leaves_unless_somebody_else_holds_it() {
        let rules = [
            only(Some(APP), "c d"),
            rule(Some(APP), Some("v*"), "b"),
            rule(None, None, "d"),
        ];
        assert_eq!(required(&rules, &[image(APP, "v1")]), names("c d"));
        let uploaded = |repository| Holder::Upload {
            namespace: ACME,
            repository,
        };
        assert_eq!(required(&rules, &[uploaded(APP)]), names(""));
        assert_eq!(required(&rules, &[uploaded(LIB)]), names("a"));
        assert_eq!(
            required(&rules, &[image(APP, ""), image(LIB, "")]),
            names("a b c d")
        );
        // What nobody holds goes nowhere as long as it may be what was confined.
        assert_eq!(required(&rules, &[]), names(""));
        assert_eq!(required(&rules[2..], &[]), names("a"));
    }

    #[test]
    fn a_confined_namespace_confines_its_repositories_but_those_with_a_rule_of_their_own() {
        let rules = [
            only(None, "c"),
            rule(Some(APP), Some("v*"), "b"),
            rule(Some(LIB), None, "d"),
            rule(Some(LIB), Some("v*"), "c"),
        ];
        assert_eq!(required(&rules, &[image(APP, "v1")]), names("c"));
        assert_eq!(required(&rules, &[image(LIB, "")]), names("a b d"));
        assert_eq!(required(&rules, &[image(LIB, "v1")]), names("a b c"));
        let rules = PlacementRules::new(rules.to_vec());
        assert_eq!(rules.confinement(ACME, APP), Some(&names("c")));
        assert_eq!(rules.confinement(ACME, LIB), None);
        assert_eq!(rules.confinement(2, 20), None);
    }

    #[test]
    fn rules_that_cannot_be_kept_are_refused() {
        for (rule, expected) in [
            (rule(None, None, "a"), Ok(())),
            (copies(None, "", 2), Ok(())),
            (rule(None, None, ""), Err(RuleError::Nothing)),
            (only(None, "a"), Ok(())),
            (only(None, ""), Err(RuleError::OnlyNowhere)),
            (
                PlacementRule {
                    only: true,
                    ..rule(None, Some("v*"), "a")
                },
                Err(RuleError::OnlyTags),
            ),
            (
                PlacementRule {
                    only: true,
                    ..copies(None, "a", 2)
                },
                Err(RuleError::OnlyTooFew {
                    copies: 2,
                    locations: 1,
                }),
            ),
        ] {
            assert_eq!(rule.check(), expected, "{rule:?}");
        }
    }

    fn some_rule() -> impl Strategy<Value = PlacementRule> {
        let tags = prop::option::of(prop::sample::select(vec!["v*", "v1", "*"]));
        (
            prop::option::of(10..13_i32),
            tags,
            some_names(),
            0..5_u32,
            any::<bool>(),
        )
            .prop_map(
                |(repository, tags, locations, copies, only)| PlacementRule {
                    scope: scope(repository, tags),
                    only: only && tags.is_none() && !locations.is_empty(),
                    locations,
                    copies,
                },
            )
    }

    fn some_holders() -> impl Strategy<Value = Vec<Holder>> {
        let tags = prop::sample::subsequence(vec!["v1", "v2", "latest"], 0..=2);
        let holder = (10..13_i32, tags, any::<bool>()).prop_map(|(repository, tags, uploaded)| {
            if uploaded {
                Holder::Upload {
                    namespace: ACME,
                    repository,
                }
            } else {
                image(repository, &tags.join(" "))
            }
        });
        prop::collection::vec(holder, 1..4)
    }

    proptest! {
        #[test]
        fn what_is_required_can_be_kept_and_keeps_every_rule(
            all in prop::collection::vec(some_rule(), 0..6), holders in some_holders(), order in some_names().prop_map(Vec::from_iter).prop_shuffle(),
            defaults in some_names(), of_acme in some_names(), seed in any::<prop::sample::Index>(),
        ) {
            let mut unique = BTreeMap::new();
            for rule in all {
                unique.insert(rule.scope.clone(), rule);
            }
            let mut rules: Vec<_> = unique.into_values().collect();
            let regions = BTreeMap::from([(ACME, of_acme)]);
            let sorted = PlacementRules::new(rules.clone());
            let desired = Desired { usable: &order, defaults: &defaults, regions: &regions, rules: &sorted };
            let required = desired.required(&holders);
            prop_assert!(required.iter().all(|location| order.contains(location)));

            // Each holder asks for its own, whoever else there is, and together they ask for nothing else.
            let each: BTreeSet<_> = holders.iter().flat_map(|holder| desired.required([holder]).into_set()).collect();
            prop_assert_eq!(required.as_set(), &each);

            for holder in &holders {
                let (Holder::Manifest { namespace, repository, .. } | Holder::Upload { namespace, repository }) = holder;
                let own = desired.required([holder]);
                match sorted.confinement(*namespace, *repository) {
                    Some(allowed) => prop_assert!(own.as_set().is_subset(allowed)),
                    None => prop_assert!(defaults.iter().filter(|location| order.contains(location)).all(|location| own.contains(location))),
                }
            }

            // The order in which the rules were made does not matter.
            if !rules.is_empty() {
                let middle = seed.index(rules.len());
                rules.rotate_left(middle);
            }
            prop_assert_eq!(PlacementRules::new(rules), sorted);
        }
    }
}
