//! tokio, in two ways: its own file, each operation of which is a call on the blocking pool, and another one to go to
//! another place; or one call for each read, `pread` at the place. A task a reader, on `current_thread`.

use std::io::SeekFrom;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{PAGE, Reader};
use crate::rival::Rival;
use crate::runtime::Tokio;

pub(super) fn read(readers: Vec<Reader>) {
    Tokio::new(Rival::TokioCt).run(async move {
        let tasks: Vec<_> = readers.into_iter().map(|reader| tokio::spawn(read_one(reader))).collect();
        for task in tasks {
            task.await.expect("measured tasks do not panic");
        }
    });
}

pub(super) fn read_on_pool(readers: Vec<Reader>) {
    Tokio::new(Rival::TokioPool).run(async move {
        let tasks: Vec<_> =
            readers.into_iter().map(|reader| tokio::spawn(read_one_on_pool(reader))).collect();
        for task in tasks {
            task.await.expect("measured tasks do not panic");
        }
    });
}

async fn read_one(mut reader: Reader) {
    let mut file = match reader.file() {
        Ok(file) => File::from_std(file),
        Err(error) => return reader.took(Err(error), &[]),
    };
    let mut buffer = [0; PAGE];
    while let Some(offset) = reader.next() {
        let place = if reader.follows() { Ok(offset) } else { file.seek(SeekFrom::Start(offset)).await };
        let result = match place {
            Ok(_) => file.read(&mut buffer).await,
            Err(error) => Err(error),
        };
        reader.took(result, &buffer);
    }
}

async fn read_one_on_pool(mut reader: Reader) {
    let file = match reader.file() {
        Ok(file) => Arc::new(file),
        Err(error) => return reader.took(Err(error), &[]),
    };
    let mut buffer = Box::new([0; PAGE]);
    while let Some(offset) = reader.next() {
        let file = Arc::clone(&file);
        let result;
        (result, buffer) = tokio::task::spawn_blocking(move || {
            let result = file.read_at(&mut buffer[..], offset);
            (result, buffer)
        })
        .await
        .expect("measured tasks do not panic");
        reader.took(result, &buffer[..]);
    }
}
