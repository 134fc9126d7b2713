//! Parts of files.

mod driving;

use std::fs;

use driving::{ask, body, field, get, status};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};
use tempfile::TempDir;

fn file(text: &str) -> (TempDir, Service) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file.txt"), text).unwrap();
    let site = Site::root(directory.path()).unwrap();
    (directory, Service::new(site, Limits::default()))
}

#[test]
fn a_part_is_sent_with_its_place_in_the_whole() {
    let (_directory, service) = file("0123456789");
    for (range, place, text) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-5", "bytes 2-5/10", "2345"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=7-1000", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=-1000", "bytes 0-9/10", "0123456789"),
        ("BYTES=0-9", "bytes 0-9/10", "0123456789"),
    ] {
        let answer = get(&service, "/file.txt", &format!("Range: {range}\r\n"));
        assert_eq!((status(&answer), body(&answer)), (206, text), "{range}");
        assert_eq!(field(&answer, "Content-Range"), Some(place), "{range}");
        assert_eq!(field(&answer, "Content-Length"), Some(text.len().to_string().as_str()), "{range}");
        assert_eq!(field(&answer, "Content-Type"), Some("text/plain; charset=utf-8"));
        assert!(field(&answer, "ETag").is_some());
    }
}

#[test]
fn a_part_of_a_large_file_is_sent_from_the_file() {
    let text: String = (0..50_000).map(|number| format!("{number:05} ")).collect();
    let (_directory, service) = file(&text);
    let answer = get(&service, "/file.txt", "Range: bytes=100001-250000\r\n");
    assert_eq!(status(&answer), 206);
    assert!(body(&answer) == &text[100_001..=250_000]);
}

#[test]
fn a_range_beyond_the_end_cannot_be_satisfied() {
    for (text, ranges) in [
        ("0123456789", ["bytes=10-", "bytes=10-20", "bytes=-0"]),
        ("", ["bytes=0-", "bytes=0-0", "bytes=-1"]),
    ] {
        let (_directory, service) = file(text);
        for range in ranges {
            let answer = get(&service, "/file.txt", &format!("Range: {range}\r\n"));
            assert_eq!((status(&answer), body(&answer)), (416, ""), "{range}");
            let whole = format!("bytes */{}", text.len());
            assert_eq!(field(&answer, "Content-Range"), Some(whole.as_str()), "{range}");
        }
    }
}

#[test]
fn other_ranges_are_ignored() {
    let (_directory, service) = file("0123456789");
    for fields in [
        "Range: bytes=0-1,3-4",
        "Range: bytes=5-2",
        "Range: bytes",
        "Range: bytes=x-y",
        "Range: lines=0-1",
        "Range: bytes=0-1\r\nRange: bytes=3-4",
        "Range: bytes=0-1\r\nRange: bytes=3-4\r\nRange: bytes=5-6",
    ] {
        let answer = get(&service, "/file.txt", &format!("{fields}\r\n"));
        assert_eq!((status(&answer), body(&answer)), (200, "0123456789"), "{fields}");
        assert_eq!(field(&answer, "Content-Range"), None);
    }
}

#[test]
fn head_has_no_ranges() {
    let (_directory, service) = file("0123456789");
    let answer = ask(&service, "HEAD /file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!((status(&answer), field(&answer, "Content-Length")), (200, Some("10")));
}
