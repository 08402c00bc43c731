//! A route, described: its row says where it is, what it is for and why it refuses; the rest comes from the handler's
//! signature (`describe`).

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::problem::ProblemDocument;
use crate::domain::code::Code;
use crate::domain::people::permission::Permission;
use crate::http::openapi::document::{Shapes, query_parameters};
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

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A route, described.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    id: &'static str,
    summary: &'static str,
    pub(crate) access: Access,
    /// Whether the path names one thing.
    pub(crate) names_one: bool,
    query: Option<Shape>,
    /// What cursors of this list look like.
    pub(crate) cursor: &'static str,
    body: Option<(Shape, bool)>,
    answers: Vec<DocumentedAnswer>,
    /// Why it refuses, besides what follows from its inputs.
    pub(crate) refusals: Vec<(u16, Code)>,
    /// Whether it changes nothing, whatever its method.
    pub(crate) only_asks: bool,
    /// Whether every no is a 403, because proxies take other statuses for a fault.
    forbids_only: bool,
}

/// One answer of a route.
#[derive(Debug, Clone, Copy)]
struct DocumentedAnswer {
    status: u16,
    /// Empty: what its shape says of itself.
    meaning: &'static str,
    /// Empty: there is no body.
    media_type: &'static str,
    shape: Option<Shape>,
}

impl Operation {
    pub(crate) fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            access: Access::Open,
            names_one: false,
            query: None,
            cursor: "",
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
            only_asks: false,
            forbids_only: false,
        }
    }

    /// It answers proxies, which take 403 for a no and other statuses for a fault.
    pub(crate) const fn forbids_only(&mut self) {
        self.forbids_only = true;
    }

    pub(crate) fn query<T: JsonSchema>(&mut self) {
        self.query = Some(T::json_schema);
    }

    pub(crate) fn body<T: JsonSchema>(&mut self, required: bool) {
        self.body = Some((shape::<T>, required));
    }

    /// JSON; what it means is what its shape says of itself.
    pub(crate) fn answers_json<T: JsonSchema>(&mut self, status: u16) {
        let shape = Some(shape::<T> as Shape);
        self.answers.push(DocumentedAnswer { status, meaning: "", media_type: JSON, shape });
    }

    /// A stream of server-sent events, whose `data` has this shape.
    pub(crate) fn streams<T: JsonSchema>(&mut self) {
        let (meaning, shape) = ("A stream of events", Some(shape::<T> as Shape));
        self.answers.push(DocumentedAnswer { status: 200, meaning, media_type: EVENT_STREAM, shape });
    }

    /// An answer that is not JSON, or has no body when `media_type` is empty.
    pub(crate) fn answers(&mut self, status: u16, meaning: &'static str, media_type: &'static str) {
        self.answers.push(DocumentedAnswer { status, meaning, media_type, shape: None });
    }

    /// A path with a place in it and a handler that reads it belong together.
    pub(crate) fn check(&self) {
        assert_eq!(self.path.contains('{'), self.names_one, "{}: the path and its handler differ", self.path);
    }

    /// Every refusal of this route, with those that follow from its shape.
    pub(crate) fn all_refusals(&self) -> Vec<(u16, Code)> {
        let changes = self.method != Method::GET && !self.only_asks;
        let mut codes = vec![Code::Unavailable];
        if self.access != Access::Open {
            codes.push(Code::Unauthenticated);
        }
        if matches!(self.access, Access::Needs(_) | Access::Person)
            || (changes && self.access == Access::SignedIn)
        {
            codes.push(Code::PermissionDenied);
        }
        if changes && self.access != Access::Open {
            codes.push(Code::Throttled);
        }
        if self.names_one || self.names_tenant() {
            codes.push(Code::NotFound);
        }
        if self.query.is_some() || self.body.is_some() {
            codes.push(Code::BadRequest);
        }
        if self.body.is_some() {
            codes.extend([Code::Timeout, Code::PayloadTooLarge, Code::UnsupportedMediaType]);
        }
        let mut refusals = self.refusals.clone();
        refusals.extend(codes.iter().map(|code| (code.status(), *code)));
        if self.forbids_only {
            // A tenant that is not there is another one.
            refusals.retain(|(_, code)| *code != Code::NotFound);
            for (status, _) in refusals.iter_mut().filter(|(_, code)| *code == Code::BadRequest) {
                *status = 403;
            }
        }
        refusals.sort_unstable_by_key(|(status, code)| (*status, code.as_str()));
        refusals.dedup();
        refusals
    }

    /// Whether the query names a tenant, which may not be there.
    fn names_tenant(&self) -> bool {
        let whole = self.query.map(|query| query(&mut SchemaGenerator::default()));
        whole.is_some_and(|schema| schema.pointer("/properties/tenant").is_some())
    }

    pub(crate) fn document(&self, shapes: &mut Shapes, examples: &Examples) -> Value {
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
        for DocumentedAnswer { status, meaning, media_type, shape } in &self.answers {
            let shape = shape.map(|shape| shape(&mut shapes.answers).to_value());
            let said = shape.as_ref().filter(|_| meaning.is_empty()).map(|shape| shapes.meaning(shape));
            let mut response = json!({ "description": said.as_deref().unwrap_or(meaning) });
            if !media_type.is_empty() {
                let text = json!({ "type": "string" });
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
        let refusals = self.all_refusals();
        for status in refusals.iter().map(|(status, _)| *status) {
            let codes: Vec<&str> =
                refusals.iter().filter(|(s, _)| *s == status).map(|(_, code)| code.as_str()).collect();
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
            document["requestBody"] = json!({ "required": required, "content": { JSON: content } });
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
