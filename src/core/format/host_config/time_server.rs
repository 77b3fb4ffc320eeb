//! Who is asked for the time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::Invalid;
use crate::format::network::DomainName;

/// The port of SNTP (RFC 5905).
const PORT: u16 = 123;

/// A time server: a name or an address, and a port where it is another than 123.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeServer {
    /// By its address.
    Address(SocketAddr),
    /// By its name.
    Name(DomainName, u16),
}

impl From<IpAddr> for TimeServer {
    fn from(address: IpAddr) -> Self {
        Self::Address(SocketAddr::new(address, PORT))
    }
}

impl FromStr for TimeServer {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "ntp",
                text,
                "a time server's name or address, with :PORT where it is not 123",
            )
        };
        let address = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = address.parse::<IpAddr>() {
            return Ok(address.into());
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| invalid())?),
            None => (text, PORT),
        };
        let name = name.parse().map_err(|_| invalid())?;
        if port == 0 {
            return Err(invalid());
        }
        Ok(Self::Name(name, port))
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) if address.port() == PORT => address.ip().fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Name(name, PORT) => name.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl Serialize for TimeServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_server_is_read_as_it_is_written() {
        for text in [
            "192.0.2.123",
            "192.0.2.123:1234",
            "2001:db8::123",
            "[2001:db8::123]:1234",
            "ntp.example",
            "ntp.example:1234",
        ] {
            assert_eq!(text.parse::<TimeServer>().unwrap().to_string(), text);
        }
        let bracketed: TimeServer = "[2001:db8::123]".parse().unwrap();
        assert_eq!(bracketed, "2001:db8::123".parse().unwrap());
        for bad in [
            "",
            ":123",
            "ntp.example:",
            "ntp.example:0",
            "ntp.example:65536",
            "a b",
            "https://ntp.example/",
        ] {
            assert!(bad.parse::<TimeServer>().is_err(), "{bad:?}");
        }
    }
}
