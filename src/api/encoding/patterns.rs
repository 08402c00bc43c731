//! Patterns of texts in requests (JSON Schema).

/// Names and labels: 1 to 128 characters without control characters, and not blank.
pub(crate) const NAME: &str = r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,128}$";

/// Agent ids; never `.` or `..`.
pub(crate) const AGENT_ID: &str = r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$";

pub(crate) const BASE64_TEXT: &str =
    r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// Sign-in names.
pub(crate) const USERNAME: &str = r"^[A-Za-z0-9._@-]{1,64}$";
