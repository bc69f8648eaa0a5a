//! Certificates for servers of the tests.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Writes an authority, and a certificate of it for one host with its key.
pub(crate) fn certify(host: &str, [ca, cert, key]: &[impl AsRef<Path>; 3]) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    std::fs::write(ca, params.self_signed(&ca_key).expect("signed").pem()).expect("written");
    let issuer = Issuer::new(params, ca_key);
    let host_key = KeyPair::generate().expect("a key");
    let host = CertificateParams::new([host.to_owned()]).expect("a name");
    std::fs::write(cert, host.signed_by(&host_key, &issuer).expect("signed").pem())
        .expect("written");
    std::fs::write(key, host_key.serialize_pem()).expect("written");
}
