-- The rows of `:images` images, as pushes leave them, for the database of a registry that does not run and holds repository admin/app: each a manifest under
-- a tag of its own with a blob of its own, every other referring to the one before. All in admin/app where `:together` is 1, else fifty to a repository.
--
-- Digests lie among those of real content and not behind them: the factors are odd, so that no two numbers give the same.

.bail on

PRAGMA synchronous = OFF;
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -524288;

CREATE TEMP TABLE first AS
SELECT (SELECT COALESCE(max(id), 0) FROM manifest) + 1 AS manifest, (SELECT COALESCE(max(id), 0) FROM imagestorage) + 1 AS blob,
       (SELECT COALESCE(max(id), 0) FROM repository) + 1 AS repository, r.id AS app, r.namespace_user_id AS namespace,
       (SELECT location_id FROM imagestorageplacement LIMIT 1) AS location,
       (SELECT id FROM mediatype WHERE name = 'application/vnd.oci.image.manifest.v1+json') AS media_type
FROM repository r JOIN "user" u ON u.id = r.namespace_user_id WHERE u.username = 'admin' AND r.name = 'app';

CREATE TEMP TABLE image AS
SELECT n.value AS n, first.manifest + n.value AS manifest, first.blob + n.value AS blob,
       CASE WHEN :together = 1 THEN first.app ELSE first.repository + n.value / 50 END AS repository,
       printf('sha256:%08x%056x', n.value * 2654435761 % 4294967296, n.value) AS digest,
       printf('sha256:%08x%056x', n.value * 2246822519 % 4294967296, n.value) AS blob_digest
FROM first, generate_series(0, :images - 1) n;

BEGIN;

INSERT INTO repository (id, namespace_user_id, name, visibility_id, badge_token, kind_id)
SELECT DISTINCT image.repository, first.namespace, 'other' || image.repository, 2, '', 1 FROM image, first
WHERE image.repository <> first.app;

INSERT INTO imagestorage (id, uuid, image_size, uploading, cas_path, content_checksum)
SELECT blob, printf('%08x-0000-4000-8000-%012x', n * 2246822519 % 4294967296, n), 4096, true, true, blob_digest FROM image;

INSERT INTO imagestorageplacement (storage_id, location_id) SELECT image.blob, first.location FROM image, first;

INSERT INTO manifest (id, repository_id, digest, media_type_id, manifest_bytes, config_media_type, layers_compressed_size,
                      subject, subject_backfilled, artifact_type_backfilled)
SELECT image.manifest, image.repository, digest, first.media_type, printf('%-300s', '{"schemaVersion":2}'), 'application/vnd.oci.image.config.v1+json', 4096,
       CASE n % 2 WHEN 1 THEN lag(digest) OVER (ORDER BY n) END, true, true
FROM image, first;

INSERT INTO manifestblob (repository_id, manifest_id, blob_id) SELECT repository, manifest, blob FROM image;

INSERT INTO manifestsecuritystatus (manifest_id, repository_id, index_status, error_json, last_indexed, indexer_hash, indexer_version, metadata_json)
SELECT manifest, repository, 0, '{}', '2026-11-01 00:00:00', '', 4, '{}' FROM image;

INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id) SELECT printf('f%07d', n), repository, manifest, 1, 1 FROM image;

COMMIT;

PRAGMA journal_mode = WAL;

SELECT count(*) FROM image;
