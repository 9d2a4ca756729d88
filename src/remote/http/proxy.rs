//! Which proxy a request goes through, by the variables that everybody uses.

use ureq::Proxy;

use super::super::{Error, Remote};
use super::Url;

impl Remote<'_> {
    /// The proxy for `url`, if one is set and `no_proxy` does not except the host.
    pub(super) fn proxy(&self, url: &Url) -> Result<Option<Proxy>, Error> {
        let own = if url.is_secure() {
            "https_proxy"
        } else {
            "http_proxy"
        };
        let found = [own, "all_proxy"]
            .into_iter()
            .find_map(|name| Some((name, self.variable(name)?)));
        let Some((name, address)) = found else {
            return Ok(None);
        };
        if is_excepted(url.host(), self.variable("no_proxy").unwrap_or_default()) {
            return Ok(None);
        }
        let address = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        // The cause would show the password that may stand in it.
        Proxy::new(&address)
            .map(Some)
            .map_err(|_| Error::Proxy { name })
    }
}

/// Whether a host is reached without a proxy: this machine, and what the list
/// names, a domain with everything below it.
fn is_excepted(host: &str, list: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let entry = entry
            .split_once(':')
            .map_or(entry.as_str(), |(name, port)| {
                // A port is not looked at; an IPv6 address is kept whole.
                if port.contains(':') {
                    entry.as_str()
                } else {
                    name
                }
            });
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        match entry {
            "" => false,
            "*" => true,
            _ if entry.contains('/') => address.is_some_and(|address| is_in(address, entry)),
            _ => host == domain || host.ends_with(&format!(".{domain}")),
        }
    })
}

/// Whether an address is in a network such as `10.0.0.0/8`.
fn is_in(address: std::net::IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else {
        return false;
    };
    let (Ok(base), Ok(bits)) = (base.parse::<std::net::IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (own, base, width) = match (address, base) {
        (std::net::IpAddr::V4(own), std::net::IpAddr::V4(base)) => {
            (u128::from(own.to_bits()), u128::from(base.to_bits()), 32)
        }
        (std::net::IpAddr::V6(own), std::net::IpAddr::V6(base)) => {
            (own.to_bits(), base.to_bits(), 128)
        }
        _ => return false,
    };
    let shift = |number: u128| number.checked_shr(width - bits).unwrap_or(0);
    bits <= width && shift(own) == shift(base)
}

#[cfg(test)]
mod tests {
    use super::is_excepted;

    #[test]
    fn exceptions_are_names_domains_and_networks() {
        let check = |host: &str, list: &str, want: bool| {
            assert_eq!(is_excepted(host, list), want, "{host} in {list}");
        };
        check("localhost", "", true);
        check("127.0.0.9", "", true);
        check("example.com", "", false);
        check("example.com", "other, Example.com", true);
        check("a.example.com", ".example.com", true);
        check("a.example.com", "*.example.com:8080", true);
        check("badexample.com", "example.com", false);
        check("10.1.2.3", "10.0.0.0/8", true);
        check("11.1.2.3", "10.0.0.0/8", false);
        check("11.1.2.3", "0.0.0.0/0", true);
        check("fd00::1", "fd00::/16", true);
        check("x", "*", true);
    }
}
