//! One io_uring loop, written by hand: a read under way for each reader, what the completions of one round ask for given
//! to the kernel in one call.

use std::io;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;

use super::{PAGE, Reader};
use crate::runtime::ring;

pub(super) fn read(mut readers: Vec<Reader>) -> Result<()> {
    let entries = readers.len().next_power_of_two() as u32;
    let mut ring = ring(entries, 2 * entries)?;
    // The kernel writes to the buffers while it reads: they stay where they are, and are only looked at in between.
    let buffers = Box::leak(vec![0; readers.len() * PAGE].into_boxed_slice()).as_mut_ptr();
    // SAFETY: there is a buffer for each reader.
    let buffer = |index: usize| unsafe { buffers.add(index * PAGE) };
    let operation = |reader: &mut Reader, index: usize| -> Option<Entry> {
        let offset = reader.next()?;
        let file = Fd(reader.file.as_raw_fd());
        Some(
            opcode::Read::new(file, buffer(index), PAGE as u32)
                .offset(offset)
                .build()
                .user_data(index as u64),
        )
    };

    let (submitter, mut submissions, mut completions) = ring.split();
    let mut under_way = 0;
    for (index, reader) in readers.iter_mut().enumerate() {
        if let Some(read) = operation(reader, index) {
            // SAFETY: the file is open and the buffer untouched until the read has completed.
            unsafe { submissions.push(&read) }.expect("an entry for each reader");
            under_way += 1;
        }
    }
    while under_way > 0 {
        submissions.sync();
        // What has been taken must not count as what is waited for.
        completions.sync();
        match submitter.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("io_uring_enter"),
        }
        submissions.sync();
        completions.sync();
        for completion in &mut completions {
            let index = completion.user_data() as usize;
            let reader = &mut readers[index];
            let result = completion.result();
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            // SAFETY: the read has completed: nobody writes to the buffer now.
            reader.took(result, unsafe { std::slice::from_raw_parts(buffer(index), PAGE) });
            match operation(reader, index) {
                // SAFETY: as above; and this reader's entry has been taken.
                Some(read) => unsafe { submissions.push(&read) }.expect("an entry for each reader"),
                None => under_way -= 1,
            }
        }
    }
    Ok(())
}
