//! fibra: a coroutine a reader, with its buffer on its stack.

use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use fibra::fs::File;

use super::{PAGE, Reader};
use crate::runtime::{Blocking as _, Fibra};

pub(super) fn read(readers: Vec<Reader>) -> Result<()> {
    Fibra::start(move || {
        let files: Result<Vec<File>> =
            readers.iter().map(|reader| Ok(File::from_std(reader.file()?))).collect();
        let tasks: Vec<_> = (readers.into_iter().zip(files?))
            .map(|(reader, file)| Fibra::spawn(move || read_one(reader, &file)))
            .collect();
        tasks.into_iter().for_each(Fibra::join);
        Ok(())
    })?
}

fn read_one(mut reader: Reader, file: &File) {
    let mut buffer = [0; PAGE];
    while let Some(offset) = reader.next() {
        let result = file.read_at(&mut buffer, offset);
        reader.took(result, &buffer);
    }
}
