//! Answers to clients that have a copy already.

mod driving;

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use driving::{body, field, get, status};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};
use tempfile::TempDir;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn file(modified: u64) -> (TempDir, Service) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "0123456789").unwrap();
    let modified = UNIX_EPOCH + Duration::new(modified, 5);
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let site = Site::root(directory.path()).unwrap();
    (directory, Service::new(site, Limits::default()))
}

fn tag(service: &Service) -> String {
    let answer = get(service, "/file", "");
    field(&answer, "ETag").unwrap().to_owned()
}

#[test]
fn a_file_tells_when_it_was_modified_and_its_tag() {
    let (directory, service) = file(784_111_777);
    let answer = get(&service, "/file", "");
    assert_eq!(field(&answer, "Last-Modified"), Some(MODIFIED));
    let tag = tag(&service);
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");

    fs::write(directory.path().join("file"), "9876543210").unwrap();
    assert_ne!(self::tag(&service), tag, "another content has another tag");
}

#[test]
fn a_file_from_the_future_was_modified_now() {
    let (_directory, service) = file(4_000_000_000);
    let answer = get(&service, "/file", "");
    assert_eq!(field(&answer, "Last-Modified"), field(&answer, "Date"));
}

#[test]
fn a_client_with_the_same_copy_is_told_that_nothing_changed() {
    let (_directory, service) = file(784_111_777);
    let tag = tag(&service);
    for condition in [
        format!("If-None-Match: {tag}"),
        format!("If-None-Match: W/{tag}"),
        format!("If-None-Match: \"other\", {tag}"),
        format!("If-None-Match: \"other\"\r\nIf-None-Match: {tag}"),
        "if-none-match: *".to_owned(),
        format!("If-Modified-Since: {MODIFIED}"),
        format!("If-Modified-Since: {AFTER}"),
        "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT".to_owned(),
        format!("If-None-Match: {tag}\r\nIf-Modified-Since: {BEFORE}"),
        format!("If-None-Match: {tag}\r\nRange: bytes=0-1"),
    ] {
        let answer = get(&service, "/file", &format!("{condition}\r\n"));
        assert_eq!((status(&answer), body(&answer)), (304, ""), "{condition}");
        assert_eq!(field(&answer, "ETag"), Some(tag.as_str()));
        assert_eq!(field(&answer, "Content-Length"), None);
    }
}

#[test]
fn a_client_with_another_copy_gets_the_file() {
    let (_directory, service) = file(784_111_777);
    for condition in [
        "If-None-Match: \"other\"".to_owned(),
        "If-None-Match: nonsense".to_owned(),
        format!("If-Modified-Since: {BEFORE}"),
        "If-Modified-Since: yesterday".to_owned(),
        format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {AFTER}"),
    ] {
        let answer = get(&service, "/file", &format!("{condition}\r\n"));
        assert_eq!((status(&answer), body(&answer)), (200, "0123456789"), "{condition}");
    }
}

#[test]
fn a_precondition_that_fails_is_answered_412() {
    let (_directory, service) = file(784_111_777);
    let tag = tag(&service);
    for (condition, code) in [
        (format!("If-Match: {tag}"), 200),
        ("If-Match: *".to_owned(), 200),
        ("If-Match: \"other\"".to_owned(), 412),
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Unmodified-Since: {MODIFIED}"), 200),
        (format!("If-Unmodified-Since: {BEFORE}"), 412),
        (format!("If-Match: {tag}\r\nIf-Unmodified-Since: {BEFORE}"), 200),
    ] {
        assert_eq!(status(&get(&service, "/file", &format!("{condition}\r\n"))), code, "{condition}");
    }
}

#[test]
fn a_range_is_sent_only_of_the_copy_that_the_client_has() {
    let (_directory, service) = file(784_111_777);
    let tag = tag(&service);
    for (condition, code) in [
        (tag.clone(), 206),
        (format!("W/{tag}"), 200),
        ("\"other\"".to_owned(), 200),
        (MODIFIED.to_owned(), 206),
        (AFTER.to_owned(), 200),
        (BEFORE.to_owned(), 200),
        ("nonsense".to_owned(), 200),
    ] {
        let fields = format!("Range: bytes=2-3\r\nIf-Range: {condition}\r\n");
        assert_eq!(status(&get(&service, "/file", &fields)), code, "{condition}");
    }
}

#[test]
fn a_date_is_no_proof_for_a_file_that_may_change_in_the_same_second() {
    for (modified, code) in [(driving::date().seconds(), 200), (driving::date().seconds() - 1, 206)] {
        let (_directory, service) = file(modified.try_into().unwrap());
        let answer = get(&service, "/file", "");
        let date = field(&answer, "Last-Modified").unwrap();
        let fields = format!("Range: bytes=2-3\r\nIf-Range: {date}\r\n");
        assert_eq!(status(&get(&service, "/file", &fields)), code);
    }
}
