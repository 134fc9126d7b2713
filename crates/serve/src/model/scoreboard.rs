//! What each worker process is doing, where the parent and the other workers can read it, also after its death.
//!
//! A file in memory, with a row for each worker, that all have inherited. Only the worker writes its row, and the parent when it has died: so there
//! is nothing to lock. A row is written by one call; who reads in the middle of it may see old and new numbers together, each of which was true.

use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Of a row, in bytes: three numbers of eight.
const ROW: usize = 24;

#[derive(Debug)]
pub(super) struct Scoreboard {
    file: File,
    rows: usize,
}

/// What a worker says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Not 0 once it serves; how it waits, if there is more than one way.
    pub(super) ready: u64,
    /// How many connections were accepted by it and by those whose successor it is.
    pub(super) accepted: u64,
    /// How many connections it serves; in the end, how many were cut off.
    pub(super) open: u64,
}

impl Scoreboard {
    /// # Errors
    /// When memory or descriptors are out.
    pub(super) fn new(rows: usize) -> io::Result<Scoreboard> {
        let file = File::from(memfd_create("fibra-scoreboard", MemfdFlags::CLOEXEC)?);
        file.set_len((rows * ROW) as u64)?;
        Ok(Scoreboard { file, rows })
    }

    pub(super) fn write(&self, number: usize, row: Row) {
        let mut bytes = [0; ROW];
        for (part, value) in bytes.chunks_exact_mut(8).zip([row.ready, row.accepted, row.open]) {
            part.copy_from_slice(&value.to_ne_bytes());
        }
        if let Err(error) = self.file.write_all_at(&bytes, (number * ROW) as u64) {
            // The numbers are then older than they should be, which costs nobody a connection.
            tracing::debug!(%error, "the scoreboard cannot be written");
        }
    }

    pub(super) fn read(&self, number: usize) -> Row {
        self.all()[number]
    }

    /// All rows; of what cannot be read, zeros.
    pub(super) fn all(&self) -> Vec<Row> {
        let mut bytes = vec![0; self.rows * ROW];
        if let Err(error) = self.file.read_exact_at(&mut bytes, 0) {
            tracing::debug!(%error, "the scoreboard cannot be read");
        }
        let number = |part: &[u8]| u64::from_ne_bytes(part.try_into().expect("a number has eight bytes"));
        let row = |row: &[u8]| Row {
            ready: number(&row[..8]),
            accepted: number(&row[8..16]),
            open: number(&row[16..]),
        };
        bytes.chunks_exact(ROW).map(row).collect()
    }

    /// Whether every worker is busy.
    pub(super) fn is_full(&self) -> bool {
        self.all().iter().all(|row| row.open > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_as_it_was_written_and_the_board_is_full_when_all_are_busy() {
        let board = Scoreboard::new(3).unwrap();
        for number in 0..3 {
            assert!(!board.is_full());
            let row = Row { ready: 1, accepted: 7 + number as u64, open: 1 };
            board.write(number, row);
            assert_eq!(board.read(number), row);
        }
        assert!(board.is_full());
        board.write(1, Row::default());
        assert!(!board.is_full());
    }
}
