//! Readers of a file, one runtime a file, all on one worker. Each reader has an open file of its own (so that one's
//! read-ahead is no other's) and reads 4 KiB at a time, one read after the other, until the [`Meter`] says that it is
//! over; what differs is how the waiting is done. Every page says which it is, and is asked.

#[cfg(feature = "fibra")]
mod fibra;
mod meter;
mod monoio;
mod thread;
mod tokio;
mod uring;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::{Result, bail};
use rustix::fs::Advice;

use self::meter::{Meter, Share};
use crate::cli::{Access, Read};
use crate::process::Figures;
use crate::rival::Rival;

/// What is read at once.
pub(crate) const PAGE: usize = 4_096;

/// Reads until the time is up, or all has been read that may be read once.
pub(crate) fn run(read: &Read) -> Result<Figures> {
    let pages = u32::try_from(std::fs::metadata(&read.file)?.len() / PAGE as u64)?;
    if (pages as usize) < read.readers {
        bail!("the file has fewer pages than readers");
    }
    let meter = Arc::new(Meter::new(read)?);
    let order = match read.access {
        Access::Random => {
            let mut order: Vec<u32> = (0..pages).collect();
            fastrand::Rng::with_seed(read.seed).shuffle(&mut order);
            Some(Arc::from(order))
        }
        Access::Sequential => None,
    };
    let readers: Result<Vec<Reader>> = (0..read.readers)
        .map(|index| {
            let file = File::open(&read.file)?;
            if read.access == Access::Random {
                rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
            }
            let part = |index: usize| (u64::from(pages) * index as u64 / read.readers as u64) as u32;
            let part = part(index)..part(index + 1);
            let plan = Plan { order: order.clone(), next: part.start, part, once: read.once };
            Ok(Reader { file, plan, share: meter.share(index), meter: Arc::clone(&meter), page: 0 })
        })
        .collect();
    let readers = readers?;

    match read.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra | Rival::FibraUringSubmit | Rival::FibraUringTry => fibra::read(readers)?,
        Rival::Monoio => monoio::read(readers)?,
        Rival::Thread => thread::read(readers),
        Rival::TokioCt => tokio::read(readers),
        Rival::TokioPool => tokio::read_on_pool(readers),
        Rival::Uring => uring::read(readers)?,
        rival => bail!("{} takes no part in this measurement", rival.label()),
    }
    meter.figures()
}

/// The pages of one reader.
struct Plan {
    /// All pages of the file in the order drawn; none when they are read as they come.
    order: Option<Arc<[u32]>>,
    /// What of that order, or of the file, is this reader's.
    part: Range<u32>,
    next: u32,
    /// The end of the part is the end; else it begins anew.
    once: bool,
}

impl Plan {
    /// The next page.
    fn step(&mut self) -> Option<u32> {
        if self.next == self.part.end {
            if self.once {
                return None;
            }
            self.next = self.part.start;
        }
        let place = self.next;
        self.next += 1;
        Some(self.order.as_ref().map_or(place, |order| order[place as usize]))
    }

    /// How much of what may be read once has been read.
    fn used(&self) -> f32 {
        if self.once { (self.next - self.part.start) as f32 / self.part.len() as f32 } else { 0.0 }
    }
}

/// One reader: its open file, what it is to read, and whom it tells.
struct Reader {
    file: File,
    plan: Plan,
    share: Share,
    meter: Arc<Meter>,
    /// The page that is being read.
    page: u32,
}

impl Reader {
    /// Another handle for this reader's open file, for a runtime that has a type of its own for it.
    fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Where to read next; `None` when it is over.
    #[inline]
    fn next(&mut self) -> Option<u64> {
        if !self.meter.goes_on(self.plan.used()) {
            return None;
        }
        let Some(page) = self.plan.step() else {
            self.meter.end();
            return None;
        };
        self.page = page;
        Some(u64::from(page) * PAGE as u64)
    }

    /// Whether reads follow each other in the file, so that this one need not be told where to begin.
    fn follows(&self) -> bool {
        self.plan.order.is_none() && self.plan.next - 1 != self.plan.part.start
    }

    /// Takes what a read gave; after a wrong one there is no next.
    #[inline]
    fn took(&mut self, result: io::Result<usize>, buffer: &[u8]) {
        match result {
            Ok(PAGE) if page_number(buffer) == Some(self.page) => self.share.add_one(),
            Ok(PAGE) => self.meter.fail(format!("page {} was read as another one", self.page)),
            Ok(length) => self.meter.fail(format!("a read gave {length} bytes")),
            Err(error) => self.meter.fail(format!("a read failed: {error}")),
        }
    }
}

/// Which page this is, by what stands at its end.
fn page_number(page: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*page.last_chunk()?))
}

/// Writes pages that say which they are, and are else random, from `first` on.
pub(crate) fn write_pages(
    file: &File,
    first: u32,
    pages: &mut [u8],
    rng: &mut fastrand::Rng,
) -> io::Result<()> {
    rng.fill(pages);
    for (number, page) in (first..).zip(pages.chunks_exact_mut(PAGE)) {
        *page.last_chunk_mut().expect("a page is longer than a number") = number.to_ne_bytes();
    }
    file.write_all_at(pages, u64::from(first) * PAGE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(order: Option<&[u32]>, once: bool) -> Plan {
        Plan { order: order.map(Arc::from), part: 2..4, next: 2, once }
    }

    #[test]
    fn a_part_is_read_once_or_over_and_over() {
        let mut once = plan(None, true);
        assert_eq!([once.step(), once.step(), once.step(), once.step()], [Some(2), Some(3), None, None]);
        let mut again = plan(None, false);
        assert_eq!([again.step(), again.step(), again.step()], [Some(2), Some(3), Some(2)]);
    }

    #[test]
    fn an_order_that_was_drawn_is_kept_to() {
        let mut drawn = plan(Some(&[3, 0, 1, 2]), true);
        assert_eq!([drawn.step(), drawn.step(), drawn.step()], [Some(1), Some(2), None]);
        assert!((drawn.used() - 1.0).abs() < f32::EPSILON);
    }
}
