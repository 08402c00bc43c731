//! Programs that nobody here wrote judge agents by what relying parties fetch.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::cli::{Output, openssl, program};
use super::identity::Identity;
use super::server::Server;
use super::wait::until_answered;

/// An agent's certificate with its intermediate, in files of its own.
#[derive(Debug)]
pub struct Agent {
    pub name: String,
    pub identity: Identity,
    /// Where its files are.
    pub room: PathBuf,
}

impl Agent {
    pub async fn enroll(server: &Server, name: &str) -> Self {
        Self::with(server, name, Identity::enroll(server, name).await)
    }

    /// The same of an identity that is there, under a name for its files.
    pub fn with(server: &Server, name: &str, identity: Identity) -> Self {
        let room = server.room();
        fs::write(room.join(format!("{name}.pem")), identity.field("certificate")).unwrap();
        fs::write(room.join(format!("{name}.intermediate.pem")), identity.field("intermediate")).unwrap();
        fs::write(room.join(format!("{name}.chain.pem")), identity.chain()).unwrap();
        Self { name: name.to_owned(), identity, room: room.to_owned() }
    }

    pub fn by_openssl(&self, room: &Path) -> Output {
        let lists =
            ["verify", "-crl_check_all", "-x509_strict", "-CAfile", "root.pem", "-CRLfile", "crl.pem"];
        let (leaf, intermediate) = (format!("{}.pem", self.name), format!("{}.intermediate.pem", self.name));
        openssl(room, &[&lists[..], &["-untrusted", &intermediate, &leaf]].concat())
    }

    /// The leaf alone is looked for on lists, as mosquitto and stunnel do.
    pub fn by_openssl_of_the_leaf(&self, room: &Path) -> Output {
        let lists = ["verify", "-crl_check", "-x509_strict", "-CAfile", "root.pem", "-CRLfile", "crl.pem"];
        let (leaf, intermediate) = (format!("{}.pem", self.name), format!("{}.intermediate.pem", self.name));
        openssl(room, &[&lists[..], &["-untrusted", &intermediate, &leaf]].concat())
    }

    pub fn by_gnutls(&self, room: &Path) -> Output {
        let chain = format!("{}.chain.pem", self.name);
        program(
            "certtool",
            room,
            &["--verify", "--load-ca-certificate", "root.pem", "--load-crl", "crl.pem", "--infile", &chain],
        )
    }

    /// By NSS, which takes in what is fetched first.
    pub fn by_nss(&self, room: &Path) -> Output {
        Nss::with_what_is_fetched(room).judge(self)
    }
}

/// NSS, which looks for roots and lists in a database of its own.
#[derive(Debug)]
pub struct Nss {
    database: TempDir,
}

impl Nss {
    pub fn with_what_is_fetched(room: &Path) -> Self {
        let this = Self { database: tempfile::tempdir().unwrap() };
        let (name, scrap) = (this.name(), this.database.path().join("block.der"));
        let scrap = scrap.to_str().unwrap();
        program("certutil", room, &["-N", "-d", &name, "--empty-password"]).ok();
        program("certutil", room, &["-A", "-d", &name, "-n", "root", "-t", "CT,C,C", "-a", "-i", "root.pem"])
            .ok();
        // NSS takes no list of an issuer that it does not know.
        for (number, issuer) in
            pem_blocks(&fs::read(room.join("bundle.pem")).unwrap()).iter().enumerate().skip(1)
        {
            fs::write(scrap, issuer).unwrap();
            let called = format!("issuer {number}");
            program("certutil", room, &["-A", "-d", &name, "-n", &called, "-t", ",,", "-i", scrap]).ok();
        }
        for list in pem_blocks(&fs::read(room.join("crl.pem")).unwrap()) {
            fs::write(scrap, list).unwrap();
            // That of an intermediate which is revoked and no longer in the bundle is of no use to it.
            drop(program("crlutil", room, &["-I", "-d", &name, "-i", scrap]));
        }
        this
    }

    fn name(&self) -> String {
        format!("sql:{}", self.database.path().display())
    }

    pub fn judge(&self, agent: &Agent) -> Output {
        let leaf = format!("{}.pem", agent.name);
        program("vfychain", &agent.room, &["-d", &self.name(), "-u", "0", "-a", &leaf])
    }
}

pub fn pem_blocks(text: &[u8]) -> Vec<Vec<u8>> {
    Pem::iter_from_buffer(text).map(|block| block.unwrap().contents).collect()
}

/// What relying parties fetch.
pub async fn fetch(server: &Server) -> Vec<Vec<u8>> {
    let http = server.http();
    fs::write(server.room().join("bundle.pem"), http.get("/agent-ca.crt").await.body).unwrap();
    let (root, lists) = (http.get("/agent-ca-root.crt").await, http.get("/agent-ca.crl.pem").await);
    assert_eq!((root.status, lists.status), (200, 200), "{root} {lists}");
    fs::write(server.room().join("root.pem"), &root.body).unwrap();
    fs::write(server.room().join("crl.pem"), &lists.body).unwrap();
    pem_blocks(&lists.body)
}

/// What is fetched and what else is asked, of one publication: another one may come in between, a second after the last.
pub async fn fetch_with<T>(server: &Server, mut ask: impl AsyncFnMut(&[Vec<u8>]) -> T) -> (Vec<Vec<u8>>, T) {
    until_answered("no other lists came in between", async || {
        let before = fetch(server).await;
        let asked = ask(&before).await;
        (fetch(server).await == before).then_some((before, asked))
    })
    .await
}

pub fn entries(list: &[u8]) -> usize {
    CertificateRevocationList::from_der(list).unwrap().1.iter_revoked_certificates().count()
}

pub fn issuer(list: &[u8]) -> String {
    CertificateRevocationList::from_der(list).unwrap().1.issuer().to_string()
}

/// Every judge lets in exactly whom it should.
pub async fn judged(server: &Server, good: &[&Agent], revoked: &[&Agent]) {
    let until_listed = until_answered("every revocation is on every list", async || {
        let lists = fetch(server).await;
        let (_root, intermediates) = lists.split_last().unwrap();
        intermediates.iter().all(|list| entries(list) == revoked.len()).then_some(())
    });
    until_listed.await;
    let room = server.room();
    let nss = Nss::with_what_is_fetched(room);
    for (agents, let_in) in [(good, true), (revoked, false)] {
        for agent in agents {
            for judged in [agent.by_openssl(room), agent.by_gnutls(room), nss.judge(agent)] {
                assert_eq!(judged.code == Some(0), let_in, "{}: {judged}", agent.name);
            }
        }
    }
}
