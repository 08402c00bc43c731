//! The OpenAPI 3.1 document, made from the routes.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::http::openapi::examples::Examples;
use crate::http::openapi::operation::{Operation, Shape};

/// The OpenAPI 3.1 document of routes below a prefix each.
pub(crate) fn document(groups: &[(&str, &[Operation])]) -> Value {
    let examples = Examples::load();
    let mut shapes = Shapes::new();
    let mut paths = Map::new();
    for (prefix, operations) in groups {
        for operation in *operations {
            let entry = paths.entry(format!("{prefix}{}", operation.path)).or_insert_with(|| json!({}));
            entry[operation.method.as_str().to_lowercase()] = operation.document(&mut shapes, &examples);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Muster",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Gives every machine a cryptographic identity, and takes it away again",
            "description": "Every path below /v1 is served below /api/v1 too. Errors are problems (RFC 9457) whose `code` does not change between releases.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "bearer": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": shapes.into_definitions(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API token, `mat_…`" },
                "session": { "type": "apiKey", "in": "cookie", "name": crate::http::input::extract::COOKIE },
            },
        },
    })
}

/// The shapes of both directions. A field that may be left out of a request is always there in an answer, if
/// only as `null`, so each direction has schemas of its own.
pub(crate) struct Shapes {
    pub(crate) requests: SchemaGenerator,
    pub(crate) answers: SchemaGenerator,
}

impl Shapes {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            requests: settings.clone().for_deserialize().into_generator(),
            answers: settings.for_serialize().into_generator(),
        }
    }

    /// What a shape says of itself: the first sentence of its description.
    pub(crate) fn meaning(&self, shape: &Value) -> String {
        let name = shape["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        let whole = name.and_then(|name| self.answers.definitions().get(name)).unwrap_or(shape);
        let text = whole["description"].as_str().unwrap_or("An answer").trim().replace('\n', " ");
        let first = text.split_once(". ").map_or(text.as_str(), |(first, _)| first);
        first.trim_end_matches('.').to_owned()
    }

    fn into_definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.requests.take_definitions(true);
        for (name, schema) in self.answers.take_definitions(true) {
            let other = definitions.insert(name.clone(), schema.clone());
            debug_assert!(other.is_none_or(|other| other == schema), "{name} differs between directions");
        }
        definitions
    }
}

/// The fields of a query's shape, as parameters.
pub(crate) fn query_parameters(query: Shape, generator: &mut SchemaGenerator) -> Vec<Value> {
    // The shape itself is spelled out here, so it is no component.
    let whole = query(generator).to_value();
    let Some(fields) = whole["properties"].as_object() else {
        return Vec::new();
    };
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        not_null(&mut schema);
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    };
    fields.iter().map(parameter).collect()
}

/// A parameter that is left out is absent, never `null`.
fn not_null(schema: &mut Value) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let choice = choices.iter().find(|choice| choice["type"] != "null").cloned();
        *schema = choice.unwrap_or_default();
    }
}
