//! `[handler.http]` against a real server that speaks TLS, with a certificate of its own authority.

use crate::{bench::Bench, server::Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// An authority that nobody trusts unless told to.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name, and its key, in PEM.
    pub(crate) fn certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A server that says 200 to everything, with a certificate for this name.
    fn server(&self, name: &str) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Server::start_tls(tls, |_, _| (200, "", String::new()))
    }
}

/// Handled by a POST to the server, with more under `[handler.http]`.
fn bench(server: &Server, more: &str) -> Bench {
    Bench::with_handler(&format!(
        "[handler.http]\nurl = 'https://{}/orders'\n{more}",
        server.address
    ))
}

#[test]
fn a_server_is_trusted_whose_authority_the_config_names() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1");
    let bench = bench(&server, "ca_file = 'ca.pem'");
    bench.write("ca.pem", &authority.pem());
    bench.send(&["1", "2"]);
    bench.work_off();
    assert_eq!(bench.dead().len(), 0);
    let mut bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    bodies.sort();
    assert_eq!(bodies, ["1", "2"]);
}

#[test]
fn a_server_that_is_not_trusted_gets_no_message_and_the_error_says_what_to_do() {
    let server = Authority::new().server("127.0.0.1");
    let bench = bench(&server, "");
    bench.send(&["1"]);
    bench.work_off();
    let death = bench.death_of("1");
    assert!(death.starts_with("attempts_exhausted: "), "{death}");
    assert!(death.contains("invalid peer certificate: UnknownIssuer"), "{death}");
    assert!(
        death.contains("name the authority that signed its certificate in `handler.http.ca_file`"),
        "{death}"
    );
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_certificate_for_another_name_is_refused_whoever_signed_it() {
    let authority = Authority::new();
    let server = authority.server("elsewhere.example");
    let bench = bench(&server, "ca_file = 'ca.pem'");
    bench.write("ca.pem", &authority.pem());
    bench.send(&["1"]);
    bench.work_off();
    let death = bench.death_of("1");
    assert!(death.contains("certificate not valid for name \"127.0.0.1\""), "{death}");
    assert!(!death.contains("ca_file"), "{death}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_ca_file_that_cannot_be_used_is_explained_at_the_start() {
    let server = Authority::new().server("127.0.0.1");
    let bench = bench(&server, "ca_file = 'ca.pem'");
    let error = || bench.forebay(&["check", "w.toml"]).err(2);
    let missing = error();
    assert!(missing.contains("w.toml:12: handler.http.ca_file: "), "{missing}");
    assert!(missing.contains("ca.pem cannot be read"), "{missing}");
    for text in
        ["", "not a certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
    {
        bench.write("ca.pem", text);
        let unfit = error();
        assert!(unfit.contains("the certificates to trust in PEM format"), "{unfit}");
    }
    bench.write("w.toml", &bench.read("w.toml").replace("https://", "http://"));
    let pointless = error();
    assert!(pointless.contains("`url` is not https"), "{pointless}");
}
