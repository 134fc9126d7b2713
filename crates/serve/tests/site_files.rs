//! Files, their types, directories and lists of them.

mod driving;

use std::fs;

use driving::{ask, body, field, get, status};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};
use tempfile::TempDir;

fn files(names: &[(&str, &str)], listing: bool) -> (TempDir, Service) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in names {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let site = Site::root(directory.path()).unwrap().with_listing(listing);
    (directory, Service::new(site, Limits::default()))
}

#[test]
fn a_file_comes_with_its_type_and_length() {
    let (_directory, service) =
        files(&[("a.html", "<p>"), ("b.png", "png"), ("c", "?"), ("empty.txt", "")], false);
    for (target, kind, text) in [
        ("/a.html", "text/html; charset=utf-8", "<p>"),
        ("/b.png?size=1", "image/png", "png"),
        ("/c", "application/octet-stream", "?"),
        ("/empty.txt", "text/plain; charset=utf-8", ""),
    ] {
        let answer = get(&service, target, "");
        assert_eq!((status(&answer), body(&answer)), (200, text), "{target}");
        assert_eq!(field(&answer, "Content-Type"), Some(kind), "{target}");
        assert_eq!(field(&answer, "Content-Length"), Some(text.len().to_string().as_str()), "{target}");
        assert_eq!(field(&answer, "Accept-Ranges"), Some("bytes"));
    }
}

#[test]
fn files_of_every_size_come_whole() {
    for len in [1, 16 << 10, (16 << 10) + 1, 3_000_000] {
        let text = "0123456789".repeat(len / 10 + 1)[..len].to_owned();
        let (_directory, service) = files(&[("file", &text)], false);
        let answer = get(&service, "/file", "");
        assert_eq!(status(&answer), 200);
        assert!(body(&answer) == text, "{len}");
    }
}

#[test]
fn head_tells_what_get_would_bring() {
    let large = "x".repeat(100_000);
    let (_directory, service) = files(&[("small", "small"), ("large", &large), ("sub/x", "")], true);
    for target in ["/small", "/large", "/sub", "/sub/", "/nothing"] {
        let head = ask(&service, &format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let get = get(&service, target, "");
        assert_eq!(body(&head), "", "{target}");
        assert_eq!(head.strip_suffix("\r\n\r\n"), get.split("\r\n\r\n").next(), "{target}");
    }
}

#[test]
fn a_directory_is_answered_with_its_index_page() {
    let (_directory, service) = files(&[("index.html", "top"), ("sub/index.html", "below")], false);
    assert_eq!(body(&get(&service, "/", "")), "top");
    assert_eq!(body(&get(&service, "/sub/", "")), "below");
    assert_eq!(body(&get(&service, "/sub/.", "")), "below");
    assert_eq!(field(&get(&service, "/sub/", ""), "Content-Type"), Some("text/html; charset=utf-8"));
}

#[test]
fn a_directory_without_its_slash_is_asked_for_again_with_it() {
    let (directory, service) = files(&[("sub dir/index.html", "below")], false);
    fs::create_dir(directory.path().join("evil.example")).unwrap();
    fs::create_dir(format!("{}/\\evil.example", directory.path().display())).unwrap();
    for (target, location) in [
        ("/sub%20dir", "/sub%20dir/"),
        ("/sub%20dir?a=b&c", "/sub%20dir/?a=b&c"),
        ("//evil.example", "/evil.example/"),
        ("/\\evil.example", "/%5Cevil.example/"),
        ("http://host//evil.example", "/evil.example/"),
    ] {
        let answer = get(&service, target, "");
        assert_eq!((status(&answer), field(&answer, "Location")), (301, Some(location)), "{target}");
    }
}

#[test]
fn directories_are_not_listed_by_default() {
    let (_directory, service) = files(&[("file", ""), ("sub/file", "")], false);
    for target in ["/", "/sub/"] {
        let answer = get(&service, target, "");
        assert_eq!(status(&answer), 403);
        assert!(!answer.contains("file"), "{answer}");
    }
    assert_eq!(status(&get(&service, "/nothing/", "")), 404);
}

#[test]
fn a_list_of_a_directory_leads_to_all_that_is_in_it() {
    let names = ["b.txt", "a b&c", "<script>", "\"quoted'", "x:y", "caf\u{e9}", "sub/deeper/x"];
    let (_directory, service) = files(&names.map(|name| (name, "text")), true);
    let answer = get(&service, "/", "");
    assert_eq!(status(&answer), 200);
    assert_eq!(field(&answer, "Content-Type"), Some("text/html; charset=utf-8"));
    let page = body(&answer);
    assert!(!page.contains("<script>") && !page.contains("\"quoted") && !page.contains("../"), "{page}");
    assert!(page.find("sub/").unwrap() < page.find("b.txt").unwrap(), "directories come first");
    let links: Vec<&str> =
        page.split("href=\".").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), names.len());
    for link in links {
        let code = status(&get(&service, link, ""));
        assert_eq!(code, 200, "{link}");
    }
    let below = get(&service, "/sub/", "");
    assert!(body(&below).contains("../"), "{below}");
}

#[test]
fn the_hello_page_has_no_files() {
    let service = driving::hello();
    for target in ["/Cargo.toml", "/src/lib.rs", "/index.html"] {
        assert_eq!(status(&get(&service, target, "")), 404, "{target}");
    }
}
