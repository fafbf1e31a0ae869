//! The OpenAPI document of the API: made of the table of operations, and so never different from what is answered.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use roadstead_auth::Need;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::body::Body;
use crate::error::Problem;
use crate::response::With as _;
use crate::v1::call::PAGES_MAX;
use crate::v1::operation::{About, Object, Operation, QueryKind, QueryParameter};
use crate::v1::table::{PREFIX, REPOSITORY, operations as all};

/// Where the schemas are in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document, made once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// The document itself.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/openapi.json",
            "getOpenApi",
            Need::Nothing,
            |_, _| {
                Box::pin(async {
                    let json = HeaderValue::from_static("application/json");
                    Ok(Response::new(Body::whole(DOCUMENT.clone())).with(CONTENT_TYPE, json))
                })
            },
        )
        .summary("This document.")
        .gives::<Object>(StatusCode::OK),
    ]
}

/// The whole document, in OpenAPI 3.1.
pub(crate) fn document() -> Value {
    // What is taken and what is given can have the same types in other forms, so there are two generators. Their names must not meet, which a test sees to.
    let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
    let mut taken = settings().for_deserialize().into_generator();
    let mut given = settings().for_serialize().into_generator();
    let problem = given.subschema_for::<Problem>().to_value();
    let mut paths: Map<String, Value> = Map::new();
    for operation in all() {
        let described = describe(operation, &mut taken, &mut given, &problem);
        let methods = paths
            .entry(format!("{PREFIX}{}", operation.path))
            .or_insert_with(|| json!({}));
        methods[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    let mut schemas = taken.take_definitions(true);
    schemas.extend(given.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Roadstead",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Accounts, organisations, repositories, replication. Operations that Quay has too have its paths, names and documents.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "password": { "type": "http", "scheme": "basic" },
                "oauth": { "type": "http", "scheme": "bearer" },
            },
        },
        "security": [{ "password": [] }, { "oauth": [] }],
    })
}

fn describe(
    operation: &Operation,
    taken: &mut SchemaGenerator,
    given: &mut SchemaGenerator,
    problem: &Value,
) -> Value {
    let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
    let mut parameters: Vec<Value> = operation
        .path_parameters()
        .map(|name| {
            let mut schema = json!({ "type": "string", "minLength": 1 });
            if name == REPOSITORY {
                schema["description"] = json!("The namespace and the name, with a slash between.");
            }
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    parameters.extend(operation.query.iter().map(parameter));
    let mut success = json!({ "description": "Done." });
    if let Some(schema) = operation.gives {
        success["content"] = json_of(schema(given).to_value());
    }
    let mut responses = Map::new();
    responses.insert(operation.status.as_str().to_owned(), success);
    let failures = [
        ("400", "Something that was sent cannot be used."),
        (
            "401",
            "An account is needed, or the one who signs in is not known.",
        ),
        ("403", "The caller may not, or there is no such thing."),
        ("404", "There is no such thing."),
        ("405", "Nothing may be changed at present."),
        ("408", "The document did not come in time."),
        ("409", "It is in use, or protected."),
        ("413", "The document is too large."),
        ("414", "The query has too many parameters."),
        (
            "429",
            "Too many wrong passwords; `Retry-After` says when to try again.",
        ),
        (
            "503",
            "Not available at present; `Retry-After` says when to try again.",
        ),
    ];
    for (status, description) in failures {
        let failure = json!({ "description": description, "content": json_of(problem.clone()) });
        responses.insert(status.to_owned(), failure);
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.need.description(),
        "tags": [tag(operation.path)],
        "parameters": parameters,
        "responses": responses,
    });
    match operation.need {
        Need::Nothing if operation.about != About::Document => described["security"] = json!([]),
        // What is public is everybody's.
        Need::RepositoryRead => {
            described["security"] = json!([{ "password": [] }, { "oauth": [] }, {}]);
        }
        _ => {}
    }
    if let Some(schema) = operation.takes {
        let schema = schema(taken);
        described["requestBody"] = json!({
            "required": demands_members(&schema, taken),
            "content": json_of(schema.to_value()),
        });
    }
    described
}

/// Whether an empty document is not enough, and so none at all neither.
fn demands_members(schema: &Schema, generator: &SchemaGenerator) -> bool {
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.rsplit('/').next());
    let definition = match name {
        Some(name) => generator.definitions().get(name),
        None => Some(schema.as_value()),
    };
    definition.is_some_and(|definition| definition.get("required").is_some())
}

fn parameter(parameter: &QueryParameter) -> Value {
    let schema = match parameter.kind {
        QueryKind::Text => json!({ "type": "string", "maxLength": 1024 }),
        QueryKind::Flag => {
            json!({ "type": "string", "enum": ["true", "false", "True", "False", "1", "0"] })
        }
        QueryKind::Entries { default, most } => {
            json!({ "type": "integer", "minimum": 1, "maximum": most, "default": default })
        }
        QueryKind::Page => {
            json!({ "type": "integer", "minimum": 1, "maximum": PAGES_MAX, "default": 1 })
        }
    };
    json!({
        "name": parameter.name, "in": "query", "required": false,
        "description": parameter.summary, "schema": schema,
    })
}

/// The subject of an operation: the first word of its path.
fn tag(path: &str) -> &str {
    path.split('/')
        .find(|segment| !segment.is_empty())
        .unwrap_or("api")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found.insert(reference.clone());
                }
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_the_document_refers_to_is_in_it_and_no_name_means_two() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let settings =
            || SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
        let mut taken = settings().for_deserialize().into_generator();
        let mut given = settings().for_serialize().into_generator();
        for operation in all() {
            if let Some(schema) = operation.takes {
                schema(&mut taken);
            }
            if let Some(schema) = operation.gives {
                schema(&mut given);
            }
        }
        for (name, schema) in taken.definitions() {
            if let Some(other) = given.definitions().get(name) {
                assert_eq!(schema, other, "{name} is taken and given in two forms");
            }
        }
    }
}
