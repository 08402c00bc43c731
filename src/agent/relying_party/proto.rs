//! Messages and server of `ext_authz.proto`: generated, checked in, and compared by a test.

#![allow(clippy::all, missing_debug_implementations, unreachable_pub, reason = "generated code")]

include!("generated/envoy.service.auth.v3.rs");

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `make regenerate` writes the file instead of comparing it.
    #[test]
    fn generated_code_is_current() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/relying_party");
        let name = "envoy.service.auth.v3.rs";
        let kept = here.join("generated").join(name);
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(["ext_authz.proto"], [&here]).unwrap();
        tonic_prost_build::configure()
            .build_client(false)
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        let fresh = std::fs::read(fresh.path().join(name)).unwrap();
        if std::env::var_os("MUSTER_REGENERATE").is_some() {
            std::fs::write(&kept, &fresh).unwrap();
        }
        assert!(
            std::fs::read(kept).is_ok_and(|kept| kept == fresh),
            "{name} is out of date: `make regenerate`"
        );
    }
}
