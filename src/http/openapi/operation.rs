//! One registration per route: what it does, who may use it and what it answers stand beside its handler, so
//! the router and the OpenAPI document can't differ.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::problem::ProblemDocument;
use crate::domain::people::permission::Permission;
use crate::http::Shared;
use crate::http::openapi::examples::Examples;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// Anybody who is somebody.
    SignedIn,
    /// Any person who has signed in.
    Person,
    Needs(Permission),
}

const EVENT_STREAM: &str = "text/event-stream";

type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A route, described.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    access: Access,
    query: Option<Shape>,
    /// What cursors of this list look like.
    cursor: &'static str,
    body: Option<(Shape, bool)>,
    answers: Vec<(u16, &'static str, &'static str, Option<Shape>)>,
    problems: Vec<(u16, &'static str)>,
}

impl Operation {
    pub(crate) fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            access: Access::Open,
            query: None,
            cursor: "",
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub(crate) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub(crate) fn needs(self, permission: Permission) -> Self {
        self.access(Access::Needs(permission))
    }

    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(shape::<T>);
        self
    }

    pub(crate) fn cursor(mut self, pattern: &'static str) -> Self {
        self.cursor = pattern;
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some((shape::<T>, true));
        self
    }

    pub(crate) fn optional_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some((shape::<T>, false));
        self
    }

    pub(crate) fn answers<T: JsonSchema>(mut self, status: u16, meaning: &'static str) -> Self {
        self.answers.push((status, meaning, "application/json", Some(shape::<T>)));
        self
    }

    /// A stream of server-sent events, whose `data` has this shape.
    pub(crate) fn streams<T: JsonSchema>(mut self, meaning: &'static str) -> Self {
        self.answers.push((200, meaning, EVENT_STREAM, Some(shape::<T>)));
        self
    }

    /// An answer that is not JSON, or has no body when `media_type` is empty.
    pub(crate) fn answers_with(
        mut self,
        status: u16,
        meaning: &'static str,
        media_type: &'static str,
    ) -> Self {
        self.answers.push((status, meaning, media_type, None));
        self
    }

    pub(crate) fn problems(mut self, problems: &[(u16, &'static str)]) -> Self {
        self.problems.extend_from_slice(problems);
        self
    }

    /// Every problem that this route can answer, with those that follow from its shape.
    fn all_problems(&self) -> Vec<(u16, &'static str)> {
        let mut problems = self.problems.clone();
        problems.push((503, "unavailable"));
        if self.access != Access::Open {
            problems.push((401, "unauthenticated"));
        }
        let changes = self.method != Method::GET;
        if matches!(self.access, Access::Needs(_) | Access::Person)
            || (changes && self.access == Access::SignedIn)
        {
            problems.push((403, "permission_denied"));
        }
        if changes && self.access != Access::Open {
            problems.push((429, "throttled"));
        }
        if self.path.contains('{') {
            problems.push((404, "not_found"));
        }
        if self.query.is_some() || self.body.is_some() {
            problems.push((400, "bad_request"));
        }
        if self.body.is_some() {
            let about_bodies =
                [(408, "timeout"), (413, "payload_too_large"), (415, "unsupported_media_type")];
            problems.extend(about_bodies);
        }
        problems.sort_unstable();
        problems.dedup();
        problems
    }

    fn document(&self, shapes: &mut Shapes, examples: &Examples) -> Value {
        let mut parameters: Vec<Value> = self
            .path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
            .collect();
        if let Some(query) = self.query {
            parameters.extend(query_parameters(query, &mut shapes.requests));
            for parameter in parameters.iter_mut().filter(|parameter| parameter["name"] == "cursor") {
                parameter["schema"]["pattern"] = self.cursor.into();
            }
        }
        let mut responses = Map::new();
        for (status, meaning, media_type, shape) in &self.answers {
            let mut response = json!({ "description": meaning });
            if !media_type.is_empty() {
                let text = json!({ "type": "string" });
                let shape = shape.map(|shape| shape(&mut shapes.answers).to_value());
                let mut content = match shape {
                    // OpenAPI 3.1 has no word for what the events of a stream look like.
                    Some(data) if *media_type == EVENT_STREAM => {
                        json!({ "schema": text, "x-event-data": data })
                    }
                    schema => json!({ "schema": schema.unwrap_or(text) }),
                };
                if let Some(example) = examples.answer(self.id) {
                    content["example"] = example.clone();
                }
                response["content"] = json!({ *media_type: content });
            }
            responses.insert(status.to_string(), response);
        }
        let problem = shapes.answers.subschema_for::<ProblemDocument>().to_value();
        let problems = self.all_problems();
        for status in problems.iter().map(|(status, _)| *status) {
            let codes: Vec<&str> =
                problems.iter().filter(|(s, _)| *s == status).map(|(_, code)| *code).collect();
            let example = |code: &&str| {
                let value = json!({
                    "type": "about:blank",
                    "title": axum::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()),
                    "status": status,
                    "code": code,
                    "detail": examples.detail(code),
                });
                ((*code).to_owned(), json!({ "value": value }))
            };
            let known: Map<String, Value> = codes.iter().map(example).collect();
            let narrowed = json!({ "properties": { "code": { "enum": codes } } });
            let schema = json!({ "allOf": [problem, narrowed] });
            let response = json!({
                "description": format!("code: {}", codes.join(", ")),
                "content": { "application/problem+json": { "schema": schema, "examples": known } },
            });
            responses.insert(status.to_string(), response);
        }
        let mut document = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": responses,
        });
        if !parameters.is_empty() {
            document["parameters"] = parameters.into();
        }
        if let Some((shape, required)) = self.body {
            let schema = shape(&mut shapes.requests).to_value();
            let mut content = json!({ "schema": schema });
            if let Some(example) = examples.request(self.id) {
                content["example"] = example.clone();
            }
            document["requestBody"] =
                json!({ "required": required, "content": { "application/json": content } });
        }
        match self.access {
            Access::Open => document["security"] = json!([]),
            Access::SignedIn => {}
            Access::Person => document["security"] = json!([{ "session": [] }]),
            Access::Needs(permission) => {
                document["description"] = format!("Needs the permission `{permission}`.").into();
            }
        }
        document
    }
}

/// The shapes of both directions. A field that may be left out of a request is always there in an answer, if
/// only as `null`, so each direction has schemas of its own.
struct Shapes {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
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
fn query_parameters(query: Shape, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = query(generator).to_value();
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
    // The shape itself is spelled out here, so it need not be a component.
    let Some(whole) = generator.definitions_mut().remove(name) else {
        return Vec::new();
    };
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

/// Routes with their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Api {
    router: Router<Shared>,
    operations: Vec<Operation>,
}

impl Api {
    pub(crate) fn route<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(operation.method.clone()).expect("routes use ordinary methods");
        self.router = self.router.route(operation.path, on(filter, handler));
        self.operations.push(operation);
        self
    }

    pub(crate) fn into_parts(self) -> (Router<Shared>, Vec<Operation>) {
        (self.router, self.operations)
    }
}

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

#[cfg(test)]
mod tests {
    use crate::domain::code::Code;
    use crate::http::routes::table;

    #[test]
    fn every_code_of_the_document_is_in_the_table_of_codes() {
        for api in [table::open(), table::api()] {
            for operation in api.into_parts().1 {
                for (status, code) in operation.all_problems() {
                    assert!(
                        code.parse::<Code>().is_ok(),
                        "{} {}: {status} {code}",
                        operation.method,
                        operation.path
                    );
                }
            }
        }
    }
}
