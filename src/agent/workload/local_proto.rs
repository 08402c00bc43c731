//! Messages, server and client of `local.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, reason = "generated code")]

include!("generated/local.rs");

#[cfg(test)]
mod tests {
    use crate::grpc::generated_code::GeneratedCode;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let code = GeneratedCode {
            dir: "agent/workload",
            sources: "agent/workload",
            protos: &["local.proto"],
            client: true,
            files: &[("muster.agent.local.v1.rs", "local.rs")],
        };
        code.assert_current();
    }
}
