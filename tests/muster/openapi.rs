//! The document that describes the API: complete, unambiguous, and true of what is served.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_answer() {
    let server = Server::quickstart();
    let answer = Client::nobody(&server).get("/openapi.json").await;
    let document = answer.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let case = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{case}"));
            assert!(ids.insert(id.to_owned()), "{id} twice: {case}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{case}");
            check_examples(&document, operation, &case);
            check_parameters(path, operation, &case);
            check_list(&document, operation, &case);
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{case}");
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{case} {status}");
                if status.starts_with(['4', '5']) {
                    check_problem(&document, status, response, &format!("{case} {status}"));
                }
            }
            let open = operation["security"] == serde_json::json!([]);
            assert!(open || responses.contains_key("401"), "{case}");
            assert!(responses.contains_key("503"), "{case}");
        }
    }
    assert_references(&document, &document);
}

/// Every list is read in pages.
fn check_list(document: &Value, operation: &Value, case: &str) {
    let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    let Some(reference) = schema["$ref"].as_str() else { return };
    let shape = document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
    // What became of a batch is no list: whoever asked knows how long it is.
    if shape["properties"]["items"].is_null() || operation["requestBody"].is_object() {
        return;
    }
    assert!(shape["properties"]["next_cursor"].is_object(), "{case} is a list without a next page");
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    for name in ["limit", "cursor"] {
        assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{case} takes no {name}");
    }
}

/// The web UI's types are made from a copy of the document, and a copy can grow old.
#[tokio::test(flavor = "multi_thread")]
async fn the_web_ui_was_made_for_the_document_that_is_served() {
    const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/src/api/openapi.json");
    let server = Server::quickstart();
    let served = Client::nobody(&server).get("/openapi.json").await.expect(200);
    let served = serde_json::to_string_pretty(&served).unwrap() + "\n";
    if std::env::var_os("MUSTER_REGENERATE").is_some() {
        std::fs::write(COPY, &served).unwrap();
    }
    let same = std::fs::read_to_string(COPY).unwrap() == served;
    assert!(same, "web/src/api/openapi.json is not what the server serves: `make regenerate`");
}

fn check_parameters(path: &str, operation: &Value, case: &str) {
    let none = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&none);
    let in_path: Vec<_> = parameters.iter().filter(|p| p["in"] == "path").map(|p| &p["name"]).collect();
    let named: Vec<_> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    assert_eq!(in_path, named, "{case}");
    for parameter in parameters {
        assert!(parameter["schema"].is_object(), "{case}: {parameter}");
    }
}

/// What goes in and what comes out as JSON or text has an example, and the example is true of its schema.
fn check_examples(document: &Value, operation: &Value, case: &str) {
    let request = operation.get("requestBody");
    let answers = operation["responses"].as_object().unwrap().iter();
    let answers = answers.filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| answer);
    let id = &operation["operationId"];
    for body in request.into_iter().chain(answers) {
        let Some(content) = body["content"].as_object() else { continue };
        for (media_type, content) in content {
            // What is no text can't be shown in JSON.
            if !["application/pkix-crl", "application/octet-stream"].contains(&media_type.as_str()) {
                let example = &content["example"];
                let wanted = format!("its request or answer below {id} in src/http/openapi/examples.json");
                assert!(!example.is_null(), "{case} {media_type} has no example: {wanted}");
                assert_valid(
                    document,
                    &content["schema"],
                    example,
                    &format!("{case} {media_type}, {wanted}"),
                );
            }
        }
    }
}

fn assert_valid(document: &Value, schema: &Value, value: &Value, case: &str) {
    let schema = serde_json::json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{case}: {error}"));
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{case}: {errors:?} in {value}");
}

/// A problem names its codes, allows no other, and shows what each looks like.
fn check_problem(document: &Value, status: &str, response: &Value, case: &str) {
    let codes = response["description"].as_str().and_then(|text| text.strip_prefix("code: "));
    let codes: Vec<_> = codes.unwrap_or_else(|| panic!("{case}")).split(", ").collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| !code.is_empty()), "{case}");
    let content = &response["content"]["application/problem+json"];
    let examples = content["examples"].as_object().unwrap_or_else(|| panic!("{case}"));
    assert_eq!(examples.keys().collect::<Vec<_>>(), codes, "{case}");
    for (code, example) in examples {
        let mut example = example["value"].clone();
        assert_eq!(
            (example["status"].to_string().as_str(), &example["code"]),
            (status, &Value::from(code.as_str()))
        );
        assert_valid(document, &content["schema"], &example, case);
        example["code"] = "something_else".into();
        let validator =
            serde_json::json!({ "allOf": [content["schema"]], "components": document["components"] });
        assert!(!jsonschema::draft202012::is_valid(&validator, &example), "{case}: any code will do");
    }
}

/// Every reference leads somewhere.
fn assert_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            fields.values().for_each(|value| assert_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| assert_references(document, value)),
        _ => {}
    }
}
