//! Where a request comes from when a proxy hands it on. What a header says of it can be written by anybody, so it is read
//! only as far as trusted proxies have written it: from the right, up to the first address that is none of theirs. Pure.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::config::{ForwardedHeader, Network};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies behind each other that are looked through; more than anybody has.
const HOPS_MAX: usize = 16;

/// The address a request comes from, where `peer` is the other end of its connection.
///
/// A proxy writes one of the two headers and lets the other pass as it came: that one is the client's own work, and is not
/// looked at.
pub fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    written: ForwardedHeader,
    trusted: &[Network],
) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let told = match written {
        ForwardedHeader::XForwardedFor => {
            let items = items(headers, &X_FORWARDED_FOR, address_of);
            through(peer, items, is_trusted)
        }
        ForwardedHeader::Forwarded => {
            let items = items(headers, &header::FORWARDED, forwarded_for);
            through(peer, items, is_trusted)
        }
    };
    told.unwrap_or(peer)
}

/// Goes from the right through trusted addresses; what cannot be read ends it, and the last hop counts. `None` without any
/// item.
fn through(
    peer: IpAddr,
    items: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut last = None;
    for item in items.take(HOPS_MAX) {
        let Some(address) = item else {
            return Some(last.unwrap_or(peer));
        };
        last = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    last
}

/// The items of a list header that may be there several times, from the right.
fn items<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
    read: impl Fn(&str) -> Option<IpAddr> + 'a,
) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    let texts = values.into_iter().rev();
    // What is no text is one item that cannot be read.
    let texts = texts.map(|value| value.to_str().unwrap_or("?"));
    texts
        .flat_map(|text| text.rsplit(','))
        .map(move |item| read(item.trim()))
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address_of(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The `for` of one element of RFC 7239: `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address_of(node.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn told(
        written: ForwardedHeader,
        peer: &str,
        lines: &[(&'static str, &'static str)],
    ) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().expect(text));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        client(peer.parse().expect(peer), &headers, written, &trusted).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        const OLD: &str = "x-forwarded-for";
        const NEW: &str = "forwarded";
        type Lines = &'static [(&'static str, &'static str)];
        let cases: [(&str, Lines, &str); _] = [
            ("192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // Not from a proxy: whoever says it has made it up.
            ("192.0.2.1", &[(OLD, "203.0.113.9")], "192.0.2.1"),
            ("192.0.2.1", &[(NEW, "for=203.0.113.9")], "192.0.2.1"),
            ("10.0.0.1", &[(OLD, "203.0.113.9")], "203.0.113.9"),
            ("::ffff:10.0.0.1", &[(OLD, "203.0.113.9")], "203.0.113.9"),
            // The client began the list; the proxy added the rightmost.
            ("10.0.0.1", &[(OLD, "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
            (
                "10.0.0.1",
                &[(OLD, "1.1.1.1"), (OLD, "203.0.113.9")],
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                &[(OLD, "203.0.113.9, 10.0.0.2, 10.0.0.3")],
                "203.0.113.9",
            ),
            ("10.0.0.1", &[(OLD, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(OLD, "203.0.113.9:4711")], "203.0.113.9"),
            ("10.0.0.1", &[(OLD, "[2001:db8::9]:4711")], "2001:db8::9"),
            ("10.0.0.1", &[(OLD, "2001:db8::9")], "2001:db8::9"),
            ("2001:db8:1::1", &[(OLD, "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", &[(OLD, "nonsense")], "10.0.0.1"),
            ("10.0.0.1", &[(OLD, "")], "10.0.0.1"),
            (
                "10.0.0.1",
                &[(OLD, "203.0.113.9, nonsense, 10.0.0.2")],
                "10.0.0.2",
            ),
            (
                "10.0.0.1",
                &[(NEW, "for=203.0.113.9;proto=https")],
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                &[(NEW, "for=1.1.1.1, proto=http;For=\"[2001:db8::9]:80\"")],
                "2001:db8::9",
            ),
            ("10.0.0.1", &[(NEW, "for=unknown")], "10.0.0.1"),
            ("10.0.0.1", &[(NEW, "proto=https")], "10.0.0.1"),
        ];
        for (peer, lines, expected) in cases {
            let is_newer = lines.iter().any(|(name, _)| *name == NEW);
            let written = match is_newer {
                true => ForwardedHeader::Forwarded,
                false => ForwardedHeader::XForwardedFor,
            };
            assert_eq!(told(written, peer, lines), expected, "{peer} {lines:?}");
        }
        // The one that the proxy does not write is the client's own.
        let both = &[(OLD, "203.0.113.9"), (NEW, "for=203.0.113.10")];
        let old = ForwardedHeader::XForwardedFor;
        assert_eq!(told(old, "10.0.0.1", both), "203.0.113.9");
        assert_eq!(told(old, "10.0.0.1", &[(NEW, "for=1.1.1.1")]), "10.0.0.1");
        let new = ForwardedHeader::Forwarded;
        assert_eq!(told(new, "10.0.0.1", both), "203.0.113.10");
        assert_eq!(told(new, "10.0.0.1", &[(OLD, "1.1.1.1")]), "10.0.0.1");
    }
}
