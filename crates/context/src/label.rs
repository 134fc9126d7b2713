//! Whose stack it is, written where a signal handler finds it: directly above the stack's base.

use crate::chunk::LABEL_SIZE;

/// Whose stack it is: what the [overflow report](crate::overflow) prints.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Label {
    name: *const u8,
    name_length: u32,
    kind: u32,
    id: u64,
}

const _: () = assert!(size_of::<Label>() <= LABEL_SIZE && align_of::<Label>() <= 16);

impl Label {
    pub(crate) const NONE: Label = Label { name: std::ptr::null(), name_length: 0, kind: 0, id: 0 };

    /// A coroutine; an empty name stands for none. The label does not keep the name alive.
    #[inline]
    pub const fn coroutine(id: u64, name: &str) -> Label {
        Label::new(1, id, name)
    }

    /// A generator; an empty name stands for none. The label does not keep the name alive.
    #[inline]
    pub const fn generator(id: u64, name: &str) -> Label {
        Label::new(2, id, name)
    }

    const fn new(kind: u32, id: u64, name: &str) -> Label {
        let length = if name.len() < 256 { name.len() } else { 256 };
        Label { name: name.as_ptr(), name_length: length as u32, kind, id }
    }

    /// The label above `base`. Zeroed memory reads as no label.
    ///
    /// # Safety
    /// `base` must be the base of a slot that has been handed out.
    pub(crate) unsafe fn read(base: usize) -> Label {
        // SAFETY: the caller vouches for the slot; its label area is mapped and any bytes make a `Label`.
        unsafe { (base as *const Label).read_volatile() }
    }

    /// What it labels, in a word; `None` if nothing does.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        match self.kind {
            1 => Some("coroutine"),
            2 => Some("generator"),
            _ => None,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The name's bytes, the first 256 of them.
    ///
    /// # Safety
    /// The contract of [`Stack::set_label`](crate::Stack::set_label) must have been kept.
    pub(crate) unsafe fn name(&self) -> &[u8] {
        if self.name.is_null() || self.kind().is_none() {
            return &[];
        }
        // SAFETY: made from a `&str` that is still alive, as `set_label` demands.
        unsafe { std::slice::from_raw_parts(self.name, self.name_length.min(256) as usize) }
    }
}
