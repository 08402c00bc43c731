//! Messages and server of `ext_authz.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, unreachable_pub, reason = "generated code")]

include!("generated/envoy.service.auth.v3.rs");

#[cfg(test)]
mod tests {
    use crate::grpc::generated_code::GeneratedCode;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let code = GeneratedCode {
            dir: "agent/relying_party",
            sources: "agent/relying_party",
            protos: &["ext_authz.proto"],
            client: false,
            files: &[("envoy.service.auth.v3.rs", "envoy.service.auth.v3.rs")],
        };
        code.assert_current();
    }
}
