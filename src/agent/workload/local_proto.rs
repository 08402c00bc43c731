//! Messages, server and client of `local.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, reason = "generated code")]

include!("generated/local.rs");

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `make regenerate` writes the file instead of comparing it.
    #[test]
    fn generated_code_is_current() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/workload");
        let kept = here.join("generated/local.rs");
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(["local.proto"], [&here]).unwrap();
        tonic_prost_build::configure()
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        let fresh = std::fs::read(fresh.path().join("muster.agent.local.v1.rs")).unwrap();
        if std::env::var_os("MUSTER_REGENERATE").is_some() {
            std::fs::write(&kept, &fresh).unwrap();
        }
        assert!(
            std::fs::read(kept).is_ok_and(|kept| kept == fresh),
            "local.rs is out of date: `make regenerate`"
        );
    }
}
