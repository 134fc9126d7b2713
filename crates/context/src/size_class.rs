//! The sizes stacks come in: four steps to each doubling, from 16 KiB to 1 GiB.
//!
//! A few sizes rather than any size, so that a freed stack finds its next user. At most a quarter is rounded away,
//! and as nothing is resident until it is touched, what that costs is address space. Where pages are larger than a
//! step (16 and 64 KiB kernels) the size goes up to the next one that is a whole number of pages.

/// The smallest usable stack, in bytes.
pub(crate) const SMALLEST: usize = 16 * 1024;
/// The largest usable stack, in bytes.
pub(crate) const LARGEST: usize = 1 << 30;
/// How many size classes there are.
pub(crate) const COUNT: usize = 65;

const SMALLEST_LOG2: usize = SMALLEST.ilog2() as usize;

/// One of the sizes; the index of its free list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// The smallest class that holds `size` bytes, or `None` beyond [`LARGEST`].
    pub(crate) fn holding(size: usize) -> Option<SizeClass> {
        SizeClass::holding_on_pages_of(size, rustix::param::page_size())
    }

    fn holding_on_pages_of(size: usize, page: usize) -> Option<SizeClass> {
        if size > LARGEST {
            return None;
        }
        let size = size.max(SMALLEST).max(page);
        // 2^log2 < size <= 2^(log2 + 1), and `quarters` of 2^(log2 - 2) hold it: 5 to 8 of them.
        let log2 = (size - 1).ilog2() as usize;
        let quarters = size.div_ceil(1 << (log2 - 2));
        let mut class = SizeClass(((log2 + 1 - SMALLEST_LOG2) * 4 + quarters - 8) as u8);
        while !class.bytes().is_multiple_of(page) {
            class.0 += 1;
        }
        Some(class)
    }

    /// The usable bytes of a stack of this class.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        (4 + (self.0 as usize & 3)) << (SMALLEST_LOG2 - 2 + (self.0 as usize >> 2))
    }

    /// The position of this class in a table of [`COUNT`].
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The class at `index`, which must have come from [`SizeClass::index`].
    #[inline]
    pub(crate) fn at(index: usize) -> SizeClass {
        debug_assert!(index < COUNT);
        SizeClass(index as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_it_was_asked_for_and_wastes_at_most_a_quarter() {
        for page in [4096, 16384, 65536] {
            let mut size = 1;
            while size <= LARGEST {
                for size in [size - 1, size, size + 1].into_iter().filter(|size| *size <= LARGEST) {
                    let class = SizeClass::holding_on_pages_of(size, page).unwrap();
                    assert!(class.bytes() >= size && class.bytes().is_multiple_of(page), "{size} on {page}");
                    assert!(class.index() < COUNT);
                    let asked = size.max(SMALLEST).max(page * 4);
                    assert!(class.bytes() * 4 <= asked * 5 + 4, "{size} on {page} became {}", class.bytes());
                }
                size = size * 9 / 8 + 1;
            }
        }
    }

    #[test]
    fn classes_ascend_from_the_smallest_to_the_largest() {
        assert_eq!(SizeClass::at(0).bytes(), SMALLEST);
        assert_eq!(SizeClass::at(COUNT - 1).bytes(), LARGEST);
        for index in 1..COUNT {
            assert!(SizeClass::at(index - 1).bytes() < SizeClass::at(index).bytes());
            assert_eq!(
                SizeClass::holding_on_pages_of(SizeClass::at(index).bytes(), 4096),
                Some(SizeClass::at(index))
            );
        }
        assert_eq!(SizeClass::holding_on_pages_of(LARGEST + 1, 4096), None);
    }
}
