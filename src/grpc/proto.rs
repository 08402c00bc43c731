//! Messages, server and client of `agent.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, reason = "generated code")]

include!("generated/muster.agent.v1.rs");

/// The compiled `agent.proto`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/agent.fds");

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let grpc = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/grpc");
        let kept = grpc.join("generated");
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(["agent.proto"], [&grpc]).unwrap();
        std::fs::write(fresh.path().join("agent.fds"), descriptors.encode_to_vec()).unwrap();
        tonic_prost_build::configure()
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        for name in ["muster.agent.v1.rs", "agent.fds"] {
            let fresh = std::fs::read(fresh.path().join(name)).unwrap();
            if std::env::var_os("MUSTER_REGENERATE").is_some() {
                std::fs::write(kept.join(name), &fresh).unwrap();
            }
            assert!(
                std::fs::read(kept.join(name)).is_ok_and(|kept| kept == fresh),
                "{name} is out of date: `make regenerate`"
            );
        }
    }
}
