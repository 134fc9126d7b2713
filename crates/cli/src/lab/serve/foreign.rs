//! Servers that are not ours, in the same table.

use std::net::SocketAddr;
use std::str::FromStr;

/// A server by its name, as it is given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) name: String,
    /// What stands behind the name: see [`Source`].
    pub(super) what: String,
}

/// Where a foreign server comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It runs already.
    Address(SocketAddr),
    /// The shell starts it, and it listens on a port that takes the place of `{port}`.
    Port(String),
    /// The shell starts it, and it listens there.
    Command(String, SocketAddr),
}

impl Source {
    pub(super) fn parse(what: &str) -> Result<Source, String> {
        if let Ok(address) = what.parse() {
            return Ok(Source::Address(address));
        }
        if what.contains("{port}") {
            return Ok(Source::Port(what.to_owned()));
        }
        match what.rsplit_once('@') {
            Some((command, address)) => {
                let address = address.trim();
                let parsed = address.parse().map_err(|_| format!("'{address}' is no ADDR:PORT"))?;
                Ok(Source::Command(command.trim().to_owned(), parsed))
            }
            None => Err(format!(
                "'{what}' does not say where the server listens: write {{port}} into the command, or '@ ADDR:PORT' behind it"
            )),
        }
    }
}

impl FromStr for Foreign {
    type Err = String;

    fn from_str(text: &str) -> Result<Foreign, String> {
        let (name, what) = text.split_once('=').ok_or("expected NAME=COMMAND or NAME=ADDR:PORT")?;
        let (name, what) = (name.trim(), what.trim());
        if name.is_empty() || name.len() > 24 || name.chars().any(char::is_control) {
            return Err("a name has 1 to 24 characters".to_owned());
        }
        Source::parse(what)?;
        Ok(Foreign { name: name.to_owned(), what: what.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_and_is_a_command_or_an_address() {
        let source = |text: &str| Source::parse(&text.parse::<Foreign>().unwrap().what).unwrap();
        let address: SocketAddr = "127.0.0.1:8081".parse().unwrap();
        assert_eq!(source("nginx=127.0.0.1:8081"), Source::Address(address));
        assert_eq!(source("go=./hello --port={port}"), Source::Port("./hello --port={port}".into()));
        assert_eq!(
            source("nginx = nginx -c /tmp/n.conf @ 127.0.0.1:8081"),
            Source::Command("nginx -c /tmp/n.conf".into(), address)
        );
    }

    #[test]
    fn one_that_cannot_be_reached_is_refused_with_what_is_missing() {
        let error = |text: &str| text.parse::<Foreign>().unwrap_err();
        assert!(error("nginx=nginx").contains("{port}"));
        assert!(error("nginx").contains("NAME="));
        assert!(error("=127.0.0.1:80").contains("name"));
        assert!(error("a=b @ nowhere").contains("nowhere"));
    }
}
