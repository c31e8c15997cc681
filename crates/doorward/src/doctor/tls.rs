//! The certificate that clients are shown: readable, fitting its key, for the right names, and for how long.

use std::os::unix::fs::PermissionsExt as _;

use doorward_model::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::Finding;
use super::certificate::Certificate;
use crate::config::listen::{Listen, Tls};
use crate::runtime;

const CHECK: &str = "tls";
const RENEW: &str = "renew it; a running gateway takes it up by itself";
const DAY_US: u64 = 86_400_000_000;

pub(super) fn check(files: &Tls, listen: &Listen, now: Timestamp) -> Vec<Finding> {
    if let Err(error) = runtime::tls::check(files) {
        return vec![Finding::fail(
            CHECK,
            format!("{error:#}"),
            "put a PEM chain into `tls.cert` and its key into `tls.key`",
        )];
    }
    let read = CertificateDer::pem_file_iter(&files.cert).ok().and_then(|mut chain| chain.next()?.ok());
    let Some(certificate) = read.and_then(|der| Certificate::read(&der)) else {
        let message = format!("how long {} is valid cannot be read", files.cert.display());
        return vec![Finding::warn(CHECK, message, "look at it with `openssl x509 -noout -text -in FILE`")];
    };
    let mut findings = vec![lifetime(&certificate, now)];
    findings.extend(names(&certificate, listen));
    let mode = std::fs::metadata(&files.key).map(|it| it.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        let message = format!("others on this machine may read the key {}", files.key.display());
        findings.push(Finding::warn(CHECK, message, format!("chmod 600 {}", files.key.display())));
    }
    findings
}

fn lifetime(certificate: &Certificate, now: Timestamp) -> Finding {
    let (from, until) = (certificate.not_before, certificate.not_after);
    if now < from {
        return Finding::fail(
            CHECK,
            format!("the certificate is not valid before {from}"),
            "look at the machine's clock",
        );
    }
    let Some(left) = until.as_micros().checked_sub(now.as_micros()) else {
        return Finding::fail(CHECK, format!("the certificate has expired on {until}"), RENEW);
    };
    let days = left / DAY_US;
    let names = if certificate.names.is_empty() { "nobody".to_owned() } else { certificate.names.join(", ") };
    let message = format!("the certificate is for {names} and fits its key; {days} days left");
    match days {
        0 => Finding::warn(CHECK, format!("{message}: it expires today or tomorrow, at {until}"), RENEW),
        1..7 => Finding::warn(CHECK, format!("{message}: less than a week"), RENEW),
        7..30 => Finding::warn(CHECK, format!("{message}: less than a month"), RENEW),
        _ => Finding::ok(CHECK, message),
    }
}

/// The names that clients reach the gateway by, as far as the configuration tells.
fn names(certificate: &Certificate, listen: &Listen) -> Option<Finding> {
    let bound = Some(&listen.host).filter(|host| !matches!(host.as_str(), "0.0.0.0" | "::" | "localhost"));
    let bound = bound.filter(|_| !listen.is_loopback());
    let missing: Vec<_> = bound
        .into_iter()
        .chain(&listen.allowed_hosts)
        .map(|host| {
            host.rsplit_once(':').map_or(host.as_str(), |(name, port)| {
                // A port behind a name, not the end of an IPv6 address.
                if port.parse::<u16>().is_ok() && !name.contains(':') { name } else { host }
            })
        })
        .filter(|name| !certificate.covers(name))
        .collect();
    (!missing.is_empty()).then(|| {
        Finding::warn(
            CHECK,
            format!("the certificate is not for {}", missing.join(", ")),
            "have it issued for the names of `host` and `allowedHosts`, or correct those",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_certificate_warns_a_month_a_week_and_a_day_before_its_end() {
        let now = Timestamp::parse("2026-11-21T10:00:00Z").expect("a time");
        let day = |days: u64| now.plus(std::time::Duration::from_secs(days * 86_400 + 60));
        let cases = [
            (day(90), Status::Ok, "90 days left"),
            (day(30), Status::Ok, "30 days left"),
            (day(29), Status::Warn, "less than a month"),
            (day(6), Status::Warn, "less than a week"),
            (day(0), Status::Warn, "today or tomorrow"),
            (Timestamp::from_micros(now.as_micros() - 1), Status::Fail, "has expired"),
        ];
        for (not_after, status, words) in cases {
            let certificate = Certificate { not_before: Timestamp::default(), not_after, names: vec![] };
            let found = lifetime(&certificate, now);
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.message.contains(words), "{found:?}");
        }
        let certificate = Certificate { not_before: day(1), not_after: day(90), names: vec![] };
        assert_eq!(lifetime(&certificate, now).status, Status::Fail);
    }
}
