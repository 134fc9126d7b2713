//! Nothing outside of the root is served, whatever the path says and wherever links lead.

mod driving;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use driving::{body, get, status};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};
use tempfile::TempDir;

/// A directory with a secret in it, and the root beside that.
fn sites() -> (TempDir, Service) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::write(outer.path().join("secret"), "SECRET").unwrap();
    fs::create_dir(outer.path().join("rooted")).unwrap();
    fs::write(outer.path().join("rooted/secret"), "SECRET").unwrap();
    fs::write(root.join("public"), "public").unwrap();
    fs::write(root.join("sub/page"), "page").unwrap();
    let site = Site::root(&root).unwrap().with_listing(true);
    (outer, Service::new(site, Limits::default()))
}

fn root(outer: &TempDir) -> std::path::PathBuf {
    outer.path().join("root")
}

#[test]
fn no_spelling_of_a_path_climbs_out() {
    let (_outer, service) = sites();
    for target in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/%2E./secret",
        "/.%2e/secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/..%2fsecret",
        "/..%2Fsecret",
        "/sub/..%2f..%2fsecret",
        "/%2e%2e%2fsecret",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/.../secret",
        "/..;/secret",
        "//../secret",
        "/./../secret",
        "/sub//../..//secret",
        "/../rooted/secret",
        "/..%00/secret",
        "/%c0%ae%c0%ae/secret",
        "/%ff%2e%2e/secret",
        "http://host/../secret",
        "/sub/deep/../../../root/../secret",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc/passwd",
        "/%2fetc%2fpasswd",
        "//%2e%2e//etc/passwd",
        "/proc/self/environ",
    ] {
        let answer = get(&service, target, "");
        assert!(matches!(status(&answer), 400 | 403 | 404), "{target}: {answer}");
        assert!(!answer.contains("SECRET") && !answer.contains("root:"), "{target}: {answer}");
    }
}

#[test]
fn spellings_that_stay_below_the_root_are_the_same_file() {
    let (_outer, service) = sites();
    for target in [
        "/public",
        "//public",
        "/./public",
        "/sub/../public",
        "/sub/deep/../../public",
        "/%70ublic",
        "/public?../..",
    ] {
        assert_eq!(body(&get(&service, target, "")), "public", "{target}");
    }
}

#[test]
fn links_that_stay_below_the_root_are_followed() {
    let (outer, service) = sites();
    let root = root(&outer);
    symlink("public", root.join("link")).unwrap();
    symlink("../public", root.join("sub/up")).unwrap();
    symlink("../../sub/../public", root.join("sub/deep/round")).unwrap();
    symlink("sub", root.join("directory")).unwrap();
    symlink("link", root.join("chain")).unwrap();
    for target in ["/link", "/sub/up", "/sub/deep/round", "/chain", "/directory/up"] {
        assert_eq!(body(&get(&service, target, "")), "public", "{target}");
    }
    assert_eq!(body(&get(&service, "/directory/page", "")), "page");
}

#[test]
fn links_that_leave_the_root_are_refused() {
    let (outer, service) = sites();
    let at = root(&outer);
    symlink("../secret", at.join("out")).unwrap();
    symlink("../../secret", at.join("sub/out")).unwrap();
    symlink("..", at.join("parent")).unwrap();
    symlink("/etc/passwd", at.join("absolute")).unwrap();
    symlink("/", at.join("slash")).unwrap();
    symlink("out", at.join("chain")).unwrap();
    symlink("../root/public", at.join("out-and-in")).unwrap();
    symlink(outer.path().join("root-beside"), at.join("prefix")).unwrap();
    for target in [
        "/out",
        "/sub/out",
        "/parent/secret",
        "/parent/",
        "/parent",
        "/absolute",
        "/slash/etc/passwd",
        "/chain",
        "/out-and-in",
        "/prefix",
    ] {
        let answer = get(&service, target, "");
        assert_eq!(status(&answer), 403, "{target}: {answer}");
    }
}

#[test]
fn an_absolute_link_is_refused_even_if_it_points_below_the_root() {
    let (outer, service) = sites();
    let at = root(&outer);
    symlink(at.join("public"), at.join("absolute")).unwrap();
    assert_eq!(status(&get(&service, "/absolute", "")), 403);
}

#[test]
fn an_index_page_cannot_be_a_way_out_either() {
    let (outer, service) = sites();
    symlink("../../secret", root(&outer).join("sub/index.html")).unwrap();
    assert_eq!(status(&get(&service, "/sub/", "")), 403);
}

#[test]
fn loops_and_broken_links_are_not_found() {
    let (outer, service) = sites();
    let at = root(&outer);
    symlink("loop", at.join("loop")).unwrap();
    symlink("pong", at.join("ping")).unwrap();
    symlink("ping", at.join("pong")).unwrap();
    symlink("nothing", at.join("broken")).unwrap();
    for target in ["/loop", "/ping", "/broken", "/loop/x", "/loop/"] {
        assert_eq!(status(&get(&service, target, "")), 404, "{target}");
    }
}

#[test]
fn links_into_proc_do_not_leave_the_root() {
    let (outer, service) = sites();
    symlink("/proc/self/fd/0", root(&outer).join("fd")).unwrap();
    symlink("/proc/self/cwd", root(&outer).join("cwd")).unwrap();
    for target in ["/fd", "/cwd/Cargo.toml"] {
        assert_eq!(status(&get(&service, target, "")), 403, "{target}");
    }
    // Even if the root is where the magic links live.
    let service = Service::new(Site::root("/proc/self").unwrap(), Limits::default());
    for target in ["/root/etc/passwd", "/cwd/Cargo.toml", "/fd/0", "/exe"] {
        let code = status(&get(&service, target, ""));
        assert!(matches!(code, 403 | 404), "{target}: {code}");
    }
}

#[test]
fn the_root_stays_the_directory_that_it_was() {
    let (outer, service) = sites();
    fs::rename(root(&outer), outer.path().join("moved")).unwrap();
    fs::create_dir(root(&outer)).unwrap();
    fs::write(root(&outer).join("public"), "another").unwrap();
    assert_eq!(body(&get(&service, "/public", "")), "public");
}

#[test]
fn only_regular_files_are_served_and_nothing_else_blocks() {
    let (outer, service) = sites();
    let at = root(&outer);
    let fifo = at.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let _socket = UnixListener::bind(at.join("socket")).unwrap();
    symlink("fifo", at.join("link")).unwrap();
    fs::create_dir(at.join("folder")).unwrap();
    symlink("../fifo", at.join("folder/index.html")).unwrap();
    // Beside the test, so that a request that blocks fails it instead of holding it up.
    let (say, hear) = mpsc::channel();
    thread::spawn(move || {
        for target in ["/fifo", "/socket", "/link", "/folder/"] {
            say.send((target, status(&get(&service, target, "")))).unwrap();
        }
    });
    let next = || hear.recv_timeout(Duration::from_secs(20)).expect("the request blocks");
    assert_eq!(next(), ("/fifo", 403));
    assert_eq!(next(), ("/socket", 403));
    assert_eq!(next(), ("/link", 403));
    assert_eq!(next(), ("/folder/", 200), "the list, as a FIFO is no index page");
}

#[test]
fn names_may_be_any_bytes() {
    let (outer, service) = sites();
    let at = root(&outer);
    for name in
        [&b"\xff\xfe"[..], b"a b", b"100%", b"q?", b"#", b"caf\xc3\xa9", b"-", b"\\", b"a\nb", b"...", b"~"]
    {
        fs::write(at.join(Path::new(OsStr::from_bytes(name))), name).unwrap();
        let encoded: String = name.iter().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(status(&get(&service, &format!("/{encoded}"), "")), 200, "{}", name.escape_ascii());
    }
}

#[test]
fn what_cannot_be_named_is_not_found() {
    let (_outer, service) = sites();
    for target in ["/public/", "/public/x", "/PUBLIC", "/public%20", "/nothing/", "/sub/nothing"] {
        assert_eq!(status(&get(&service, target, "")), 404, "{target}");
    }
    let long = "x".repeat(300);
    assert_eq!(status(&get(&service, &format!("/{long}"), "")), 404);
    assert_eq!(status(&get(&service, &"/abcdefgh".repeat(600), "")), 404);
}

#[test]
fn what_may_not_be_read_is_forbidden() {
    let (outer, service) = sites();
    let path = root(&outer).join("private");
    fs::write(&path, "PRIVATE").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_err() {
        assert_eq!(status(&get(&service, "/private", "")), 403);
    } // Nothing is forbidden to root.
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let (outer, _service) = sites();
    let error = Site::root(outer.path().join("secret")).unwrap_err();
    assert!(error.to_string().contains("secret"), "{error}");
    assert!(Site::root(outer.path().join("nothing")).is_err());
}
