//! A limit may be endless: `Duration::MAX` is more than any clock can be moved on by.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use fibra_serve::protocol::http::Service;
use fibra_serve::{Accept, Limits, Model, Options, Protocol, Site, serve};
use rustix::process::{Signal, getpid, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

fn endless() -> Limits {
    Limits {
        idle_timeout: Duration::MAX,
        head_deadline: Duration::MAX,
        body_deadline: Duration::MAX,
        write_timeout: Duration::MAX,
        linger_deadline: Duration::MAX,
        stop_deadline: Duration::MAX,
        ..Limits::default()
    }
}

/// A good request, and then one that is refused, after which the server lingers.
fn exchange(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered, and closed");
    answer
}

#[test]
fn every_model_serves_and_stops_with_limits_that_have_no_end() {
    let forks = [Model::Process, Model::Prefork, Model::MultiProcess];
    for &model in Model::ALL.iter().filter(|model| !forks.contains(model)) {
        let (listens, listening) = mpsc::channel();
        let server = thread::spawn(move || {
            let options = Options {
                protocol: Protocol::Http,
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                workers: None,
                connections_per_child: 0,
                accept: Accept::default(),
                service: Arc::new(Service::new(Site::hello(), endless())),
            };
            serve(model, options, |started| listens.send(started.address).expect("it is waited for"))
        });
        let Ok(address) = listening.recv_timeout(PATIENCE) else {
            let error = server.join().expect("it does not panic").expect_err("it has not served");
            assert!(model.name().ends_with("uring"), "{model:?}: {error}");
            println!("not tested: there is no io_uring here");
            continue;
        };
        let answer = exchange(address);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 400"), "{model:?}: {answer}");
        kill_process(getpid(), Signal::TERM).expect("it may signal itself");
        let summary = server.join().expect("it does not panic").expect("it stops");
        assert_eq!((summary.accepted, summary.cut_off), (1, 0), "{model:?}");
    }
}
