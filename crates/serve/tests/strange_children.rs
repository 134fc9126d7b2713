//! The models that fork reap their own children and nobody else's: a program that has children of its own, and serves, hears what became of them.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;

use fibra_serve::protocol::http::Service;
use fibra_serve::{Accept, Limits, Model, Options, Protocol, Site, serve};

fn main() {
    for model in [Model::Process, Model::Prefork, Model::MultiProcess] {
        children_that_are_not_the_servers_are_left_for_their_owner(model);
        println!("{}: ok", model.name());
    }
}

fn shell(script: &str) -> std::process::Child {
    Command::new("sh").args(["-c", script]).spawn().expect("there is a shell")
}

fn children_that_are_not_the_servers_are_left_for_their_owner(model: Model) {
    let options = Options {
        protocol: Protocol::Http,
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: (model != Model::Process).then_some(2),
        connections_per_child: 0,
        accept: Accept::default(),
        service: Arc::new(Service::new(Site::hello(), Limits::default())),
    };
    // This one has ended when the server begins to reap, and stands first from then on.
    let mut before = shell("exit 7");
    // Nor does one stand in the way that died of a signal of which few know.
    let mut killed = shell("kill -35 $$");
    // SIGCHLD rings for it, and for the workers, before the server is told to stop.
    let mut meanwhile = None;
    let summary = serve(model, options, |started| {
        let port = started.address.port();
        // Each connection is one process's, or a worker's, which ends with it or with the server.
        let script = format!(
            "for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3; done > /dev/null; kill -TERM $PPID; exit 9"
        );
        let child = Command::new("bash").args(["-c", &script]).spawn();
        meanwhile = Some(child.expect("there is bash"));
    })
    .expect("it serves");
    assert_eq!(summary.accepted, 3, "{model:?}");
    let mut meanwhile = meanwhile.expect("the server has started");
    assert_eq!(before.wait().expect("its status is there").code(), Some(7), "{model:?}");
    assert_eq!(killed.wait().expect("its status is there").signal(), Some(35), "{model:?}");
    assert_eq!(meanwhile.wait().expect("its status is there").code(), Some(9), "{model:?}");
    // And nobody of the server's is left: not even a zombie.
    let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()));
    assert_eq!(children.expect("the kernel tells children").trim(), "", "{model:?}");
}
