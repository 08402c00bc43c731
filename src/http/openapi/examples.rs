//! What requests, answers and problems look like: the examples of the OpenAPI document, one for each operation and
//! each problem code. They are data, in `examples.json`; a test holds them against the schemas of the document.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

const TEXT: &str = include_str!("examples.json");

/// All examples.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Examples {
    /// By operation id.
    operations: BTreeMap<String, Example>,
    /// By code: the `detail`.
    problems: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Example {
    request: Option<Value>,
    answer: Option<Value>,
}

impl Examples {
    pub(crate) fn load() -> Self {
        serde_json::from_str(TEXT)
            .expect("the examples are checked in, and a test builds the document from them")
    }

    pub(crate) fn request(&self, operation: &str) -> Option<&Value> {
        self.operations.get(operation)?.request.as_ref()
    }

    pub(crate) fn answer(&self, operation: &str) -> Option<&Value> {
        self.operations.get(operation)?.answer.as_ref()
    }

    /// What a problem's `detail` says.
    pub(crate) fn detail(&self, code: &str) -> Option<&str> {
        self.problems.get(code).map(String::as_str)
    }
}
