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
    use crate::grpc::generated_code::GeneratedCode;

    /// `make regenerate` writes the files instead of comparing them.
    #[test]
    fn generated_code_is_current() {
        let code = GeneratedCode {
            dir: "agent/workload/sds",
            sources: "agent/workload/sds/proto",
            protos: &[
                "envoy/service/secret/v3/sds.proto",
                "envoy/extensions/transport_sockets/tls/v3/secret.proto",
            ],
            client: false,
            files: &[
                ("envoy.config.core.v3.rs", "envoy.config.core.v3.rs"),
                (
                    "envoy.extensions.transport_sockets.tls.v3.rs",
                    "envoy.extensions.transport_sockets.tls.v3.rs",
                ),
                ("envoy.service.discovery.v3.rs", "envoy.service.discovery.v3.rs"),
                ("envoy.service.secret.v3.rs", "envoy.service.secret.v3.rs"),
                ("google.rpc.rs", "google.rpc.rs"),
            ],
        };
        code.assert_current();
    }
}
