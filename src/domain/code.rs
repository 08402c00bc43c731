//! The codes of refusals, their HTTP status and what to do about each: the one table.
//!
//! The server answers with a code, the agent and the command line say what helps. Both read it here, so that nobody
//! gets two advices for one refusal. A test of `http` holds the table against the codes that the API's document names.

use crate::domain::vocabulary::vocabulary;

/// Declares the codes once, each with its HTTP status and the advice that the command line and the agent give.
macro_rules! codes {
    ($(#[$of:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $status:literal $code:literal $(=> $advice:literal)?,)*
    }) => {
        vocabulary! {
            $(#[$of])*
            pub enum $name { $($(#[$doc])* $variant = $code,)* }
        }

        impl $name {
            /// The HTTP status that it comes with, where the refusal does not choose another.
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }

            /// What helps, where the refusal's own words don't say it: one clause, without a full stop.
            pub const fn advice(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => codes!(@advice $($advice)?),)*
                }
            }
        }
    };
    (@advice) => { None };
    (@advice $advice:literal) => { Some($advice) };
}

codes! {
    /// What a refusal is called on the wire. Programs key on it; it never changes.
    pub enum Code {
        BadRequest = 400 "bad_request" => "check that both sides are of matching versions",
        NotFound = 404 "not_found",
        MethodNotAllowed = 405 "method_not_allowed" => "check that both sides are of matching versions",
        Timeout = 408 "timeout" => "try again; if it stays slow, look at the load of the server",
        PayloadTooLarge = 413 "payload_too_large",
        UnsupportedMediaType = 415 "unsupported_media_type",
        Unauthenticated = 401 "unauthenticated"
            => "the API token is unknown, expired or revoked; 'muster api-token create' on the server makes another",
        PermissionDenied = 403 "permission_denied" => "'muster api-token list' on the server shows what the API token may do",
        Throttled = 429 "throttled" => "wait a few minutes, then try again",
        TooManyStreams = 429 "too_many_streams" => "close another one, such as a tab of the web UI",
        /// All places for what costs much are taken; it says nothing of whoever asks.
        Busy = 503 "busy" => "try again in a moment",
        /// It is done, and a replica that was to have it first does not have it yet.
        ReplicaBehind = 504 "replica_behind"
            => "what was asked for is done and in force; 'muster replica status' on the server shows what keeps the replica",
        Unavailable = 503 "unavailable" => "the server's log says why",
        Internal = 500 "internal" => "the server's log says why",
        CaUnavailable = 503 "ca_unavailable" => "the log of the server says why; 'muster agent-ca show' there shows whether there is a CA and until when",

        /// A token or secret that admits nobody; which of the reasons it is, only the audit trail knows.
        Unauthorized = 401 "unauthorized" => "the token or secret is wrong, revoked, expired or used up; ask for a new one",
        TokenUsed = 401 "token_used" => "a join token admits one machine; ask for a new one",
        TokenExpired = 401 "token_expired" => "ask for a new one",
        TokenVoided = 401 "token_voided" => "ask for a new one",
        SecretExhausted = 403 "secret_exhausted" => "ask for another one",
        HostDecommissioned = 403 "host_decommissioned"
            => "this machine was decommissioned; have its host re-enabled, or enroll it with a join token",
        BadCsr = 400 "bad_csr" => "check that server and agent are of matching versions",

        IdentityRevoked = 403 "identity_revoked"
            => "if that was a mistake, have the host re-enabled; then it enrolls again with a join token that names its agent id",
        SvidExpired = 401 "svid_expired"
            => "it comes back with a join token that names its agent id, enrolled into a new directory",
        UnknownSerial = 401 "unknown_serial"
            => "the server's data may have been replaced; the identity comes back with a join token that names its agent id, enrolled into a new directory",
        BadChain = 401 "bad_chain"
            => "another agent CA has issued this certificate; the identity comes back with a join token that names its agent id, enrolled into a new directory",
        OtherTenant = 403 "other_tenant" => "ask with an API token of that tenant, or name the tenant",
        MissingTag = 403 "missing_tag",
        BadProof = 401 "bad_proof"
            => "key and certificate do not belong together; the identity comes back with a join token that names its agent id, enrolled into a new directory",

        TooMany = 422 "too_many" => "void those that nobody needs, or wait until they expire",
        InvalidName = 422 "invalid_name",
        InvalidTtl = 422 "invalid_ttl",
        InvalidMaxUses = 422 "invalid_max_uses",
        InvalidAgentId = 422 "invalid_agent_id",
        InvalidUsername = 422 "invalid_username",
        InvalidPassword = 422 "invalid_password",
        WrongPassword = 422 "wrong_password",
        InvalidPermissions = 422 "invalid_permissions",
        InvalidUrl = 422 "invalid_url",
        InvalidEvents = 422 "invalid_events",
        InvalidCa = 422 "invalid_ca",
        UsernameTaken = 409 "username_taken" => "'muster user list' lists people",
        InvalidTag = 422 "invalid_tag",
        InvalidNetwork = 422 "invalid_network",
        InvalidNote = 422 "invalid_note",
        /// A change of all that match was asked for, and others match now.
        SetChanged = 409 "set_changed" => "look at the list again",
        TenantTaken = 409 "tenant_taken" => "'muster tenant list' lists tenants",
        LastAdmin = 409 "last_admin" => "make another administrator first: muster user add NAME --role admin",
        NotCreated = 422 "not_created",
        NotRenewed = 422 "not_renewed",
        NotSealed = 422 "not_sealed",
        NotDeclared = 422 "not_declared",
        BackupFailed = 503 "backup_failed",
        NoEnvelope = 422 "no_envelope"
            => "set MUSTER_ENVELOPE_KEY_FILE; where the service gets the key as an encrypted credential, run the command with it: systemd-run --pipe --wait -p LoadCredentialEncrypted=envelope.key:/etc/credstore.encrypted/muster-envelope.key muster …",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::vocabulary::UnknownWord;

    #[test]
    fn a_code_has_one_name_and_an_advice_is_a_clause() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for &code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            let advice = code.advice().unwrap_or("fine");
            assert!(!advice.ends_with('.') && !advice.contains('\n') && !advice.is_empty(), "{advice}");
        }
        assert_eq!("something_newer".parse::<Code>(), Err(UnknownWord));
    }
}
