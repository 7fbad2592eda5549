//! When a certificate ends and when to renew it. Pure: times are seconds since 1970.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An agent that was away longer than this after its certificate ended must enroll again.
const RENEWABLE_AFTER_END_SECONDS: u64 = 30 * 24 * 3_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: u64,
    pub until: u64,
}

/// What to do about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Not before this moment.
    NotBefore(u64),
    /// It is time, or past it.
    Due,
    /// Too late: only a new enrollment helps.
    EnrollAgain,
}

impl Validity {
    /// Of the first certificate in a PEM text.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            from: u64::try_from(validity.not_before.timestamp()).ok()?,
            until: u64::try_from(validity.not_after.timestamp()).ok()?,
        })
    }

    /// At two thirds of the lifetime, spread over the tenth before it. `chance` is uniform in [0, 1) and stays the same
    /// for one certificate.
    pub fn renewal(&self, now: u64, chance: f64) -> Renewal {
        let lifetime = self.until.saturating_sub(self.from);
        let spread = std::time::Duration::from_secs(lifetime / 10).mul_f64(chance.clamp(0.0, 1.0));
        let due = self
            .from
            .saturating_add(lifetime / 3 * 2)
            .saturating_sub(spread.as_secs());
        if now >= self.until.saturating_add(RENEWABLE_AFTER_END_SECONDS) {
            Renewal::EnrollAgain
        } else if now >= due {
            Renewal::Due
        } else {
            Renewal::NotBefore(due)
        }
    }

    pub fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_two_thirds_and_possible_for_thirty_days_after_the_end() {
        let day = Validity {
            from: 1_000_000,
            until: 1_086_400,
        };
        assert_eq!(day.renewal(1_057_599, 0.0), Renewal::NotBefore(1_057_600));
        assert_eq!(day.renewal(1_057_600, 0.0), Renewal::Due);
        assert_eq!(
            day.renewal(1_050_000, 1.0),
            Renewal::Due,
            "up to a tenth of the lifetime earlier"
        );
        assert_eq!(
            day.renewal(1_048_000, 1.0),
            Renewal::NotBefore(1_057_600 - 8_640)
        );
        let thirty_days = 30 * 24 * 3_600;
        assert_eq!(day.renewal(1_086_400 + thirty_days - 1, 0.5), Renewal::Due);
        assert_eq!(
            day.renewal(1_086_400 + thirty_days, 0.5),
            Renewal::EnrollAgain
        );
        assert!(day.is_over(1_086_400) && !day.is_over(1_086_399));
    }

    #[test]
    fn the_times_are_read_from_a_real_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let pem = params.self_signed(&key).unwrap().pem();
        let validity = Validity::of_pem(pem.as_bytes()).unwrap();
        assert_eq!(validity.until - validity.from, 86_400);
        assert_eq!(Validity::of_pem(b"nothing"), None);
    }
}
