//! A directory as a page of HTML, for sites that list theirs.
//!
//! Names come from the filesystem and may hold anything: in text they are escaped, in links percent-encoded.
//! The links are relative (`./name`), so a name with a colon in it is not taken for a scheme.

use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{Dir, FileType};
use rustix::io::Result;

use super::encode;

/// The most names one page shows; what is beyond is counted.
const MOST: usize = 10_000;

/// The page for the open directory, which is at `path` (a name as in
/// [`SitePath::name`](super::SitePath::name)).
pub(super) fn page(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    let mut beyond = 0usize;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if names.len() == MOST {
            beyond += 1;
            continue;
        }
        names.push((entry.file_type() == FileType::Directory, name.to_vec()));
    }
    names.sort_unstable_by(|one, other| (!one.0, &one.1).cmp(&(!other.0, &other.1)));

    let mut page = Vec::with_capacity(256 + names.len() * 64);
    page.extend_from_slice(b"<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>/");
    escape(path, &mut page);
    page.extend_from_slice(b"</title></head>\n<body><h1>/");
    escape(path, &mut page);
    page.extend_from_slice(b"</h1>\n<ul>\n");
    if !path.is_empty() {
        page.extend_from_slice(b"<li><a href=\"../\">../</a></li>\n");
    }
    for (is_directory, name) in &names {
        let slash: &[u8] = if *is_directory { b"/" } else { b"" };
        page.extend_from_slice(b"<li><a href=\"./");
        encode(name, &mut page);
        page.extend_from_slice(slash);
        page.extend_from_slice(b"\">");
        escape(name, &mut page);
        page.extend_from_slice(slash);
        page.extend_from_slice(b"</a></li>\n");
    }
    if beyond > 0 {
        writeln!(page, "<li>and {beyond} more</li>").expect("a Vec takes whatever is written");
    }
    page.extend_from_slice(b"</ul></body></html>\n");
    Ok(page)
}

/// Appends a name as text of HTML; what is not UTF-8 in it becomes U+FFFD.
fn escape(name: &[u8], out: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(name).chars() {
        match character {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
