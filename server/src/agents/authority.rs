//! The server's own certificate authority: made on first start, it signs the agents' client certificates and the
//! certificate of the agent port. Not a general CA: it signs nothing else, and what it signed is judged again at each
//! use (see `generations`), so there are no revocation lists.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetwright_protocol::HostId;
use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use super::csr::Csr;
use super::identity;

/// Longer than any installation is expected to live without being set up anew.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Of agents' certificates unless configured. Short, because a stolen certificate is good for no longer; agents renew
/// at two thirds of it.
pub const CLIENT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The agent port's certificate is made anew at every start and when less than a third is left.
pub const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// How old a new certificate of an agent says it is (a part of its life if that is less): it only sets when the agent
/// renews, at two thirds of its life.
const BACKDATED_MAX: Duration = Duration::from_secs(3600);
const BACKDATED_PART: u32 = 24;
/// The other certificates must be believed by an agent whose clock is a day behind, with as much to spare.
pub(super) const SERVER_BACKDATED: Duration = Duration::from_secs(2 * 24 * 3600);

const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.pem";

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot access {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{0} may be read by others; its mode must be 0600")]
    Exposed(PathBuf),
    #[error("{0} is missing, but the certificate for it is there; restore it from a backup")]
    KeyMissing(PathBuf),
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot use a key for TLS")]
    Tls(#[from] rustls::Error),
}

impl Authority {
    /// Reads the authority from `data_dir`, or makes it there. Blocking; for start-up.
    pub fn open(data_dir: &Path, now_us: i64) -> Result<Self, AuthorityError> {
        let key_path = data_dir.join(KEY_FILE);
        let certificate_path = data_dir.join(CERTIFICATE_FILE);
        match (key_path.exists(), certificate_path.exists()) {
            (true, true) => Self::read(&key_path, &certificate_path),
            (false, true) => Err(AuthorityError::KeyMissing(key_path)),
            // A key alone is from a first start that was interrupted: nothing was signed with it yet.
            (true, false) | (false, false) => Self::create(&key_path, &certificate_path, now_us),
        }
    }

    /// The certificate that agents trust, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The lower-case hex SHA-256 of the certificate's DER, as enrollment tokens carry it.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate))
    }

    /// Signs a client certificate for the request's key, good for `lifetime`; returns it as PEM.
    pub fn sign_client(
        &self,
        csr: &Csr,
        host: HostId,
        generation: i64,
        now_us: i64,
        lifetime: Duration,
    ) -> Result<String, AuthorityError> {
        let backdated = BACKDATED_MAX.min(lifetime / BACKDATED_PART);
        let mut parameters = parameters(&host.to_string(), now_us, (backdated, lifetime));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let name = identity::urn(host, generation);
        parameters.subject_alt_names = vec![SanType::URI(name.as_str().try_into()?)];
        let key = SubjectPublicKeyInfo::from_der(csr.public_key_der())?;
        Ok(parameters.signed_by(&key, &self.issuer)?.pem())
    }

    /// Makes a certificate with a fresh key for the agent port. `names` are DNS names or addresses; the loopback ones
    /// are always added.
    pub fn server_certificate(
        &self,
        names: &[String],
        now_us: i64,
    ) -> Result<CertifiedKey, AuthorityError> {
        let mut parameters = parameters(
            "fleetwright-server",
            now_us,
            (SERVER_BACKDATED, SERVER_LIFETIME),
        );
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let loopback = ["localhost", "127.0.0.1", "::1"];
        let all = loopback.into_iter().chain(names.iter().map(String::as_str));
        for name in all {
            let name = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into()?),
            };
            if !parameters.subject_alt_names.contains(&name) {
                parameters.subject_alt_names.push(name);
            }
        }
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        // The authority goes along, so that an agent that knows only its digest can check the chain.
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, signer))
    }

    fn create(
        key_path: &Path,
        certificate_path: &Path,
        now_us: i64,
    ) -> Result<Self, AuthorityError> {
        let mut suffix = [0_u8; 4];
        rand::rng().fill_bytes(&mut suffix);
        // A name of its own, so that two installations are not mistaken for each other.
        let name = format!("Fleetwright CA {}", hex::encode(suffix));
        let mut parameters = parameters(&name, now_us, (SERVER_BACKDATED, AUTHORITY_LIFETIME));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        write_new(key_path, &key.serialize_pem(), 0o600)?;
        write_new(certificate_path, &certificate.pem(), 0o644)?;
        tracing::info!(path = %certificate_path.display(), "made a certificate authority for agents");
        Ok(Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        })
    }

    fn read(key_path: &Path, certificate_path: &Path) -> Result<Self, AuthorityError> {
        let mode = fs::metadata(key_path)
            .map_err(|source| at(key_path, source))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(AuthorityError::Exposed(key_path.to_owned()));
        }
        let key_pem = fs::read_to_string(key_path).map_err(|source| at(key_path, source))?;
        let certificate_pem =
            fs::read_to_string(certificate_path).map_err(|source| at(certificate_path, source))?;
        let damaged = |path: &Path| AuthorityError::Damaged(path.to_owned());
        let key = KeyPair::from_pem(&key_pem).map_err(|_| damaged(key_path))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| damaged(certificate_path))?;
        let issued_for =
            identity::public_key_of(&certificate).ok_or_else(|| damaged(certificate_path))?;
        if !issued_for.ends_with(key.public_key_raw()) {
            return Err(damaged(key_path));
        }
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)
                .map_err(|_| damaged(certificate_path))?,
            certificate,
            certificate_pem,
        })
    }
}

/// For a certificate that begins `backdated` before now and ends `lifetime` after it.
fn parameters(
    name: &str,
    now_us: i64,
    (backdated, lifetime): (Duration, Duration),
) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    let since_epoch = Duration::from_micros(u64::try_from(now_us).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + since_epoch.saturating_sub(backdated);
    parameters.not_after = epoch + since_epoch + lifetime;
    let mut serial = [0_u8; 16];
    rand::rng().fill_bytes(&mut serial);
    // Positive, and of the same length always.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// Writes a file that appears whole or not at all.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| at(path, source))
}

fn at(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::agents::identity::AgentCertificate;
    use uuid::Uuid;

    /// A day in 2026.
    pub const NOW: i64 = 1_770_000_000_000_000;

    pub fn csr() -> (KeyPair, Csr) {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        (key, Csr::parse(&request.pem().unwrap()).unwrap())
    }

    #[test]
    fn the_authority_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), NOW).unwrap();
        let again = Authority::open(folder.path(), NOW).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);
        let mode = fs::metadata(folder.path().join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // What was signed before the restart still comes from the same issuer.
        let host = HostId(Uuid::from_u128(1));
        let (_, csr) = csr();
        for authority in [&first, &again] {
            let pem = authority
                .sign_client(&csr, host, 1, NOW, CLIENT_LIFETIME)
                .unwrap();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
            let (_, issuer) = x509_parser::parse_x509_certificate(first.certificate()).unwrap();
            certificate
                .verify_signature(Some(issuer.public_key()))
                .unwrap();
        }
    }

    #[test]
    fn an_exposed_missing_or_foreign_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(KEY_FILE);
        Authority::open(folder.path(), NOW).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Authority::open(folder.path(), NOW),
            Err(AuthorityError::Exposed(_))
        ));
        fs::remove_file(&key).unwrap();
        assert!(matches!(
            Authority::open(folder.path(), NOW),
            Err(AuthorityError::KeyMissing(_))
        ));
        let foreign = KeyPair::generate().unwrap().serialize_pem();
        write_new(&key, &foreign, 0o600).unwrap();
        assert!(matches!(
            Authority::open(folder.path(), NOW),
            Err(AuthorityError::Damaged(_))
        ));
    }

    #[test]
    fn a_client_certificate_says_which_host_and_generation_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let host = HostId(Uuid::from_u128(42));
        let (_, csr) = csr();
        let pem = authority
            .sign_client(&csr, host, 7, NOW, CLIENT_LIFETIME)
            .unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let read = AgentCertificate::parse(&der).unwrap();
        assert_eq!(read.host_id, host);
        assert_eq!(read.presented.issued.generation, 7);
        assert_eq!(read.presented.issued.key, csr.key_digest());
        assert_eq!(read.presented.not_after_us, NOW + 24 * 3600 * 1_000_000);
    }

    #[test]
    fn the_agent_ports_certificate_has_the_configured_names() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), NOW).unwrap();
        let names = [
            "fleet.example".to_owned(),
            "192.0.2.7".to_owned(),
            "localhost".to_owned(),
        ];
        let certified = authority.server_certificate(&names, NOW).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&certified.cert[0]).unwrap();
        let extension = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(extension.value.general_names.len(), 5);
    }
}
