//! What a certificate says of itself: for whom, and how long. Reads just that much of X.509
//! (RFC 5280, section 4.1); whether it may be trusted, TLS decides.

use std::net::IpAddr;

use doorward_model::Timestamp;

/// What is read of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// DNS names and addresses of the extension `subjectAltName`.
    pub(super) names: Vec<String>,
}

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

impl Certificate {
    /// Reads a certificate in DER; `None` when it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Values(Values(der).expect(SEQUENCE)?);
        let mut body = Values(outer.expect(SEQUENCE)?).peekable();
        body.next_if(|(tag, _)| *tag == VERSION);
        body.next_if(|(tag, _)| *tag == INTEGER)?;
        let _signature = body.next_if(|(tag, _)| *tag == SEQUENCE)?;
        let _issuer = body.next_if(|(tag, _)| *tag == SEQUENCE)?;
        let (_, validity) = body.next_if(|(tag, _)| *tag == SEQUENCE)?;
        let mut times = Values(validity).map(|(tag, text)| time(tag, text));
        let (not_before, not_after) = (times.next()??, times.next()??);
        let extensions = body.find(|(tag, _)| *tag == EXTENSIONS);
        let names = extensions.and_then(|(_, extensions)| names(extensions)).unwrap_or_default();
        Some(Self { not_before, not_after, names })
    }

    /// Whether it speaks of this name or address.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|known| {
            known.eq_ignore_ascii_case(name)
                || known.strip_prefix("*.").is_some_and(|parent| {
                    name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
                })
        })
    }
}

fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let (_, list) = Values(extensions).next()?;
    let mut wanted = Values(list).filter(|(_, extension)| {
        Values(extension).next().is_some_and(|(tag, id)| tag == OBJECT_ID && id == ALTERNATIVE_NAMES)
    });
    let (_, extension) = wanted.next()?;
    // Behind the id and, perhaps, whether it is critical.
    let (_, value) = Values(extension).last()?;
    let (_, list) = Values(value).next()?;
    let shown = Values(list).filter_map(|(tag, name)| match (tag, name.len()) {
        (DNS_NAME, _) => std::str::from_utf8(name).ok().map(str::to_owned),
        (IP_ADDRESS, 4) => <[u8; 4]>::try_from(name).ok().map(|it| IpAddr::from(it).to_string()),
        (IP_ADDRESS, 16) => <[u8; 16]>::try_from(name).ok().map(|it| IpAddr::from(it).to_string()),
        _ => None,
    });
    Some(shown.collect())
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        UTC_TIME if text.len() == 12 && text < "5" => format!("20{text}"),
        UTC_TIME if text.len() == 12 => format!("19{text}"),
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let part = |at: std::ops::Range<usize>| full.get(at);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    Timestamp::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

/// The values in a piece of DER, one after another: tag and contents.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        let cases: [(u8, &str, Option<&str>); 6] = [
            (UTC_TIME, "261121100000Z", Some("2026-11-21T10:00:00Z")),
            (UTC_TIME, "991231235959Z", Some("1999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "261121100000+0100", None),
            (SEQUENCE, "261121100000Z", None),
        ];
        for (tag, text, expected) in cases {
            let expected = expected.map(|text| Timestamp::parse(text).expect("a time"));
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_covered_by_itself_or_by_a_star_for_its_first_label() {
        let certificate = Certificate {
            not_before: Timestamp::default(),
            not_after: Timestamp::default(),
            names: vec!["mcp.corp.example".into(), "*.lab.example".into(), "10.0.0.7".into()],
        };
        let cases = [
            ("mcp.corp.example", true),
            ("MCP.corp.example", true),
            ("corp.example", false),
            ("a.lab.example", true),
            ("a.b.lab.example", false),
            ("lab.example", false),
            ("10.0.0.7", true),
            ("10.0.0.8", false),
        ];
        for (name, expected) in cases {
            assert_eq!(certificate.covers(name), expected, "{name}");
        }
    }

    #[test]
    fn nothing_but_a_certificate_is_read_as_one() {
        for der in
            [&b""[..], b"\x30", b"\x30\x82\xff\xff", b"\x30\x84\xff\xff\xff\xff\x00", b"\x30\x02\x30\x00"]
        {
            assert_eq!(Certificate::read(der), None, "{der:?}");
        }
    }
}
