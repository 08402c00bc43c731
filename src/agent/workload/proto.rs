//! Messages, server and client of `workload.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, reason = "generated code")]

include!("generated/workload.rs");

#[cfg(test)]
mod tests {
    use crate::grpc::generated_code::GeneratedCode;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let code = GeneratedCode {
            dir: "agent/workload",
            sources: "agent/workload",
            protos: &["workload.proto"],
            client: true,
            // A file without a package has no better name.
            files: &[("_.rs", "workload.rs")],
        };
        code.assert_current();
    }
}
