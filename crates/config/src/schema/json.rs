//! The table as a JSON Schema, for editors.

use serde_json::{Map, Value, json};

use super::{Key, keys};
use crate::sections::drivers;

/// A JSON Schema (2020-12) of `config.yaml`. It knows the kinds of all keys, and drivers with the names of their parameters; what goes beyond that is
/// found by `admin config check`.
pub fn json_schema() -> Value {
    let properties: Map<String, Value> = keys()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "config.yaml",
        "type": "object",
        "required": ["SERVER_HOSTNAME", "DB_URI", "DISTRIBUTED_STORAGE_CONFIG"],
        "properties": properties,
    })
}

fn property(key: &Key) -> Value {
    let kind = match key.name {
        "DISTRIBUTED_STORAGE_CONFIG" => locations(),
        // It may be nothing, which is more than any size.
        "MAXIMUM_LAYER_SIZE" => json!({"anyOf": [key.kind.json(), {"type": "null"}]}),
        _ => key.kind.json(),
    };
    let mut property = json!({
        "description": format!("{} ({})", key.about, key.effect_in_words()),
    });
    let default = key.default_value();
    if let Some(properties) = property.as_object_mut() {
        if let Value::Object(kind) = kind {
            properties.extend(kind);
        }
        if let Some(default) = default {
            let default = serde_json::to_value(default).unwrap_or_default();
            properties.insert("default".to_owned(), default);
        }
    }
    property
}

fn locations() -> Value {
    let entries: Vec<Value> = drivers()
        .map(|(driver, parameters)| {
            let parameters: Map<String, Value> = parameters
                .into_iter()
                .map(|parameter| (parameter.to_owned(), json!(true)))
                .collect();
            json!({
                "type": "array",
                "prefixItems": [
                    {"const": driver},
                    {"type": "object", "properties": parameters, "additionalProperties": false},
                ],
                "minItems": 1,
                "maxItems": 2,
            })
        })
        .collect();
    json!({"type": "object", "minProperties": 1, "additionalProperties": {"oneOf": entries}})
}
