//! Quay's tables, as far as Roadstead uses them: names, types, indexes, foreign keys and enumeration rows of a database that
//! Quay itself migrated to alembic revision `9fa37f66a9b6`.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{
    Column, Index, Table, big_integer, boolean, enumerate, index, integer, text, timestamp, unique,
    unique_where_false, varchar, varchar_of,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000001_quay_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            table.create(manager).await?;
        }
        unique_where_false(
            manager,
            "user_email_unique_non_org",
            "user",
            "email",
            "organization",
        )
        .await?;
        for (table, names) in ENUMERATIONS {
            enumerate(manager, table, names).await?;
        }
        Ok(())
    }
}

const fn enumeration(name: &'static str) -> Table {
    const NAME: &[Column] = &[varchar("name")];
    const UNIQUE_NAME: &[Index] = &[unique(&["name"])];
    Table {
        name,
        wide_id: false,
        columns: NAME,
        indexes: UNIQUE_NAME,
        references: &[],
    }
}

/// In an order in which every table comes after those it refers to.
const TABLES: &[Table] = &[
    enumeration("imagestoragelocation"),
    enumeration("mediatype"),
    enumeration("role"),
    enumeration("visibility"),
    enumeration("repositorykind"),
    enumeration("tagkind"),
    Table {
        name: "teamrole",
        wide_id: false,
        columns: &[varchar("name")],
        indexes: &[index(&["name"])],
        references: &[],
    },
    Table {
        name: "user",
        wide_id: false,
        columns: &[
            varchar_of("uuid", 36).nullable(),
            varchar("username"),
            varchar("password_hash").nullable(),
            varchar("email"),
            boolean("verified"),
            varchar("stripe_id").nullable(),
            boolean("organization"),
            boolean("robot"),
            boolean("invoice_email"),
            integer("invalid_login_attempts").or_integer(0),
            timestamp("last_invalid_login"),
            big_integer("removed_tag_expiration_s").or_integer(1_209_600),
            boolean("enabled").or_boolean(true),
            varchar("invoice_email_address").nullable(),
            varchar("company").nullable(),
            varchar("family_name").nullable(),
            varchar("given_name").nullable(),
            varchar("location").nullable(),
            integer("maximum_queued_builds_count").nullable(),
            timestamp("creation_date").nullable(),
            timestamp("last_accessed").nullable(),
        ],
        indexes: &[
            unique(&["username"]),
            Index {
                name: "user_email_idx",
                unique: false,
                columns: &["email"],
            },
            index(&["invoice_email_address"]),
            index(&["last_accessed"]),
            index(&["organization"]),
            index(&["robot"]),
            index(&["stripe_id"]),
            index(&["uuid"]),
        ],
        references: &[],
    },
    Table {
        name: "userregion",
        wide_id: false,
        columns: &[integer("user_id"), integer("location_id")],
        indexes: &[index(&["location_id"]), index(&["user_id"])],
        references: &[("location_id", "imagestoragelocation"), ("user_id", "user")],
    },
    Table {
        name: "team",
        wide_id: false,
        columns: &[
            varchar("name"),
            integer("organization_id"),
            integer("role_id"),
            text("description"),
        ],
        indexes: &[
            unique(&["name", "organization_id"]),
            index(&["name"]),
            index(&["organization_id"]),
            index(&["role_id"]),
        ],
        references: &[("organization_id", "user"), ("role_id", "teamrole")],
    },
    Table {
        name: "teammember",
        wide_id: false,
        columns: &[integer("user_id"), integer("team_id")],
        indexes: &[
            unique(&["user_id", "team_id"]),
            index(&["team_id"]),
            index(&["user_id"]),
        ],
        references: &[("team_id", "team"), ("user_id", "user")],
    },
    Table {
        name: "repository",
        wide_id: false,
        columns: &[
            integer("namespace_user_id").nullable(),
            varchar("name"),
            integer("visibility_id"),
            text("description").nullable(),
            varchar("badge_token"),
            integer("kind_id").or_integer(1),
            boolean("trust_enabled").or_boolean(false),
            integer("state").or_integer(0),
        ],
        indexes: &[
            unique(&["namespace_user_id", "name"]),
            index(&["kind_id"]),
            index(&["namespace_user_id"]),
            index(&["state"]),
            index(&["visibility_id"]),
        ],
        references: &[
            ("kind_id", "repositorykind"),
            ("namespace_user_id", "user"),
            ("visibility_id", "visibility"),
        ],
    },
    Table {
        name: "repositorypermission",
        wide_id: false,
        columns: &[
            integer("team_id").nullable(),
            integer("user_id").nullable(),
            integer("repository_id"),
            integer("role_id"),
        ],
        indexes: &[
            unique(&["team_id", "repository_id"]),
            unique(&["user_id", "repository_id"]),
            index(&["repository_id"]),
            index(&["role_id"]),
            index(&["team_id"]),
            index(&["user_id"]),
        ],
        references: &[
            ("repository_id", "repository"),
            ("role_id", "role"),
            ("team_id", "team"),
            ("user_id", "user"),
        ],
    },
    Table {
        name: "imagestorage",
        wide_id: false,
        columns: &[
            varchar("uuid"),
            big_integer("image_size").nullable(),
            big_integer("uncompressed_size").nullable(),
            boolean("uploading").nullable(),
            boolean("cas_path").or_boolean(false),
            varchar("content_checksum").nullable(),
        ],
        indexes: &[unique(&["uuid"]), index(&["content_checksum"])],
        references: &[],
    },
    Table {
        name: "imagestorageplacement",
        wide_id: false,
        columns: &[integer("storage_id"), integer("location_id")],
        indexes: &[
            unique(&["storage_id", "location_id"]),
            index(&["location_id"]),
            index(&["storage_id"]),
        ],
        references: &[
            ("location_id", "imagestoragelocation"),
            ("storage_id", "imagestorage"),
        ],
    },
    Table {
        name: "blobupload",
        wide_id: false,
        columns: &[
            integer("repository_id"),
            varchar("uuid"),
            big_integer("byte_count"),
            text("sha_state").nullable(),
            integer("location_id"),
            text("storage_metadata").nullable(),
            integer("chunk_count").or_integer(0),
            big_integer("uncompressed_byte_count").nullable(),
            timestamp("created"),
            text("piece_sha_state").nullable(),
            text("piece_hashes").nullable(),
        ],
        indexes: &[
            unique(&["repository_id", "uuid"]),
            unique(&["uuid"]),
            index(&["created"]),
            index(&["location_id"]),
            index(&["repository_id"]),
        ],
        references: &[
            ("location_id", "imagestoragelocation"),
            ("repository_id", "repository"),
        ],
    },
    Table {
        name: "uploadedblob",
        wide_id: true,
        columns: &[
            integer("repository_id"),
            integer("blob_id"),
            timestamp("uploaded_at"),
            timestamp("expires_at"),
        ],
        indexes: &[
            index(&["blob_id"]),
            index(&["expires_at"]),
            index(&["repository_id"]),
        ],
        references: &[("blob_id", "imagestorage"), ("repository_id", "repository")],
    },
    Table {
        name: "manifest",
        wide_id: false,
        columns: &[
            integer("repository_id"),
            varchar("digest"),
            integer("media_type_id"),
            text("manifest_bytes"),
            varchar("config_media_type").nullable(),
            big_integer("layers_compressed_size").nullable(),
            varchar("subject").nullable(),
            boolean("subject_backfilled").nullable(),
            varchar("artifact_type").nullable(),
            boolean("artifact_type_backfilled").nullable(),
        ],
        indexes: &[
            unique(&["repository_id", "digest"]),
            index(&["artifact_type_backfilled"]),
            index(&["digest"]),
            index(&["media_type_id"]),
            index(&["repository_id"]),
            index(&["repository_id", "artifact_type"]),
            index(&["repository_id", "config_media_type"]),
            index(&["repository_id", "media_type_id"]),
            index(&["repository_id", "subject"]),
            index(&["subject_backfilled"]),
        ],
        references: &[
            ("media_type_id", "mediatype"),
            ("repository_id", "repository"),
        ],
    },
    Table {
        name: "manifestblob",
        wide_id: true,
        columns: &[
            integer("repository_id"),
            integer("manifest_id"),
            integer("blob_id"),
        ],
        indexes: &[
            unique(&["manifest_id", "blob_id"]),
            index(&["blob_id"]),
            index(&["manifest_id"]),
            index(&["repository_id"]),
            index(&["repository_id", "blob_id"]),
        ],
        references: &[
            ("blob_id", "imagestorage"),
            ("manifest_id", "manifest"),
            ("repository_id", "repository"),
        ],
    },
    Table {
        name: "manifestchild",
        wide_id: false,
        columns: &[
            integer("repository_id"),
            integer("manifest_id"),
            integer("child_manifest_id"),
        ],
        indexes: &[
            unique(&["manifest_id", "child_manifest_id"]),
            index(&["child_manifest_id"]),
            index(&["manifest_id"]),
            index(&["repository_id"]),
            index(&["repository_id", "child_manifest_id"]),
            index(&["repository_id", "manifest_id"]),
            index(&["repository_id", "manifest_id", "child_manifest_id"]),
        ],
        references: &[
            ("child_manifest_id", "manifest"),
            ("manifest_id", "manifest"),
            ("repository_id", "repository"),
        ],
    },
    Table {
        name: "tag",
        wide_id: false,
        columns: &[
            varchar("name"),
            integer("repository_id"),
            integer("manifest_id").nullable(),
            big_integer("lifetime_start_ms"),
            big_integer("lifetime_end_ms").nullable(),
            boolean("hidden").or_boolean(false),
            boolean("reversion").or_boolean(false),
            integer("tag_kind_id"),
            integer("linked_tag_id").nullable(),
            boolean("immutable").or_boolean(false),
        ],
        indexes: &[
            unique(&["repository_id", "name", "lifetime_end_ms"]),
            index(&["lifetime_end_ms"]),
            index(&["linked_tag_id"]),
            index(&["manifest_id"]),
            index(&["manifest_id", "immutable"]),
            index(&["manifest_id", "lifetime_end_ms"]),
            index(&["repository_id"]),
            index(&["repository_id", "immutable"]),
            index(&["repository_id", "lifetime_end_ms"]),
            index(&["repository_id", "lifetime_start_ms"]),
            index(&["repository_id", "name"]),
            index(&["repository_id", "name", "hidden"]),
            index(&["repository_id", "name", "tag_kind_id"]),
            index(&["tag_kind_id"]),
        ],
        references: &[
            ("linked_tag_id", "tag"),
            ("manifest_id", "manifest"),
            ("repository_id", "repository"),
            ("tag_kind_id", "tagkind"),
        ],
    },
    Table {
        name: "queueitem",
        wide_id: false,
        columns: &[
            varchar_of("queue_name", 1024),
            text("body"),
            timestamp("available_after"),
            boolean("available"),
            timestamp("processing_expires").nullable(),
            integer("retries_remaining"),
            varchar("state_id").or_empty(),
        ],
        indexes: &[
            unique(&["state_id"]),
            Index {
                name: "queueitem_pe_aafter_qname_rremaining_available",
                unique: false,
                columns: &[
                    "processing_expires",
                    "available_after",
                    "queue_name",
                    "retries_remaining",
                    "available",
                ],
            },
            Index {
                name: "queueitem_pexpires_aafter_rremaining_available",
                unique: false,
                columns: &[
                    "processing_expires",
                    "available_after",
                    "retries_remaining",
                    "available",
                ],
            },
            index(&["processing_expires", "available"]),
            index(&["processing_expires", "queue_name", "available"]),
            index(&["queue_name"]),
        ],
        references: &[],
    },
    Table {
        name: "servicekeyapproval",
        wide_id: false,
        columns: &[
            integer("approver_id").nullable(),
            varchar("approval_type"),
            timestamp("approved_date"),
            text("notes"),
        ],
        indexes: &[index(&["approval_type"]), index(&["approver_id"])],
        references: &[("approver_id", "user")],
    },
    Table {
        name: "servicekey",
        wide_id: false,
        columns: &[
            varchar("name"),
            varchar("kid"),
            varchar("service"),
            text("jwk"),
            text("metadata"),
            timestamp("created_date"),
            timestamp("expiration_date").nullable(),
            integer("rotation_duration").nullable(),
            integer("approval_id").nullable(),
        ],
        indexes: &[
            unique(&["kid"]),
            index(&["approval_id"]),
            index(&["service"]),
        ],
        references: &[("approval_id", "servicekeyapproval")],
    },
];

/// Rows and ids that Quay's migrations leave. The locations are the names of its hosted service; a deployment's own come after them.
const ENUMERATIONS: &[(&str, &[&str])] = &[
    (
        "imagestoragelocation",
        &[
            "s3_us_east_1",
            "s3_eu_west_1",
            "s3_ap_southeast_1",
            "s3_ap_southeast_2",
            "s3_ap_northeast_1",
            "s3_sa_east_1",
            "local",
            "s3_us_west_1",
        ],
    ),
    (
        "mediatype",
        &[
            "text/plain",
            "application/json",
            "text/markdown",
            "application/vnd.cnr.blob.v0.tar+gzip",
            "application/vnd.cnr.package-manifest.helm.v0.json",
            "application/vnd.cnr.package-manifest.kpm.v0.json",
            "application/vnd.cnr.package-manifest.docker-compose.v0.json",
            "application/vnd.cnr.package.kpm.v0.tar+gzip",
            "application/vnd.cnr.package.helm.v0.tar+gzip",
            "application/vnd.cnr.package.docker-compose.v0.tar+gzip",
            "application/vnd.cnr.manifests.v0.json",
            "application/vnd.cnr.manifest.list.v0.json",
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
        ],
    ),
    ("role", &["admin", "write", "read"]),
    ("visibility", &["public", "private"]),
    ("repositorykind", &["image", "application"]),
    ("tagkind", &["tag"]),
    ("teamrole", &["admin", "creator", "member"]),
];
