//! A hello page over HTTP/1.1 with connections kept alive, in a closed loop of load.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Aim, Experiment, echo, put_load, start_server};
use crate::cli::{Load, LoadKind, Protocol, Settings};
use crate::process::{Child, Figures};
use crate::report::grouped;
use crate::rival::Rival;

/// How long a program that is not ours may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let options = settings.clone();
    let nginx = find_program(&settings.nginx);
    let mut rivals = vec![Rival::Epoll, Rival::FibraServe, Rival::Hyper];
    rivals.extend(nginx.is_some().then_some(Rival::Nginx));
    rivals.extend(settings.external.map(|_| Rival::External));
    let experiment = Experiment {
        key: "http".into(),
        title: format!("HTTP hello page, {} connections", grouped(settings.http_connections as f64, 0)),
        about: "GET / on connections kept alive; every answer must be a 200 of its full length. CPU is the server's. The \
                epoll loop answers fixed bytes to whatever ends in an empty line: a lower bound, not an HTTP server."
            .into(),
        metrics: echo::UNDER_LOAD,
        rivals,
        baseline: Some(Rival::Epoll),
        aims: vec![Aim::at_most(Rival::FibraServe, "cpu_us", 1.0).times(Rival::Nginx)],
        measure: Box::new(move |rival, seed| {
            let (_server, process, address) = match rival {
                Rival::FibraServe => start_fibra(&options)?,
                Rival::Nginx => {
                    start_nginx(options.server_core, nginx.as_deref().expect("it takes part when found"))?
                }
                Rival::External => {
                    let external = options.external.expect("it takes part when given");
                    (None, external.process, external.address)
                }
                _ => {
                    let (server, port) = start_server(options.server_core, rival, Protocol::Http)?;
                    let process = server.id();
                    (Some(server), process, ([127, 0, 0, 1], port).into())
                }
            };
            let load = Load {
                kind: LoadKind::Http,
                address,
                server: process,
                connections: options.http_connections,
                total: 0,
                size: 0,
                seconds: options.seconds,
                warm_up: options.warm_up,
                seed,
            };
            let figures: Result<Figures> = put_load(options.load_core, &load);
            figures
        }),
    };
    vec![experiment.choose(settings)]
}

/// A running server: the child, when it is ours to end; its process; its address.
pub(super) type Started = (Option<Child>, u32, SocketAddr);

fn start_fibra(settings: &Settings) -> Result<Started> {
    if !settings.fibra.exists() {
        bail!("{} is not there: build it, or name another with --fibra", settings.fibra.display());
    }
    let address = unused_address()?;
    let address_given = address.to_string();
    let arguments = ["serve", "--protocol", "http", "--workers", "1", &address_given];
    started(Child::of_program(settings.server_core, Rival::FibraServe, &settings.fibra, arguments)?, address)
}

pub(super) fn start_nginx(core: usize, program: &Path) -> Result<Started> {
    let address = unused_address()?;
    let home = std::env::temp_dir().join(format!("rivals-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
    let home_name = home.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", home.display()))?;
    // One process, no log, and keep-alive without an end.
    let configuration = format!(
        "daemon off; master_process off; error_log stderr crit; pid {home_name}/pid; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 19000; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;\n\
           client_body_temp_path {home_name}/body; proxy_temp_path {home_name}/proxy;\n\
           fastcgi_temp_path {home_name}/fastcgi; uwsgi_temp_path {home_name}/uwsgi; scgi_temp_path {home_name}/scgi;\n\
           server {{ listen {address} backlog=1024; location / {{ return 200 \"hello\\n\"; }} }} }}\n"
    );
    let file = home.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let file = file.to_str().expect("its directory's name is UTF-8");
    let arguments = ["-p", home_name, "-c", file, "-e", "stderr"];
    let started = started(Child::of_program(core, Rival::Nginx, program, arguments)?, address);
    // It has read what it needs; the directories it has made are for bodies, which nobody sends.
    std::fs::remove_dir_all(&home)?;
    started
}

/// Waits until the program accepts connections.
fn started(child: Child, address: SocketAddr) -> Result<Started> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if start.elapsed() > PATIENCE {
            bail!("nothing listens on {address} after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = child.id();
    Ok((Some(child), process, address))
}

/// An address that nobody used a moment ago.
fn unused_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The program's path, if it exists: as it stands when it names a directory, else along PATH.
pub(super) fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.exists().then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|found| found.is_file())
}
