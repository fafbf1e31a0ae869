//! Descriptors: how manifests refer to content. Reading them out of a manifest is here, their place in it is the manifest's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{self, Fault, ObjectError};
use crate::{Digest, MediaType};

/// Refers to content by type, digest and size: the OCI image specification's `descriptor.md`.
///
/// Serialises as the specification's JSON; members that are empty are left out. The member `data` (the content itself, for
/// clients) and members that the specification does not have are not kept here: they stay in the bytes of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes, at most `i64::MAX`.
    pub size: u64,
    /// What the artifact is that the content is the manifest of. May have parameters behind the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where else the content may be had. Not checked to be URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// What the writer had to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What machine the content is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor with the three members that every one has.
    pub const fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            artifact_type: None,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// What machine an image is for: a JSON object that the registry keeps as it was written and does not look into.
#[derive(Clone)]
pub struct Platform(Box<RawValue>);

impl Platform {
    /// A platform of these two members, such as `linux` and `arm64`.
    #[expect(
        clippy::missing_panics_doc,
        reason = "two strings are always valid JSON"
    )]
    pub fn new(os: &str, architecture: &str) -> Self {
        #[derive(Serialize)]
        struct Members<'a> {
            architecture: &'a str,
            os: &'a str,
        }
        Self(
            serde_json::value::to_raw_value(&Members { architecture, os })
                .expect("two strings are always valid JSON"),
        )
    }

    /// The object, as JSON.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Platform {
    /// Compares the text: the same members in another order make another platform.
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Platform {}

impl fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Platform({})", self.as_json())
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// How many small things a document may still hold, all its descriptors together.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) annotations: usize,
    pub(crate) urls: usize,
}

impl Budget {
    /// Reads annotations and takes them off the budget.
    pub(crate) fn annotations(
        &mut self,
        value: Option<&RawValue>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let Some(value) = json::given(value) else {
            return Ok(BTreeMap::new());
        };
        let annotations = json::string_map(value, self.annotations)?;
        self.annotations -= annotations.len();
        Ok(annotations)
    }

    fn urls(&mut self, value: Option<&RawValue>) -> Result<Vec<String>, Fault> {
        let Some(value) = json::given(value) else {
            return Ok(Vec::new());
        };
        let entries = json::array(value, self.urls)?;
        self.urls -= entries.len();
        entries
            .into_iter()
            .map(|entry| json::string(entry).map_err(|fault| format!("has an entry that {fault}")))
            .collect()
    }
}

/// What is wrong with a descriptor, and with which member; the empty name is the descriptor itself.
pub(crate) struct DescriptorFault {
    pub(crate) member: &'static str,
    pub(crate) fault: Fault,
}

const MEMBERS: [&str; 7] = [
    "mediaType",
    "digest",
    "size",
    "artifactType",
    "urls",
    "annotations",
    "platform",
];

/// Reads a descriptor that a client wrote.
pub(crate) fn read(value: &RawValue, budget: &mut Budget) -> Result<Descriptor, DescriptorFault> {
    let at = |member| move |fault| DescriptorFault { member, fault };
    let [
        media_type,
        digest,
        size,
        artifact_type,
        urls,
        annotations,
        platform,
    ] = json::members(value.get(), &MEMBERS)
        .map_err(|error| match error {
            ObjectError::Json(_) => "must be an object".to_owned(),
            ObjectError::Ambiguous(fault) => fault,
        })
        .map_err(at(""))?;
    let required =
        |member, value| json::given(value).ok_or_else(|| at(member)("is missing".to_owned()));
    let parsed = |member, value: &RawValue| json::string(value).map_err(at(member));

    Ok(Descriptor {
        media_type: parsed("mediaType", required("mediaType", media_type)?)?
            .parse::<MediaType>()
            .map_err(|error| at("mediaType")(error.to_string()))?,
        digest: parsed("digest", required("digest", digest)?)?
            .parse::<Digest>()
            .map_err(|error| at("digest")(error.to_string()))?,
        size: json::size(required("size", size)?).map_err(at("size"))?,
        artifact_type: read_artifact_type(artifact_type).map_err(at("artifactType"))?,
        urls: budget.urls(urls).map_err(at("urls"))?,
        annotations: budget.annotations(annotations).map_err(at("annotations"))?,
        platform: read_platform(platform).map_err(at("platform"))?,
    })
}

/// Reads an artifact type. The specification treats an empty one as one that is missing.
pub(crate) fn read_artifact_type(value: Option<&RawValue>) -> Result<Option<String>, Fault> {
    let Some(value) = json::given(value) else {
        return Ok(None);
    };
    let text = json::string(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse::<MediaType>()
        .map_err(|error| error.to_string())?;
    Ok(Some(text))
}

fn read_platform(value: Option<&RawValue>) -> Result<Option<Platform>, Fault> {
    match json::given(value) {
        None => Ok(None),
        Some(value) if value.get().starts_with('{') => Ok(Some(Platform(value.to_owned()))),
        Some(_) => Err("must be an object".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn read_text(text: &str) -> Result<Descriptor, String> {
        let mut budget = Budget {
            annotations: 3,
            urls: 2,
        };
        read(serde_json::from_str(text).unwrap(), &mut budget)
            .map_err(|DescriptorFault { member, fault }| format!("{member} {fault}"))
    }

    fn with(members: &str) -> String {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        format!(r#"{{"mediaType": "a/b", "digest": "{digest}", "size": 5, {members}}}"#)
    }

    #[test]
    fn a_full_descriptor_is_read_and_written() {
        let members = r#""artifactType": "c/d;v=1", "urls": ["http://e", "f"], "annotations": {"g": "h"},
            "platform": {"os": "linux", "os.features": []}, "data": "eA==", "other": [{}]"#;
        let descriptor = read_text(&with(members)).unwrap();
        assert_eq!(descriptor.media_type.as_str(), "a/b");
        assert_eq!(descriptor.size, 5);
        assert_eq!(descriptor.artifact_type.as_deref(), Some("c/d;v=1"));
        assert_eq!(descriptor.urls, ["http://e", "f"]);
        assert_eq!(descriptor.annotations["g"], "h");
        let digest = &descriptor.digest;
        assert_eq!(
            serde_json::to_string(&descriptor).unwrap(),
            format!(
                r#"{{"mediaType":"a/b","digest":"{digest}","size":5,"artifactType":"c/d;v=1","urls":["http://e","f"],"annotations":{{"g":"h"}},"platform":{{"os": "linux", "os.features": []}}}}"#
            )
        );
    }

    #[test]
    fn members_that_are_null_or_empty_are_left_out() {
        let text = with(r#""artifactType": "", "urls": null, "annotations": {}, "platform": null"#);
        let descriptor = read_text(&text).unwrap();
        let digest = descriptor.digest.clone();
        assert_eq!(
            descriptor,
            Descriptor::new("a/b".parse().unwrap(), digest.clone(), 5)
        );
        assert_eq!(
            serde_json::to_string(&descriptor).unwrap(),
            format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":5}}"#)
        );
    }

    #[test]
    fn faults_name_the_member_and_what_it_must_be() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        for (text, expected) in [
            ("[]".to_owned(), " must be an object"),
            ("{}".to_owned(), "mediaType is missing"),
            (with(r#""size": 6"#), " has `size` twice"),
            (
                with(r#""Digest": "x""#),
                " has `Digest`; write it as `digest`",
            ),
            (
                r#"{"mediaType": "a/b", "size": 1}"#.to_owned(),
                "digest is missing",
            ),
            (
                format!(r#"{{"mediaType": "a/b", "digest": "{digest}"}}"#),
                "size is missing",
            ),
            (
                format!(r#"{{"mediaType": "a/b", "digest": "{digest}", "size": -1}}"#),
                "size must be a whole number from 0 to 2^63-1",
            ),
            (
                r#"{"mediaType": "a/b", "digest": 7, "size": 1}"#.to_owned(),
                "digest must be a string",
            ),
            (
                r#"{"mediaType": "a/b", "digest": "md5:00", "size": 1}"#.to_owned(),
                "digest digest algorithm `md5` is not supported; use sha256 or sha512",
            ),
            (
                with(r#""artifactType": "x""#),
                "artifactType media type `x` is malformed: write it as type/subtype",
            ),
            (
                with(r#""urls": ["a", "b", "c"]"#),
                "urls has more entries than the 2 allowed",
            ),
            (
                with(r#""urls": [1]"#),
                "urls has an entry that must be a string",
            ),
            (
                with(r#""annotations": []"#),
                "annotations must be an object of strings",
            ),
            (with(r#""platform": "linux""#), "platform must be an object"),
        ] {
            assert_eq!(read_text(&text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_platform_is_written_as_the_specification_has_it() {
        assert_eq!(
            Platform::new("linux", "arm64").as_json(),
            r#"{"architecture":"arm64","os":"linux"}"#
        );
    }
}
