//! What must be where, as SQL: the one definition that everything goes by which copies, counts, waits or lets go.
//!
//! It is [`roadstead_placement::Desired`] over whole tables, and a test holds the two together. What a rule comes to is decided there, before the
//! statement; the statement finds out which rule counts for which blob.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_placement::{Desired, LocationName, PlacementRules};

use crate::database::{Connection, Database, Named, params};
use crate::error::MetadataError;
use crate::ids::ManifestId;
use crate::locations::{CLOSED, json_locations, location_name};
use crate::placement_rules::{Regions, read_rules};
use crate::row::FromRow;

/// What every blob must reach, besides what the rules and regions in the database say.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The locations that every blob must reach.
    pub defaults: &'a BTreeSet<LocationName>,
    /// The locations that exist in the configuration. A namespace's region outside of it cannot be served and is left out.
    pub configured: &'a BTreeSet<LocationName>,
}

/// The blobs that a statement is about, by its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent<'a> {
    /// Those with ids in `(after, until]`.
    Blobs { after: &'a str, until: &'a str },
    /// These.
    Given { storages: &'a str },
    /// Those of a manifest, as far as it makes demands itself, and where there are rules for tags of what is below it, whose demands its tags may
    /// change. What others demand of the same blobs is left out.
    Image { manifest: &'a str },
    /// Those of a manifest and of all manifests below it.
    Tree { manifest: &'a str },
}

impl Extent<'_> {
    /// Every blob.
    pub(crate) const ALL: Self = Self::Blobs {
        after: "-1",
        until: "2147483647",
    };

    /// Whether a row `mb` of `manifestblob` is about one of them.
    fn condition(self, rules: &RulesInForce) -> String {
        match self {
            Self::Blobs { after, until } => {
                format!("mb.blob_id > {after} AND mb.blob_id <= {until}")
            }
            Self::Given { storages } => format!("mb.blob_id IN @ids({storages})"),
            // Nearly every push, and the plan for it must not reckon with many manifests.
            Self::Image { manifest } if !rules.for_tags => format!("mb.manifest_id = {manifest}"),
            Self::Image { .. } | Self::Tree { .. } => {
                "mb.manifest_id IN (SELECT b.id FROM below b)".to_owned()
            }
        }
    }
}

/// The rules of the registry, looked up and thought through for one statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulesInForce {
    /// The id of each rule, its turn (the least that fits counts), and one location that it asks for; with the location 0 once for each rule.
    /// Empty: there are no rules.
    triples: Vec<[i32; 3]>,
    /// Whether there are rules for tags.
    for_tags: bool,
    /// Whether there are rules that confine.
    confine: bool,
}

#[derive(Debug, FromRow)]
struct OpenRow {
    id: i32,
    name: String,
}

impl RulesInForce {
    /// Looks the rules up: one statement as long as there are none.
    pub(crate) async fn load(
        connection: &impl Connection,
        demand: Demand<'_>,
    ) -> Result<Self, MetadataError> {
        let found = read_rules(connection, None).await?;
        if found.is_empty() {
            return Ok(Self::default());
        }
        let ids: BTreeMap<_, i32> = found
            .iter()
            .map(|(id, rule)| (rule.scope.clone(), *id))
            .collect();
        let rules = PlacementRules::new(found.into_iter().map(|(_, rule)| rule).collect());
        let open = open_locations(connection, demand.configured).await?;
        let namespaces = rules.as_slice().iter().map(|rule| rule.scope.namespace);
        let regions = Regions::of(connection, namespaces.collect()).await?.0;
        let usable: Vec<LocationName> = open.iter().map(|(name, _)| name.clone()).collect();
        let desired = Desired {
            usable: &usable,
            defaults: demand.defaults,
            regions: &regions,
            rules: &rules,
        };
        let mut triples = Vec::new();
        for (turn, rule) in (0..).zip(rules.as_slice()) {
            let Some(id) = ids.get(&rule.scope) else {
                continue;
            };
            triples.push([*id, turn, 0]);
            let required = desired.locations(rule.scope.namespace, Some(rule));
            let asked = open.iter().filter(|(name, _)| required.contains(name));
            triples.extend(asked.map(|(_, location)| [*id, turn, *location]));
        }
        Ok(Self {
            triples,
            for_tags: rules
                .as_slice()
                .iter()
                .any(|rule| rule.scope.tags.is_some()),
            confine: rules.confine(),
        })
    }

    /// That a repository is not confined, as a further condition.
    fn free(&self, repository: &str) -> String {
        if self.confine {
            format!(" AND {repository} NOT IN (SELECT c.repository_id FROM confined c)")
        } else {
            String::new()
        }
    }

    /// That a blob is held by a repository that is not confined, as a further condition.
    pub(crate) fn held_freely(&self, blob: &str) -> String {
        if self.confine {
            format!(
                " AND (EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = {blob}{})
                    OR EXISTS (SELECT 1 FROM uploadedblob u WHERE u.blob_id = {blob}{}))",
                self.free("mb.repository_id"),
                self.free("u.repository_id")
            )
        } else {
            String::new()
        }
    }

    /// The common table expressions of what the rules ask for, as `asked(storage_id, location_id)`, and of the repositories that are `confined`.
    ///
    /// The numbers stand in the text and not in a parameter: the text changes when a rule does, and whoever puts the rest of a statement
    /// behind it has its parameters to itself.
    fn expressions(&self, extent: Extent<'_>) -> String {
        let triples = serde_json::json!(self.triples);
        let held = extent.condition(self);
        let (named, facets, fits) = if self.for_tags {
            (
                "above(manifest_id, holder_id) AS (
                     SELECT h.manifest_id, h.manifest_id FROM held h
                     UNION
                     SELECT a.manifest_id, mc.manifest_id FROM above a JOIN manifestchild mc ON mc.child_manifest_id = a.holder_id),
                 named(manifest_id, tag) AS (
                     SELECT DISTINCT a.manifest_id, t.name FROM above a JOIN tag t ON t.manifest_id = a.holder_id WHERE NOT t.hidden),",
                "SELECT DISTINCT h.manifest_id, h.repository_id, COALESCE(n.tag, '')
                 FROM held h LEFT JOIN named n ON n.manifest_id = h.manifest_id",
                "(c.tags = '' OR (f.tag <> '' AND @glob(f.tag, c.tags)))",
            )
        } else {
            (
                "",
                "SELECT DISTINCT h.manifest_id, h.repository_id, '' FROM held h",
                "c.tags = ''",
            )
        };
        format!(
            "rule(rule_id, turn, location_id) AS (
                 SELECT x.first, x.second, x.third FROM @triples('{triples}') AS x),
             scope(turn, namespace_id, repository_id, tags, confined) AS (
                 SELECT x.turn, p.namespace_id, p.repository_id, p.tags, p.confined
                 FROM rule x JOIN roadstead_placement_rule p ON p.id = x.rule_id WHERE x.location_id = 0),
             ruled(repository_id) AS (
                 SELECT c.repository_id FROM scope c WHERE c.repository_id <> 0
                 UNION
                 SELECT r.id FROM scope c JOIN repository r ON r.namespace_user_id = c.namespace_id WHERE c.repository_id = 0),
             confined(repository_id) AS (
                 SELECT c.repository_id FROM scope c WHERE c.confined AND c.repository_id <> 0
                 UNION
                 SELECT r.id FROM scope c JOIN repository r ON r.namespace_user_id = c.namespace_id
                 WHERE c.confined AND c.repository_id = 0
                   AND NOT EXISTS (SELECT 1 FROM scope own WHERE own.repository_id = r.id AND own.tags = '')),
             held(storage_id, repository_id, manifest_id) AS (
                 SELECT mb.blob_id, mb.repository_id, mb.manifest_id FROM manifestblob mb
                 WHERE {held} AND mb.repository_id IN (SELECT u.repository_id FROM ruled u)),
             {named}
             facet(manifest_id, repository_id, tag) AS ({facets}),
             fitting(manifest_id, tag, turn) AS (
                 SELECT f.manifest_id, f.tag, c.turn FROM facet f JOIN scope c ON c.repository_id = f.repository_id AND {fits}
                 UNION ALL
                 SELECT f.manifest_id, f.tag, c.turn FROM facet f
                 JOIN repository r ON r.id = f.repository_id
                 JOIN scope c ON c.namespace_id = r.namespace_user_id AND c.repository_id = 0 AND {fits}),
             counting(manifest_id, turn) AS (
                 SELECT f.manifest_id, min(f.turn) FROM fitting f GROUP BY f.manifest_id, f.tag),
             asked(storage_id, location_id) AS (
                 SELECT h.storage_id, x.location_id FROM held h
                 JOIN counting n ON n.manifest_id = h.manifest_id
                 JOIN rule x ON x.turn = n.turn AND x.location_id <> 0),"
        )
    }
}

/// The beginning of a statement, `WITH` and the common table expressions `open`, `required` and `missing`, from the parameters `defaults` and
/// `configured` of a [`Demand`]. A blob without any placement is not missing anywhere: there is nothing to copy from.
pub(crate) fn demanded(
    rules: &RulesInForce,
    defaults: &str,
    configured: &str,
    extent: Extent<'_>,
) -> String {
    let required = required(rules, defaults, configured, extent);
    let lacking = "EXISTS (SELECT 1 FROM imagestorageplacement p WHERE p.storage_id = r.storage_id)
               AND NOT EXISTS (SELECT 1 FROM imagestorageplacement p
                               WHERE p.storage_id = r.storage_id AND p.location_id = r.location_id)";
    let Extent::Blobs { after, until } = extent else {
        return format!(
            "{required},
             missing(storage_id, location_id) AS (
                 SELECT r.storage_id, r.location_id FROM required r WHERE {lacking})"
        );
    };
    // In one go through the placements: most blobs are complete, and to look for each of their placements costs thirty times as much.
    format!(
        "{required},
         usual(id) AS (
             SELECT o.id FROM open o WHERE o.name IN @texts({defaults})),
         incomplete(storage_id) AS (
             SELECT p.storage_id FROM imagestorageplacement p
             WHERE p.storage_id > {after} AND p.storage_id <= {until}
             GROUP BY p.storage_id
             HAVING sum(CASE WHEN p.location_id IN (SELECT u.id FROM usual u) THEN 1 ELSE 0 END) < (SELECT count(*) FROM usual)),
         missing(storage_id, location_id) AS (
             SELECT i.storage_id, u.id FROM incomplete i, usual u
             -- The page is named again, so that no planner reads the whole table for it.
             WHERE NOT EXISTS (SELECT 1 FROM imagestorageplacement p
                               WHERE p.storage_id = i.storage_id AND p.location_id = u.id
                                 AND p.storage_id > {after} AND p.storage_id <= {until}){held_freely}
             UNION
             SELECT r.storage_id, r.location_id FROM further r WHERE {lacking})",
        held_freely = rules.held_freely("i.storage_id"),
    )
}

/// The beginning of [`demanded`], without `missing`.
pub(crate) fn required(
    rules: &RulesInForce,
    defaults: &str,
    configured: &str,
    extent: Extent<'_>,
) -> String {
    let held = extent.condition(rules);
    let (asking, asked) = if rules.triples.is_empty() {
        (String::new(), "")
    } else {
        let asked = "UNION
             SELECT a.storage_id, o.id FROM asked a JOIN open o ON o.id = a.location_id";
        (rules.expressions(extent), asked)
    };
    let free = |repository: &str| rules.free(repository);
    let of_blobs = |condition: String| {
        let held_freely = rules.held_freely("s.id");
        let by_default = format!(
            "SELECT s.id, o.id FROM imagestorage s, open o
             WHERE {condition} AND o.name IN @texts({defaults}){held_freely}"
        );
        (String::new(), by_default)
    };
    let (below, by_default) = match extent {
        Extent::Blobs { after, until } => {
            of_blobs(format!("s.id > {after} AND s.id <= {until}"))
        }
        Extent::Given { storages } => of_blobs(format!("s.id IN @ids({storages})")),
        Extent::Image { manifest } | Extent::Tree { manifest } => (
            format!(
                "below(id) AS (
                     SELECT m.id FROM manifest m WHERE m.id = {manifest}
                     UNION
                     SELECT mc.child_manifest_id FROM below b JOIN manifestchild mc ON mc.manifest_id = b.id),"
            ),
            format!(
                "SELECT mb.blob_id, o.id FROM manifestblob mb, open o
                 WHERE {held} AND o.name IN @texts({defaults}){}",
                free("mb.repository_id")
            ),
        ),
    };
    format!(
        "WITH RECURSIVE {below}
         open(id, name) AS (
             SELECT l.id, l.name FROM imagestoragelocation l
             WHERE l.name IN @texts({configured}) AND l.name NOT IN {CLOSED}),
         {asking}
         further(storage_id, location_id) AS (
             SELECT mb.blob_id, o.id FROM userregion ur
             JOIN open o ON o.id = ur.location_id
             JOIN repository r ON r.namespace_user_id = ur.user_id
             JOIN manifestblob mb ON mb.repository_id = r.id
             WHERE {held}{}
             {asked}),
         required(storage_id, location_id) AS (
             {by_default}
             UNION
             SELECT f.storage_id, f.location_id FROM further f)",
        free("r.id")
    )
}

/// The configured locations that take new bytes, in the order in which the registry came to know them, which is the same for every region and
/// does not change when one is added.
pub(crate) async fn open_locations(
    connection: &impl Connection,
    configured: &BTreeSet<LocationName>,
) -> Result<Vec<(LocationName, i32)>, MetadataError> {
    let rows: Vec<OpenRow> = connection
        .rows(
            "list open locations",
            &format!(
                "SELECT l.id, l.name FROM imagestoragelocation l
                 WHERE l.name IN @texts($1) AND l.name NOT IN {CLOSED} ORDER BY l.id"
            ),
            params![json_locations(configured)],
        )
        .await?;
    rows.into_iter()
        .map(|row| Ok((location_name(&row.name)?, row.id)))
        .collect()
}

impl Database {
    /// The locations that an image belongs to, with what is below it, as its own repository and tags demand. Those that take no new bytes are left
    /// out. Empty too for an image without blobs.
    pub async fn required_locations_of_image(
        &self,
        manifest: ManifestId,
        demand: Demand<'_>,
    ) -> Result<BTreeSet<LocationName>, MetadataError> {
        let rules = RulesInForce::load(self.reader(), demand).await?;
        let image = Extent::Tree { manifest: "$3" };
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "look up where an image belongs",
                &format!(
                    "{} SELECT DISTINCT o.name FROM required r JOIN open o ON o.id = r.location_id",
                    required(&rules, "$1", "$2", image)
                ),
                params![
                    json_locations(demand.defaults),
                    json_locations(demand.configured),
                    manifest.0,
                ],
            )
            .await?;
        rows.iter().map(|row| location_name(&row.name)).collect()
    }
}
