//! The networks that a container is to be on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::network::{self, Network, Wish};
use crate::store::Store;

/// What is wanted of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// The network, by name or ID; by name once the container is made.
    pub network: String,
    /// Further names that lead to the container.
    pub aliases: Vec<String>,
    /// This very address.
    pub address: Option<Ipv4Addr>,
    /// This very IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// This hardware address.
    pub mac: Option<[u8; 6]>,
    /// Names that this container alone has for others, with theirs.
    pub links: BTreeMap<String, String>,
    /// `--driver-opt`, which is only told.
    pub options: BTreeMap<String, String>,
    /// The network with the highest one is the way out; the first of equals.
    pub gw_priority: i64,
    /// Further addresses that hold on its link alone.
    pub link_local: Vec<IpAddr>,
}

impl EndpointRequest {
    /// Reads a value of `--network`: a name, or `name=NET,alias=A,ip=ADDRESS,...`.
    ///
    /// Source: docker run's reference, "--network".
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut endpoint = Self::default();
        if !text.contains('=') {
            text.clone_into(&mut endpoint.network);
            return Ok(endpoint);
        }
        for field in text.split(',') {
            let wrong = || Error::Invalid(format!("invalid field {field}"));
            let (key, value) = field.split_once('=').ok_or_else(wrong)?;
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => value.clone_into(&mut endpoint.network),
                "alias" => endpoint.aliases.push(value.to_owned()),
                "ip" | "ip6" => endpoint.set_address(value)?,
                "mac-address" => endpoint.mac = Some(parse_mac(value)?),
                "driver-opt" => {
                    let (key, value) = value.split_once('=').ok_or_else(wrong)?;
                    endpoint.options.insert(key.to_owned(), value.to_owned());
                }
                "gw-priority" => {
                    let parsed = value.parse();
                    endpoint.gw_priority = parsed
                        .map_err(|_| Error::Invalid(format!("invalid gw-priority: {value}")))?;
                }
                "link-local-ip" => endpoint.add_link_local(value)?,
                other => {
                    return Err(Error::Invalid(format!("invalid field key {other}")));
                }
            }
        }
        if endpoint.network.is_empty() {
            let message = "network name/id is not specified".to_owned();
            return Err(Error::Invalid(message));
        }
        Ok(endpoint)
    }

    /// Takes `--ip` or `--ip6`.
    pub fn set_address(&mut self, text: &str) -> Result<(), Error> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => self.address = Some(address),
            Ok(IpAddr::V6(address)) => self.address6 = Some(address),
            Err(_) => {
                return Err(Error::Invalid(format!("invalid IP address: {text}")));
            }
        }
        Ok(())
    }

    /// Takes `--link-local-ip`.
    pub fn add_link_local(&mut self, text: &str) -> Result<(), Error> {
        let is_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let address = text.parse().ok().filter(is_local);
        let wrong = || Error::Invalid(format!("invalid link-local IP address: {text}"));
        self.link_local.push(address.ok_or_else(wrong)?);
        Ok(())
    }

    /// Looks the network up, and puts its name in place of what the user wrote.
    ///
    /// # Errors
    /// What no network of that name could grant.
    pub(super) fn resolve(&mut self, store: &Store) -> Result<Network, Error> {
        let network = network::find(store, &self.network)?;
        network.name.clone_into(&mut self.network);
        let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
        if network.is_predefined() {
            if !self.aliases.is_empty() {
                return invalid(
                    "network-scoped alias is supported only for containers in user defined networks",
                );
            }
            if self.address.is_some() || self.address6.is_some() {
                return invalid(
                    "user specified IP address is supported on user defined networks only",
                );
            }
        }
        for alias in &self.aliases {
            if alias.is_empty() || alias.contains(char::is_whitespace) {
                return Err(Error::Invalid(format!("invalid network alias `{alias}`")));
            }
        }
        Ok(network)
    }

    /// The same for the network floor.
    pub(super) fn wish<'a>(&'a self, owner: &'a str) -> Wish<'a> {
        Wish {
            network: &self.network,
            owner,
            aliases: &self.aliases,
            address: self.address,
            address6: self.address6,
            mac: self.mac,
            priority: self.gw_priority,
            link_local: &self.link_local,
        }
    }
}

/// Reads a hardware address, `02:42:ac:11:00:02` or with dashes.
pub fn parse_mac(text: &str) -> Result<[u8; 6], Error> {
    let wrong = || Error::Invalid(format!("invalid MAC address: {text}"));
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2)
            .ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    // The lowest bit of the first byte marks groups, which nobody can be.
    if parts.next().is_some() || mac[0] & 1 == 1 {
        return Err(wrong());
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_flag_are_read() {
        let plain = EndpointRequest::parse("back").unwrap();
        assert_eq!(plain.network, "back");
        let long = "name=back,alias=db,alias=sql,ip=10.0.0.9,ip6=fd00::9,\
                    mac-address=02:42:0a:00:00:09,driver-opt=a=b,gw-priority=-1,\
                    link-local-ip=169.254.7.7";
        let long = EndpointRequest::parse(long).unwrap();
        assert_eq!(long.aliases, ["db", "sql"]);
        assert_eq!(long.address, Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(long.address6, Some("fd00::9".parse().unwrap()));
        assert_eq!(long.mac, Some([2, 0x42, 10, 0, 0, 9]));
        assert_eq!(long.options["a"], "b");
        assert_eq!(long.gw_priority, -1);
        assert_eq!(long.link_local, ["169.254.7.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refusal = |text: &str| EndpointRequest::parse(text).unwrap_err().to_string();
        assert!(refusal("alias=x").contains("not specified"));
        assert!(refusal("name=x,ip=1.2.3").contains("invalid IP address: 1.2.3"));
        assert!(refusal("name=x,colour=red").contains("invalid field key colour"));
        assert!(refusal("name=x,gw-priority=high").contains("invalid gw-priority: high"));
        assert!(refusal("name=x,link-local-ip=10.0.0.1").contains("link-local IP address: 10"));
        assert!(refusal("name=x,mac-address=1:2").contains("invalid MAC address"));
        assert!(parse_mac("03:42:0a:00:00:09").is_err());
    }
}
