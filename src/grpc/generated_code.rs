//! Whether generated code is what its sources make: one check for every `generated/`, which `make regenerate` has write instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prost::Message;

/// Sources and what is made of them, by folders of `src/`.
pub(crate) struct GeneratedCode<'a> {
    /// Beside which `generated/` is.
    pub dir: &'a str,
    /// The folder of the sources.
    pub sources: &'a str,
    pub protos: &'a [&'a str],
    pub client: bool,
    /// Each file as the generator names it, and as it is checked in.
    pub files: &'a [(&'a str, &'a str)],
}

impl GeneratedCode<'_> {
    /// Demands that what is checked in is what the sources make, and all of it.
    pub(crate) fn assert_current(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(self.protos, [root.join(self.sources)]).unwrap();
        // For server reflection, where it is checked in.
        if self.files.iter().any(|(made, _)| *made == DESCRIPTORS) {
            fs::write(fresh.path().join(DESCRIPTORS), descriptors.encode_to_vec()).unwrap();
        }
        tonic_prost_build::configure()
            .build_client(self.client)
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        let names = fs::read_dir(fresh.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        // Those come with the library.
        let made: BTreeSet<_> = names.filter(|name| !name.starts_with("google.protobuf")).collect();
        assert_eq!(made, self.files.iter().map(|(made, _)| (*made).to_owned()).collect());
        for (made, kept) in self.files {
            let fresh = fs::read(fresh.path().join(made)).unwrap();
            let file = root.join(self.dir).join("generated").join(kept);
            if std::env::var_os("MUSTER_REGENERATE").is_some() {
                fs::write(&file, &fresh).unwrap();
            }
            let current = fs::read(file).is_ok_and(|kept| kept == fresh);
            assert!(current, "{kept} is out of date: `make regenerate`");
        }
    }
}

/// The compiled sources.
pub(crate) const DESCRIPTORS: &str = "agent.fds";
