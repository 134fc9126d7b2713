//! Names are looked up off the worker; literals are not looked up. Alone in its file: it counts the threads of the blocking pool.

mod network;

use fibra::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use network::on_workers;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn addresses(name: impl ToSocketAddrs) -> Vec<SocketAddr> {
    name.to_socket_addrs().unwrap().collect()
}

fn literals() {
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
    assert_eq!(addresses(four), [four]);
    assert_eq!(addresses((Ipv4Addr::LOCALHOST, 80)), [four]);
    assert_eq!(addresses((Ipv6Addr::LOCALHOST, 80)), [six]);
    assert_eq!(addresses(("127.0.0.1", 80)), [four]);
    assert_eq!(addresses(("::1".to_owned(), 80)), [six]);
    assert_eq!(addresses("127.0.0.1:80"), [four]);
    assert_eq!(addresses("[::1]:80"), [six]);
    assert_eq!(addresses("127.0.0.1:80".to_owned()), [four]);
    assert_eq!(addresses(&[four, six][..]), [four, six]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap().to_string()).unwrap();
    UdpSocket::bind(("127.0.0.1", 0)).unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
}

fn names() {
    let beats = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let heart = {
        let (beats, over) = (Arc::clone(&beats), Arc::clone(&over));
        fibra::spawn_local(move || {
            while !over.load(Ordering::Relaxed) {
                beats.fetch_add(1, Ordering::Relaxed);
                fibra::yield_now();
            }
        })
    };
    fibra::yield_now();
    let before = beats.load(Ordering::Relaxed);
    assert!(
        addresses("localhost:80").iter().all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    assert!(!addresses(("localhost", 80)).is_empty());
    let during = beats.load(Ordering::Relaxed) - before;
    assert!(during > 2, "the worker stood still while names were looked up");
    let listener = TcpListener::bind("localhost:0").unwrap();
    TcpStream::connect(("localhost", listener.local_addr().unwrap().port())).unwrap();
    over.store(true, Ordering::Relaxed);
    heart.join().unwrap();
}

fn no_names() {
    for name in ["", "localhost", "localhost:", "localhost:http", "localhost:65536", "nul\0:80"] {
        assert_eq!(name.to_socket_addrs().map(drop).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn names_are_looked_up_on_the_pool_and_literals_in_place() {
    on_workers(&[1, 2], literals);
    assert_eq!(fibra::blocking::threads(), 0, "a literal went to the pool");
    on_workers(&[1], names);
    assert_ne!(fibra::blocking::threads(), 0);
    on_workers(&[1, 2], no_names);
}
