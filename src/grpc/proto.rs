//! Messages, server and client of `agent.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, reason = "generated code")]

include!("generated/muster.agent.v1.rs");

/// The compiled `agent.proto`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/agent.fds");

#[cfg(test)]
mod tests {
    use crate::grpc::generated_code::GeneratedCode;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let code = GeneratedCode {
            dir: "grpc",
            sources: "grpc",
            protos: &["agent.proto"],
            client: true,
            files: &[("muster.agent.v1.rs", "muster.agent.v1.rs"), ("agent.fds", "agent.fds")],
        };
        code.assert_current();
    }
}
