//! Messages and server of `proto/`: generated, checked in, and compared by a test. The modules are nested as their packages
//! are, because generated code finds its neighbours that way.

#![allow(clippy::all, missing_debug_implementations, unreachable_pub, reason = "generated code")]

pub(crate) mod envoy {
    pub(crate) mod config {
        pub(crate) mod core {
            pub(crate) mod v3 {
                include!("generated/envoy.config.core.v3.rs");
            }
        }
    }
    pub(crate) mod extensions {
        pub(crate) mod transport_sockets {
            pub(crate) mod tls {
                pub(crate) mod v3 {
                    include!("generated/envoy.extensions.transport_sockets.tls.v3.rs");
                }
            }
        }
    }
    pub(crate) mod service {
        pub(crate) mod discovery {
            pub(crate) mod v3 {
                include!("generated/envoy.service.discovery.v3.rs");
            }
        }
        pub(crate) mod secret {
            pub(crate) mod v3 {
                include!("generated/envoy.service.secret.v3.rs");
            }
        }
    }
}

pub(crate) mod google {
    pub(crate) mod rpc {
        include!("generated/google.rpc.rs");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/workload/sds");
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(
            ["envoy/service/secret/v3/sds.proto", "envoy/extensions/transport_sockets/tls/v3/secret.proto"],
            [here.join("proto")],
        )
        .unwrap();
        tonic_prost_build::configure()
            .build_client(false)
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        let files = std::fs::read_dir(fresh.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let files: Vec<_> =
            files.filter(|name| !name.to_string_lossy().starts_with("google.protobuf")).collect();
        assert_eq!(files.len(), 5, "{files:?}");
        for name in files {
            let kept = here.join("generated").join(&name);
            let fresh = std::fs::read(fresh.path().join(&name)).unwrap();
            if std::env::var_os("MUSTER_REGENERATE").is_some() {
                std::fs::write(&kept, &fresh).unwrap();
            }
            assert!(
                std::fs::read(kept).is_ok_and(|kept| kept == fresh),
                "{} is out of date: `make regenerate`",
                name.to_string_lossy()
            );
        }
    }
}
