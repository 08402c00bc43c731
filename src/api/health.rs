//! Whether the process lives and can do its work.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /healthz` and `GET /readyz`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HealthAnswer {
    pub(crate) status: Cow<'static, str>,
}
