//! When descriptors run out: accept says so, and the connection is accepted later. In child processes, with a lowered limit.

mod child;
mod network;

use fibra::net::{SocketAddr, TcpListener, TcpStream};
use network::{let_others_wait, on_workers};
use rustix::net::{AddressFamily, SocketType};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

const EMFILE: i32 = 24;

/// Runs `test` again, in a child that may have so many descriptors.
fn in_child(test: &str) {
    let inner = child::command(test, "limited");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    child::run(&mut limited).well();
}

/// Opens files until there are no more descriptors.
fn use_up_descriptors() -> Vec<File> {
    std::iter::from_fn(|| match File::open("/dev/null") {
        Ok(file) => Some(file),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(EMFILE));
            None
        }
    })
    .collect()
}

fn unconnected() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
}

fn connect(fd: OwnedFd, address: SocketAddr) -> TcpStream {
    rustix::net::connect(&fd, &address).unwrap();
    TcpStream::from(fd)
}

#[test]
fn connection_without_a_descriptor_is_accepted_later() {
    if child::part().is_none() {
        return in_child("connection_without_a_descriptor_is_accepted_later");
    }
    on_workers(&[1, 2], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut files = use_up_descriptors();
        for _ in 0..3 {
            assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(EMFILE));
        }
        for mut client in clients {
            assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(EMFILE));
            files.pop();
            listener.accept().unwrap().0.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            // Its descriptor and the accepted one's have become free.
            drop(client);
            files.extend(use_up_descriptors());
        }
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EMFILE));
    });
}

/// The edge of a connection is used up by an accept that fails; who accepts again finds it all the same.
#[test]
fn accepts_that_wait_when_descriptors_run_out_recover() {
    if child::part().is_none() {
        return in_child("accepts_that_wait_when_descriptors_run_out_recover");
    }
    on_workers(&[1, 2], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        fibra::scope(|scope| {
            let accepting: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut failures = 0;
                        loop {
                            match listener.accept() {
                                Ok((mut stream, _)) => {
                                    stream.write_all(b"x").unwrap();
                                    return failures;
                                }
                                Err(error) => {
                                    assert_eq!(error.raw_os_error(), Some(EMFILE));
                                    failures += 1;
                                    fibra::sleep(Duration::from_millis(1));
                                }
                            }
                        }
                    })
                })
                .collect();
            let_others_wait();
            let fds = [unconnected(), unconnected(), unconnected()];
            let files = use_up_descriptors();
            let clients = fds.map(|fd| connect(fd, address));
            // Longer than any of the others sleeps: each has met its failure.
            fibra::sleep(Duration::from_millis(10));
            drop(files);
            for mut client in clients {
                client.read_exact(&mut [0]).unwrap();
            }
            let failures: u32 = accepting.into_iter().map(|accepting| accepting.join().unwrap()).sum();
            assert_ne!(failures, 0);
        });
    });
}

#[test]
fn copy_without_descriptors_for_a_pipe_goes_by_a_buffer() {
    if child::part().is_none() {
        return in_child("copy_without_descriptors_for_a_pipe_goes_by_a_buffer");
    }
    on_workers(&[1, 2], || {
        let ((mut source, from), (to, mut sink)) = (network::tcp_pair(), network::tcp_pair());
        // A worker's first wait may need some of its own.
        fibra::sleep(Duration::from_millis(1));
        source.write_all(b"warm").unwrap();
        source.write_all(&[7; 100_000]).unwrap();
        (&from).read_exact(&mut [0; 4]).unwrap();
        drop(source);
        let taken = use_up_descriptors();
        assert_eq!(fibra::io::copy(&mut &from, &mut &to).unwrap(), 100_000);
        drop((taken, to));
        let mut bytes = Vec::new();
        sink.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 100_000]);
    });
}
