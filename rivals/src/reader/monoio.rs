//! monoio: a task a reader, on io_uring where the kernel has it. The buffer belongs to the operation while it runs.

use anyhow::Result;
use monoio::FusionDriver;
use monoio::fs::File;

use super::{PAGE, Reader};

pub(super) fn read(readers: Vec<Reader>) -> Result<()> {
    monoio::RuntimeBuilder::<FusionDriver>::new().build()?.block_on(async {
        let files: Result<Vec<File>> =
            readers.iter().map(|reader| Ok(File::from_std(reader.file()?)?)).collect();
        let tasks: Vec<_> = (readers.into_iter().zip(files?))
            .map(|(reader, file)| monoio::spawn(read_one(reader, file)))
            .collect();
        for task in tasks {
            task.await;
        }
        Ok(())
    })
}

async fn read_one(mut reader: Reader, file: File) {
    let mut buffer = vec![0; PAGE];
    while let Some(offset) = reader.next() {
        let result;
        (result, buffer) = file.read_at(buffer, offset).await;
        reader.took(result, &buffer);
    }
}
