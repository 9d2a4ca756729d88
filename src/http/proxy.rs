//! Which proxy a request goes through, if any.
//!
//! Source: the convention of `HTTP_PROXY` and `NO_PROXY` as curl and Go have it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ureq::Proxy;

use super::{HttpError, Url};

/// The proxies that an environment names, and what goes past them.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    pub(super) plain: Option<Proxy>,
    pub(super) tls: Option<Proxy>,
    direct: Vec<Exception>,
}

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// Every host.
    All,
    /// A host, and with `beneath` every name that ends with it after a dot.
    Name {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
    /// Addresses that begin with these bits.
    Network { address: IpAddr, bits: u8 },
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either letter case.
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Result<Self, HttpError> {
        let value = |name: &str| {
            let found = environment
                .get(&name.to_ascii_lowercase())
                .or_else(|| environment.get(name));
            found.map(String::as_str).filter(|text| !text.is_empty())
        };
        let named = |name: &str| value(name).or_else(|| value("ALL_PROXY")).map(proxy);
        let exceptions = value("NO_PROXY").unwrap_or_default();
        Ok(Self {
            plain: named("HTTP_PROXY").transpose()?,
            tls: named("HTTPS_PROXY").transpose()?,
            direct: exceptions.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// The host of the proxy for a request, for messages.
    pub(super) fn host(&self, url: &Url) -> String {
        let proxy = if url.is_tls() { &self.tls } else { &self.plain };
        proxy
            .as_ref()
            .map_or_else(String::new, |proxy| proxy.host().to_owned())
    }

    /// Whether a request goes past the proxy. This machine itself is never asked through one.
    pub(super) fn is_direct(&self, url: &Url) -> bool {
        let host = url.host().trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        host == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self
                .direct
                .iter()
                .any(|exception| exception.covers(host, address, url.port()))
    }
}

fn proxy(text: &str) -> Result<Proxy, HttpError> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    // The text may have a password in it.
    let shown = match text.rsplit_once('@') {
        Some((_, rest)) => rest.to_owned(),
        None => text.to_owned(),
    };
    // Host and port as in every URL; the library lets a malformed port pass.
    let rest = whole.split_once("://").map_or("", |(_, rest)| rest);
    match (Url::parse(&format!("http://{rest}")), Proxy::new(&whole)) {
        (Ok(_), Ok(proxy)) => Ok(proxy),
        _ => Err(HttpError::Proxy(shown)),
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits: u8 = bits.parse().ok().filter(|bits| *bits <= most)?;
            return Some(Self::Network { address, bits });
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Some(Self::Network { address, bits });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let name = name.trim_start_matches('*');
        let beneath = name.strip_prefix('.');
        Some(Self::Name {
            name: beneath.unwrap_or(name).to_owned(),
            itself: beneath.is_none(),
            port,
        })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Name {
                name,
                itself,
                port: own,
            } => {
                let beneath = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                own.is_none_or(|own| own == port) && (beneath || (*itself && host == name))
            }
            Self::Network {
                address: network,
                bits,
            } => address.is_some_and(|address| begins_with(address, *network, *bits)),
        }
    }
}

/// Whether the first `bits` of two addresses of the same kind are equal.
fn begins_with(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &[(&str, &str)]) -> Result<Proxies, HttpError> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Proxies::new(&pairs.collect())
    }

    #[test]
    fn exceptions_are_names_addresses_and_networks() {
        let list = "a.example, .b.example,*.c.example,10.0.0.0/8,192.168.1.1,d.example:5000,[fd00::]/8,fe80::/10";
        let proxies = proxies(&[("NO_PROXY", list)]).unwrap();
        let is_direct = |url: &str| proxies.is_direct(&Url::parse(url).unwrap());
        for url in [
            "http://a.example/",
            "http://x.a.example/",
            "http://x.b.example/",
            "http://x.c.example/",
            "http://10.1.2.3/",
            "http://192.168.1.1:5000/",
            "http://d.example:5000/",
            "http://[fe80::1]/",
            "http://localhost:1/",
            "http://127.0.0.9/",
            "https://[::1]:5000/",
        ] {
            assert!(is_direct(url), "{url}");
        }
        for url in [
            "http://b.example/",
            "http://xa.example/",
            "http://11.1.2.3/",
            "http://192.168.1.2/",
            "http://d.example/",
            "http://[fec0::1]/",
        ] {
            assert!(!is_direct(url), "{url}");
        }
    }

    #[test]
    fn a_malformed_proxy_is_named_without_its_password() {
        let err = proxies(&[("HTTP_PROXY", "ftp://user:secret@host:x")]).unwrap_err();
        let text = err.to_string();
        assert!(
            text.contains("host:x") && !text.contains("secret"),
            "{text}"
        );
        let lower = proxies(&[("https_proxy", "proxy.example:3128")]).unwrap();
        assert!(lower.tls.is_some() && lower.plain.is_none());
    }
}
