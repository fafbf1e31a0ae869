//! One of the clients: what it does next, and what it knows of its own tags.

use std::collections::BTreeMap;

use roadstead_client::{Client, ClientError, Mounted, RequestBody};
use roadstead_oci::{Digest, Reference, RepositoryName};
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_testkit::Seed;

use super::PROTECTED_SECONDS;
use super::images::{Image, Images, draw};

/// Repositories into which all clients push, each under tags of its own.
pub(crate) const SHARED: [&str; 3] = ["team/a", "team/b", "team/c"];

/// Tags that a client has in a repository. Few, so that most images are let go of at any time.
const TAGS: usize = 2;

/// How often something is tried that a collection or another client may have come between: often, as a push that takes longer than it is protected
/// for begins again, and on a slow machine many do. What is asserted is that none loses anything sooner.
const ATTEMPTS: u32 = 100;

/// What happened, for whoever reads the test's output.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pushed: u64,
    pub(crate) retagged: u64,
    pub(crate) deleted: u64,
    pub(crate) pulled: u64,
    pub(crate) collections: u64,
    /// Pushes that were refused because what they had found or brought had been collected before the manifest came.
    pub(crate) too_late: u64,
    /// Requests that were asked to come again: 503.
    pub(crate) put_off: u64,
}

impl Tally {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            pushed: self.pushed + other.pushed,
            retagged: self.retagged + other.retagged,
            deleted: self.deleted + other.deleted,
            pulled: self.pulled + other.pulled,
            collections: self.collections + other.collections,
            too_late: self.too_late + other.too_late,
            put_off: self.put_off + other.put_off,
        }
    }
}

/// A tag: repository and name.
type TagKey = (RepositoryName, String);

/// A client with its own tags in shared repositories and a repository of its own.
pub(crate) struct Worker<'a> {
    number: u64,
    client: Client,
    images: &'a Images,
    chance: Seed,
    /// Which of its tags are live, and the number of the image that each points to: as the registry has acknowledged it.
    pub(crate) live: BTreeMap<TagKey, usize>,
    pub(crate) tally: Tally,
}

/// What a worker wants done that it cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing: it has done something.
    Nothing,
    /// A collection of garbage.
    Collection,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(number: u64, client: Client, images: &'a Images, seed: u64) -> Self {
        Self {
            number,
            client,
            images,
            chance: Seed::new(seed.wrapping_mul(1_000_003).wrapping_add(number)),
            live: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Does one thing.
    pub(crate) async fn step(&mut self) -> Wish {
        match self.chance.below(100) {
            0..42 => self.push().await,
            42..56 => self.retag().await,
            56..76 => self.delete_tag().await,
            76..82 => self.delete_manifest().await,
            82..97 => self.pull_one().await,
            _ => {
                self.tally.collections += 1;
                return Wish::Collection;
            }
        }
        Wish::Nothing
    }

    /// A number below `end`.
    pub(crate) fn draw(&self, end: usize) -> usize {
        draw(&self.chance, end)
    }

    fn own_repository(&self) -> RepositoryName {
        format!("team/own-{}", self.number).parse().unwrap()
    }

    fn draw_tag(&self) -> TagKey {
        let repository = match self.draw(SHARED.len() + 1) {
            shared if shared < SHARED.len() => SHARED[shared].parse().unwrap(),
            _ => self.own_repository(),
        };
        let name = format!("c{}-{}", self.number, self.draw(TAGS));
        (repository, name)
    }

    fn draw_live(&self) -> Option<(TagKey, usize)> {
        if self.live.is_empty() {
            return None;
        }
        let nth = self.draw(self.live.len());
        let (key, image) = self.live.iter().nth(nth)?;
        Some((key.clone(), *image))
    }

    /// Pushes an image as clients do: blobs that the registry says it has are not sent.
    async fn push(&mut self) {
        let (repository, tag) = self.draw_tag();
        let number = self.draw(self.images.count());
        let reference: Reference = tag.parse().unwrap();
        for attempt in 0..ATTEMPTS {
            // Once it was too late, everything is sent whatever the registry says it has, and is safe for a while.
            let trusting = attempt == 0;
            let began = SystemClock.now();
            match self
                .push_image(&repository, &reference, number, trusting)
                .await
            {
                Ok(()) => {
                    self.live.insert((repository, tag), number);
                    self.tally.pushed += 1;
                    return;
                }
                Err(error) if is_unknown(&error) => {
                    let taken = SystemClock.now() - began;
                    assert!(
                        trusting || taken.num_seconds() >= i64::from(PROTECTED_SECONDS),
                        "{repository}:{tag} lost what was protected within {taken}: {error:?}"
                    );
                    self.tally.too_late += 1;
                }
                Err(error) => panic!("a push to {repository}:{tag} failed: {error:?}"),
            }
        }
        panic!("{repository}:{tag} was collected {ATTEMPTS} times before its manifest came");
    }

    async fn push_image(
        &mut self,
        repository: &RepositoryName,
        reference: &Reference,
        number: usize,
        trusting: bool,
    ) -> Result<(), ClientError> {
        let images = self.images;
        let image = images.get(number);
        for child in &image.children {
            let by_digest = Reference::Digest(images.get(*child).digest.clone());
            Box::pin(self.push_image(repository, &by_digest, *child, trusting)).await?;
        }
        for (digest, bytes) in &image.blobs {
            if trusting && self.has_blob(repository, digest).await? {
                continue;
            }
            self.push_blob(repository, digest, bytes).await?;
        }
        self.put_manifest(repository, reference, image).await
    }

    async fn has_blob(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let client = self.client.clone();
        let size = self
            .patiently(async || client.stat_blob(repository, digest).await)
            .await?;
        Ok(size.is_some())
    }

    async fn push_blob(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
        bytes: &bytes::Bytes,
    ) -> Result<(), ClientError> {
        let (client, way) = (self.client.clone(), self.chance.below(4));
        let source: RepositoryName = SHARED[self.draw(SHARED.len())].parse().unwrap();
        self.patiently(async || {
            let body = RequestBody::bytes(bytes.clone());
            match way {
                0 => {
                    let mounted = client.mount_blob(repository, digest, Some(&source)).await?;
                    match mounted {
                        Mounted::Yes => Ok(()),
                        Mounted::No(upload) => {
                            client.finish_upload_with(upload, digest, body).await
                        }
                    }
                }
                1 => {
                    client.push_blob_at_once(repository, digest, body).await?;
                    Ok(())
                }
                _ => client.push_blob(repository, digest, body).await,
            }
        })
        .await
    }

    async fn put_manifest(
        &mut self,
        repository: &RepositoryName,
        reference: &Reference,
        image: &Image,
    ) -> Result<(), ClientError> {
        let client = self.client.clone();
        let pushed = self
            .patiently(async || {
                client
                    .put_manifest(
                        repository,
                        reference,
                        &image.media_type,
                        image.manifest.clone(),
                    )
                    .await
            })
            .await?;
        assert_eq!(
            pushed.digest.as_ref(),
            Some(&image.digest),
            "the digest of the answer"
        );
        Ok(())
    }

    /// Points another tag, or the same again, to an image that one of its tags holds. No blob is sent: the registry has them all.
    async fn retag(&mut self) {
        let Some(((repository, _), number)) = self.draw_live() else {
            return self.push().await;
        };
        let tag = format!("c{}-{}", self.number, self.draw(TAGS));
        let reference: Reference = tag.parse().unwrap();
        let image = self.images.get(number);
        self.put_manifest(&repository, &reference, image)
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "{repository} holds {} by a live tag, and {tag} is refused: {error:?}",
                    image.digest
                )
            });
        self.live.insert((repository, tag), number);
        self.tally.retagged += 1;
    }

    /// Deletes a tag that is there, or one that is not.
    async fn delete_tag(&mut self) {
        let (repository, tag) = self.draw_tag();
        let reference: Reference = tag.parse().unwrap();
        let was_live = self.live.remove(&(repository.clone(), tag.clone()));
        let client = self.client.clone();
        let deleted = self
            .patiently(async || client.delete_manifest(&repository, &reference).await)
            .await
            .unwrap_or_else(|error| panic!("{repository}:{tag} cannot be deleted: {error:?}"));
        assert_eq!(deleted, was_live.is_some(), "{repository}:{tag}");
        self.tally.deleted += 1;
    }

    /// Deletes an image of its own repository by digest, and with it every tag that points to it. Not one that an index there needs.
    async fn delete_manifest(&mut self) {
        let repository = self.own_repository();
        let own: Vec<usize> = self
            .live
            .iter()
            .filter(|((owner, _), _)| *owner == repository)
            .map(|(_, image)| *image)
            .collect();
        let is_needed = |number: &usize| {
            own.iter()
                .any(|index| self.images.get(*index).children.contains(number))
        };
        let Some(number) = own.iter().copied().find(|number| !is_needed(number)) else {
            return self.delete_tag().await;
        };
        let reference = Reference::Digest(self.images.get(number).digest.clone());
        let client = self.client.clone();
        let deleted = self
            .patiently(async || client.delete_manifest(&repository, &reference).await)
            .await
            .unwrap_or_else(|error| panic!("{repository} cannot lose {reference}: {error:?}"));
        assert!(deleted, "{repository} has a tag for {reference} and not it");
        self.live
            .retain(|(owner, _), image| *owner != repository || *image != number);
        self.tally.deleted += 1;
    }

    async fn pull_one(&mut self) {
        let Some(((repository, tag), number)) = self.draw_live() else {
            return;
        };
        self.pull(&repository, &tag, number).await;
        self.tally.pulled += 1;
    }

    /// Pulls every live tag.
    pub(crate) async fn pull_all(&mut self) {
        for ((repository, tag), number) in self.live.clone() {
            self.pull(&repository, &tag, number).await;
        }
    }

    /// Pulls by tag, and finds what it was pointed to: manifest, images of an index, blobs.
    async fn pull(&mut self, repository: &RepositoryName, tag: &str, number: usize) {
        let reference: Reference = tag.parse().unwrap();
        let mut due = vec![(reference, number)];
        while let Some((reference, number)) = due.pop() {
            let (images, client) = (self.images, self.client.clone());
            let image = images.get(number);
            let manifest = self
                .patiently(async || client.get_manifest(repository, &reference).await)
                .await
                .unwrap_or_else(|error| panic!("{repository}:{tag} is gone: {error:?}"));
            assert_eq!(manifest.digest, image.digest, "{repository}:{tag}");
            for (digest, _) in &image.blobs {
                self.patiently(async || {
                    let blob = client.pull_verified(repository, digest).await?;
                    blob.drain().await
                })
                .await
                .unwrap_or_else(|error| panic!("{repository}:{tag} lacks {digest}: {error:?}"));
            }
            due.extend(image.children.iter().map(|child| {
                let digest = images.get(*child).digest.clone();
                (Reference::Digest(digest), *child)
            }));
        }
    }

    /// Asks again when it is told to come again.
    async fn patiently<T>(
        &mut self,
        ask: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        for _ in 1..ATTEMPTS {
            match ask().await {
                Err(error) if error.status().is_some_and(|status| status == 503) => {
                    self.tally.put_off += 1;
                }
                answer => return answer,
            }
        }
        ask().await
    }
}

/// Whether a manifest was refused because of something that it refers to.
fn is_unknown(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some("MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN")
    )
}
