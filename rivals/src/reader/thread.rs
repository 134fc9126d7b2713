//! A thread of the operating system for each reader, and `pread`.

use std::os::unix::fs::FileExt as _;

use super::{PAGE, Reader};
use crate::runtime::{Blocking as _, Thread};

pub(super) fn read(readers: Vec<Reader>) {
    let tasks: Vec<_> = readers.into_iter().map(|reader| Thread::spawn(move || read_one(reader))).collect();
    tasks.into_iter().for_each(Thread::join);
}

fn read_one(mut reader: Reader) {
    let mut buffer = [0; PAGE];
    while let Some(offset) = reader.next() {
        let result = reader.file.read_at(&mut buffer, offset);
        reader.took(result, &buffer);
    }
}
