//! The layers of a configuration, and which of them each key comes from.
//!
//! Lowest first: `config.yaml`, then `QUAY_OVERRIDE_CONFIG`, then `QUAY_DISTRIBUTED_STORAGE_PREFERENCE`. A higher layer
//! replaces a key as a whole, as in Quay, where figment on its own would unite maps: so a layer hands figment only the
//! keys that no layer above it has.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::document::{Document, Unreadable};
use crate::env::{Environment, QUAY_DISTRIBUTED_STORAGE_PREFERENCE, QUAY_OVERRIDE_CONFIG};
use crate::finding::{Finding, Origin};

/// The largest `config.yaml`: 1 MiB, the bound that Kubernetes sets on the secret it usually comes from.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The name of the file in a configuration directory.
const FILE_NAME: &str = "config.yaml";

/// All layers, merged.
#[derive(Debug)]
pub(crate) struct Layers {
    figment: Figment,
    stack: Vec<Layer>,
    /// The origin of what stands in no layer.
    base: Origin,
}

#[derive(Clone, Debug)]
struct Layer {
    /// With the path of the file, without a line.
    origin: Origin,
    document: std::sync::Arc<Document>,
    /// What no layer above has.
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

impl Layers {
    /// Reads `config.yaml` in `directory` when there is one, and the environment. What cannot be read is pushed onto
    /// `errors`, and its layer is left out.
    pub(crate) fn read(
        directory: Option<&Path>,
        environment: &Environment,
        errors: &mut Vec<Finding>,
    ) -> Self {
        let mut layers = Vec::new();
        let base = directory.map_or(Origin::Standalone, |directory| Origin::File {
            path: directory.join(FILE_NAME),
            line: None,
        });
        let candidates = [
            directory.map(|directory| {
                (
                    base.clone(),
                    read_file(directory).and_then(|text| parse_yaml(&text)),
                )
            }),
            environment.get(QUAY_OVERRIDE_CONFIG).map(|text| {
                let document = text
                    .to_str()
                    .ok_or_else(|| unreadable("it is not UTF-8", "correct it or unset it"))
                    .and_then(parse_json);
                (Origin::Variable(QUAY_OVERRIDE_CONFIG), document)
            }),
            environment
                .get(QUAY_DISTRIBUTED_STORAGE_PREFERENCE)
                .map(|names| {
                    // A name that is not UTF-8 is no configured id; it will be refused as unknown.
                    let document = preference(&names.to_string_lossy());
                    (
                        Origin::Variable(QUAY_DISTRIBUTED_STORAGE_PREFERENCE),
                        Ok(document),
                    )
                }),
        ];
        for (origin, document) in candidates.into_iter().flatten() {
            match document {
                Ok(document) => layers.push(Layer::new(origin, document, errors)),
                Err(problem) => errors.push(problem.at(origin)),
            }
        }
        keep_topmost(&mut layers);
        let figment = layers.iter().fold(Figment::new(), |figment, layer| {
            figment.merge(layer.clone())
        });
        Self {
            figment,
            stack: layers,
            base,
        }
    }

    /// The merged top level.
    pub(crate) fn values(&self) -> Dict {
        self.figment
            .data()
            .ok()
            .and_then(|mut profiles| profiles.remove(&Profile::Default))
            .unwrap_or_default()
    }

    /// Where the value of the top-level key that begins `path` was read, with the line of `path`.
    pub(crate) fn origin(&self, path: &str, value: Option<&Value>) -> Origin {
        match value.and_then(|value| self.layer(value)) {
            None => self.base.clone(),
            Some(layer) => layer.origin_of(path),
        }
    }

    /// The entries of `map`, which is the value at `path`, in the order they were written in.
    pub(crate) fn in_order<'a>(
        &self,
        path: &str,
        value: &Value,
        map: &'a Dict,
    ) -> Vec<(&'a str, &'a Value)> {
        match self.layer(value) {
            None => map
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect(),
            Some(layer) => layer.document.in_order(path, map),
        }
    }

    fn layer(&self, value: &Value) -> Option<&Layer> {
        let name = &self.figment.get_metadata(value.tag())?.name;
        self.stack
            .iter()
            .find(|layer| layer.origin.to_string() == **name)
    }
}

impl Layer {
    /// Takes `document` over, and its faults onto `errors`.
    fn new(origin: Origin, mut document: Document, errors: &mut Vec<Finding>) -> Self {
        let faults = std::mem::take(&mut document.faults);
        let values = std::mem::take(&mut document.values);
        let layer = Self {
            origin,
            document: document.into(),
            values,
        };
        errors.extend(faults.into_iter().map(|fault| {
            let mut origin = layer.origin.clone();
            if let Origin::File { line, .. } = &mut origin {
                *line = fault.line;
            }
            Finding {
                origin,
                key: fault.path,
                value: None,
                problem: fault.problem,
                allowed: String::new(),
                action: fault.action.to_owned(),
            }
        }));
        layer
    }

    fn origin_of(&self, path: &str) -> Origin {
        let mut origin = self.origin.clone();
        if let Origin::File { line, .. } = &mut origin {
            *line = self.document.line(path);
        }
        origin
    }
}

/// Takes out of every layer the keys that a later one has.
fn keep_topmost(layers: &mut [Layer]) {
    let mut taken = std::collections::BTreeSet::new();
    for layer in layers.iter_mut().rev() {
        layer.values.retain(|key, _| taken.insert(key.clone()));
    }
}

/// A layer that could not be read.
struct Problem {
    line: Option<usize>,
    text: String,
    action: String,
}

impl Problem {
    fn at(self, mut origin: Origin) -> Finding {
        if let Origin::File { line, .. } = &mut origin {
            *line = self.line;
        }
        Finding {
            origin,
            key: String::new(),
            value: None,
            problem: self.text,
            allowed: String::new(),
            action: self.action,
        }
    }
}

fn unreadable(problem: impl Into<String>, action: &str) -> Problem {
    Problem {
        line: None,
        text: problem.into(),
        action: action.to_owned(),
    }
}

/// The bytes of the file, up to the first that is too many.
pub(crate) fn read_bytes(directory: &Path) -> Option<Vec<u8>> {
    let path = directory.join(FILE_NAME);
    // Asked first, because opening a pipe would wait for somebody to write to it.
    let is_file = std::fs::metadata(&path).is_ok_and(|kind| kind.is_file());
    let file = is_file.then(|| File::open(&path).ok()).flatten()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn read_file(directory: &Path) -> Result<String, Problem> {
    let path: PathBuf = directory.join(FILE_NAME);
    // Asked first, because opening a pipe would wait for somebody to write to it.
    let kind = std::fs::metadata(&path).map_err(|error| cannot_read(directory, &error))?;
    if !kind.is_file() {
        return Err(unreadable("it is not a file", "put a file there"));
    }
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(directory, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(
            "it is larger than 1 MiB",
            "check that this is the right file",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Problem {
            line: Some(line),
            text: "it is not UTF-8".to_owned(),
            action: "save it as UTF-8".to_owned(),
        }
    })
}

fn cannot_read(directory: &Path, error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::NotFound && !directory.is_dir() {
        return unreadable(
            "its directory does not exist",
            "name the directory with --config-dir, or start without a configuration",
        );
    }
    unreadable(
        format!("cannot be read: {error}"),
        "put config.yaml there, readable by this user",
    )
}

fn parse_yaml(text: &str) -> Result<Document, Problem> {
    Document::from_yaml(text).map_err(Problem::from)
}

fn parse_json(text: &str) -> Result<Document, Problem> {
    Document::from_json(text).map_err(Problem::from)
}

impl From<Unreadable> for Problem {
    fn from(Unreadable { line, problem }: Unreadable) -> Self {
        Self {
            line,
            text: problem,
            action: "correct it".to_owned(),
        }
    }
}

/// The preference variable as a layer: ids separated by whitespace. Only whitespace sets nothing.
fn preference(names: &str) -> Document {
    let mut document = Document::default();
    let ids: Vec<Value> = names.split_whitespace().map(Value::from).collect();
    if !ids.is_empty() {
        document
            .values
            .insert("DISTRIBUTED_STORAGE_PREFERENCE".to_owned(), ids.into());
    }
    document
}
