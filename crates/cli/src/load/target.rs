//! Where the load goes: `ADDR:PORT`, `:PORT`, `PORT`, `http://HOST[:PORT][/PATH]` or `echo://HOST:PORT`.

use super::report::Protocol;
use std::net::{SocketAddr, ToSocketAddrs};

/// A server, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its addresses, in the resolver's order; at least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// What a `Host` field says: the name as it was given, and the port.
    pub(super) host: String,
    /// What the scheme says is spoken.
    pub(super) protocol: Option<Protocol>,
    /// The path in the address, query and all.
    pub(super) path: Option<String>,
}

impl Target {
    /// # Errors
    ///
    /// When it is no such text, or a name that has no address.
    pub(super) fn parse(text: &str) -> Result<Target, String> {
        let (protocol, rest) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(Protocol::Http), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("echo") => (Some(Protocol::Echo), rest),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(format!("'{text}': TLS is not spoken here; give an http:// address"));
            }
            Some((scheme, _)) => {
                return Err(format!("'{text}': '{scheme}' is not spoken here; http and echo are"));
            }
        };
        let begins = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(begins);
        if !path.is_empty() && protocol != Some(Protocol::Http) {
            return Err(format!("'{text}': only http:// addresses have a path"));
        }
        if authority.contains('@') {
            return Err(format!("'{text}': a name and password are not sent; use --header"));
        }
        // A fragment stays with the client (RFC 9110, 4.2.5).
        let path = path.split('#').next().filter(|path| !path.is_empty());
        let path = path.map(|path| if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });

        let named = match authority.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None if protocol.is_none() && authority.parse::<u16>().is_ok() => {
                format!("127.0.0.1:{authority}")
            }
            None if protocol == Some(Protocol::Http) && !has_port(authority) => format!("{authority}:80"),
            None => authority.to_owned(),
        };
        let addresses: Vec<_> = named
            .to_socket_addrs()
            .map_err(|error| format!("'{text}' is no address of a server: {error}; try :8080, 127.0.0.1:8080 or http://127.0.0.1:8080/"))?
            .collect();
        match addresses.first() {
            None => Err(format!("'{text}' has no address")),
            Some(first) if first.port() == 0 => Err(format!("'{text}': nobody listens on port 0")),
            Some(_) => Ok(Target { addresses, host: named, protocol, path }),
        }
    }
}

/// Whether a port follows the host, which may be an IPv6 address in brackets.
fn has_port(authority: &str) -> bool {
    let after = authority.rsplit(']').next().unwrap_or(authority);
    after.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<Protocol>, Option<String>) {
        let target = Target::parse(text).unwrap();
        (target.addresses[0].to_string(), target.protocol, target.path)
    }

    #[test]
    fn an_address_has_several_forms() {
        let http = Some(Protocol::Http);
        assert_eq!(parsed("8080"), ("127.0.0.1:8080".into(), None, None));
        assert_eq!(parsed(":8080"), ("127.0.0.1:8080".into(), None, None));
        assert_eq!(parsed("127.0.0.2:1"), ("127.0.0.2:1".into(), None, None));
        assert_eq!(parsed("[::1]:1"), ("[::1]:1".into(), None, None));
        assert_eq!(parsed("http://127.0.0.1"), ("127.0.0.1:80".into(), http, None));
        assert_eq!(parsed("http://[::1]/"), ("[::1]:80".into(), http, Some("/".into())));
        assert_eq!(parsed("http://[::1]:81"), ("[::1]:81".into(), http, None));
        assert_eq!(parsed("HTTP://:8080/a/b?c#d"), ("127.0.0.1:8080".into(), http, Some("/a/b?c".into())));
        assert_eq!(parsed("http://127.0.0.1:8080?c"), ("127.0.0.1:8080".into(), http, Some("/?c".into())));
        assert_eq!(parsed("echo://127.0.0.1:7"), ("127.0.0.1:7".into(), Some(Protocol::Echo), None));
        assert_eq!(Target::parse("http://127.0.0.1/x").unwrap().host, "127.0.0.1:80");
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, expected) in [
            ("nowhere", "no address of a server"),
            ("", "no address of a server"),
            ("127.0.0.1", "no address of a server"),
            ("127.0.0.1:65536", "no address of a server"),
            ("http://", "no address of a server"),
            ("127.0.0.1:0", "port 0"),
            ("https://127.0.0.1/", "TLS"),
            ("ftp://127.0.0.1/", "'ftp' is not spoken"),
            ("echo://127.0.0.1:7/x", "only http:// addresses have a path"),
            ("127.0.0.1:7/x", "only http:// addresses have a path"),
            ("http://me:secret@127.0.0.1/", "--header"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
