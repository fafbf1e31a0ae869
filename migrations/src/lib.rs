//! The schema: Quay's tables as its own migrations leave them, and ours beside them.
//!
//! Invariant: a table of Quay's never gets a column, an index or a constraint of ours (see `README.md`).

mod m20261122_000001_quay_tables;
mod m20261122_000002_roadstead_tables;
mod m20261122_000003_garbage;
mod m20261122_000004_owed_labels;
mod m20261125_000005_indexes;
mod m20261125_000006_staged_parts;
mod m20261125_000007_instances;
mod m20261126_000008_copy_order;
mod m20261126_000009_copy_control;
mod m20261126_000010_scrub;
mod m20261126_000011_placement_rules;
mod m20261126_000012_image_events;
mod m20261126_000013_configurations;
mod m20261126_000014_drained_sites;
mod m20261126_000015_copy_trace;
mod quay_tables;
mod schema;

use sea_orm_migration::prelude::{Alias, DynIden, IntoIden, MigrationTrait, MigratorTrait};

pub use quay_tables::{ALEMBIC_TABLE, QUAY_REVISIONS, enumeration_rows, quay_tables};
pub use schema::{Column, Form, Id, Index, Kind, Reference, Table, Usage};

/// Brings a database to this program's schema.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_quay_tables::Migration),
            Box::new(m20261122_000002_roadstead_tables::MIGRATION),
            Box::new(m20261122_000003_garbage::MIGRATION),
            Box::new(m20261122_000004_owed_labels::MIGRATION),
            Box::new(m20261125_000005_indexes::Migration),
            Box::new(m20261125_000006_staged_parts::Migration),
            Box::new(m20261125_000007_instances::MIGRATION),
            Box::new(m20261126_000008_copy_order::Migration),
            Box::new(m20261126_000009_copy_control::MIGRATION),
            Box::new(m20261126_000010_scrub::Migration),
            Box::new(m20261126_000011_placement_rules::MIGRATION),
            Box::new(m20261126_000012_image_events::MIGRATION),
            Box::new(m20261126_000013_configurations::MIGRATION),
            Box::new(m20261126_000014_drained_sites::MIGRATION),
            Box::new(m20261126_000015_copy_trace::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(MIGRATION_TABLE).into_iden()
    }
}

/// The table that lists the applied migrations.
pub const MIGRATION_TABLE: &str = "roadstead_migration";

/// What the name of a migration ends with if programs that do not know it must not work with its database. The others only add what older
/// programs do not miss, so that two releases can run side by side while one replaces the other.
pub const INCOMPATIBLE_SUFFIX: &str = "_incompatible";

/// The names of the migrations that this program knows, oldest first.
pub fn known_migrations() -> Vec<String> {
    Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect()
}
