//! Addresses as people write them: [`ListenAddress`], where a server listens; [`ServerUrl`], which one to call.

use std::fmt::{self, Display};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::Context;
use tokio::net::TcpListener;

/// `host:port`; `:port` is that port of every interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// A name or an IP address without brackets. None: every interface.
    host: Option<String>,
    port: u16,
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("must be host:port, not a URL".to_owned());
        }
        let every = text.strip_prefix('*').filter(|rest| rest.starts_with(':'));
        let (host, port) = host_and_port(every.unwrap_or(text))?;
        Ok(Self { host: (!host.is_empty()).then(|| host.to_owned()), port })
    }
}

impl Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

impl ListenAddress {
    /// Listens there. `option` is the flag that gave the address, and `variable` its environment variable.
    ///
    /// # Errors
    /// When the name is unknown or the address cannot be used, e.g. because another process listens there.
    pub async fn bind(&self, option: &str, variable: &str) -> anyhow::Result<TcpListener> {
        let listener = async { TcpListener::bind(self.resolve()?.as_slice()).await };
        let choose = || format!("cannot listen on {self}; choose another address with {option} ({variable})");
        listener.await.with_context(choose)
    }

    /// The same without an error where another process listens there.
    ///
    /// # Errors
    /// As those of [`bind`](Self::bind), but for that one.
    pub async fn bind_if_free(&self, option: &str, variable: &str) -> anyhow::Result<Option<TcpListener>> {
        match self.bind(option, variable).await {
            Err(error) if is_in_use(&error) => Ok(None),
            bound => bound.map(Some),
        }
    }

    /// What to listen on: the first that works.
    fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let Some(host) = &self.host else {
            // The first takes IPv4 as well, where the machine has IPv6.
            let every = |ip: std::net::IpAddr| SocketAddr::new(ip, self.port);
            return Ok(vec![every(Ipv6Addr::UNSPECIFIED.into()), every(Ipv4Addr::UNSPECIFIED.into())]);
        };
        let mut found: Vec<SocketAddr> = (host.as_str(), self.port).to_socket_addrs()?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        Ok(found)
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// A server to call, as `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// `http://host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let authority = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest.strip_suffix('/').unwrap_or(rest),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err("https is not supported: use http://host:port, in a network that you trust".to_owned());
            }
            Some((scheme, _)) => return Err(format!("{scheme}:// is not supported: use http://host:port")),
        };
        let (host, port) = host_and_port(authority)?;
        if host.is_empty() {
            return Err("names no host: use http://host:port".to_owned());
        }
        Ok(Self(if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") }))
    }
}

/// A server to call, or none: `none`, `off` or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalServer(Option<ServerUrl>);

impl OptionalServer {
    /// `http://host:port`, if there is one.
    pub fn url(&self) -> Option<String> {
        self.0.as_ref().map(|server| server.as_str().to_owned())
    }
}

impl FromStr for OptionalServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" | "off" => Ok(Self(None)),
            url => url.parse().map(Some).map(Self).map_err(|error| format!("{error}, or none")),
        }
    }
}

/// A host without its brackets, and a port.
fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let usage = || "must be host:port, e.g. 127.0.0.1:50051".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let port = port.parse().map_err(|_| format!("{port:?} is not a port: {}", usage()))?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(ip) = bare {
        return ip.parse::<Ipv6Addr>().map(|_| (ip, port)).map_err(|_| format!("{ip:?} is not an IPv6 address"));
    }
    if host.contains(':') {
        return Err("needs brackets around an IPv6 address, e.g. [::1]:50051".to_owned());
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.chars().all(is_name) { Ok((host, port)) } else { Err(usage()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Result<String, String> {
        text.parse().map(|ServerUrl(url)| url)
    }

    #[test]
    fn a_server_is_named_with_or_without_its_scheme() {
        for text in ["host:50052", "http://host:50052", "HTTP://host:50052/"] {
            assert_eq!(server(text).as_deref(), Ok("http://host:50052"), "{text}");
        }
        assert_eq!(server("[::1]:7").as_deref(), Ok("http://[::1]:7"));
        for text in ["none", "off", ""] {
            assert_eq!(text.parse(), Ok(OptionalServer(None)));
        }
    }

    #[test]
    fn what_would_be_plaintext_under_another_name_is_refused() {
        assert!(server("https://host:1").unwrap_err().contains("https is not supported"));
        assert!(server("grpc://host:1").unwrap_err().contains("grpc:// is not supported: use http://"));
        for wrong in [
            "host",
            "http://host",
            "host:port",
            "host:70000",
            ":1",
            "http://user@host:1",
            "http://host:1/x",
            "a b:1",
            "http://*:1",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_takes_a_name_an_address_or_every_interface() {
        let resolved = |text: &str| text.parse::<ListenAddress>().unwrap().resolve().unwrap();
        assert_eq!(resolved("localhost:5")[0], "127.0.0.1:5".parse().unwrap());
        assert_eq!(resolved("[::1]:5"), ["[::1]:5".parse().unwrap()]);
        for every in [":5", "*:5"] {
            assert_eq!(resolved(every), ["[::]:5".parse().unwrap(), "0.0.0.0:5".parse().unwrap()]);
        }
        for wrong in ["5", "host", "http://host:5", "::1:5", "[x]:5", "host:-1", ""] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
        for text in ["localhost:5", "[::1]:5", ":5"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_from_one_that_cannot_be() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: ListenAddress = taken.local_addr().unwrap().to_string().parse().unwrap();
        assert!(address.bind_if_free("--listen", "LISTEN").await.unwrap().is_none());
        let error = format!("{:#}", address.bind("--listen", "LISTEN").await.unwrap_err());
        assert!(error.contains("--listen (LISTEN)") && error.contains("in use"), "{error}");
        let nowhere: ListenAddress = "host.invalid:1".parse().unwrap();
        assert!(nowhere.bind_if_free("--listen", "LISTEN").await.is_err());
    }
}
