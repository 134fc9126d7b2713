//! The header of `recvmsg(2)` and `sendmsg(2)`, which a ring's entry points to: it stands in the operation.

use rustix::net::SocketAddrAny;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Room for a header, and for the address of a peer.
pub(super) struct Message {
    header: MaybeUninit<libc::msghdr>,
    name: MaybeUninit<libc::sockaddr_storage>,
    /// A header's own buffer, where there is only one.
    slice: MaybeUninit<libc::iovec>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Message {
    pub(super) fn new() -> Message {
        Message { header: MaybeUninit::uninit(), name: MaybeUninit::uninit(), slice: MaybeUninit::uninit() }
    }

    fn set(&mut self, slices: *mut libc::iovec, count: usize) -> &mut libc::msghdr {
        // SAFETY: a header of zeroes is one without name, buffers and control data. (Not all of its fields are public on every libc.)
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = slices;
        header.msg_iovlen = count as _;
        self.header.write(header)
    }

    /// Of buffers to be filled.
    pub(super) fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> *mut libc::msghdr {
        // `IoSliceMut` has the layout of `iovec` on Unix, as its documentation says.
        self.set(buffers.as_mut_ptr().cast(), buffers.len())
    }

    /// Of buffers to be sent.
    pub(super) fn send(&mut self, buffers: &[IoSlice<'_>]) -> *const libc::msghdr {
        // The kernel only reads them.
        self.set(buffers.as_ptr().cast_mut().cast(), buffers.len())
    }

    /// Of one buffer to be filled, and room for the sender's address.
    pub(super) fn receive_from(&mut self, buffer: &mut [u8]) -> *mut libc::msghdr {
        let slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let slice: *mut _ = self.slice.write(slice);
        let name = self.name.as_mut_ptr();
        let header = self.set(slice, 1);
        header.msg_name = name.cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header
    }

    /// The sender's address, if the kernel gave one.
    ///
    /// # Safety
    /// The header was made by [`receive_from`](Self::receive_from), and the kernel has carried it out with success.
    pub(super) unsafe fn sender(&self) -> Option<SocketAddrAny> {
        // SAFETY: the header was written by `receive_from`, and the kernel has set the length.
        let length = unsafe { self.header.assume_init_ref() }.msg_namelen;
        // SAFETY: the kernel has written so many bytes of an address.
        unsafe { address_from(&self.name, length) }
    }
}

/// An address that the kernel wrote, if it wrote one.
///
/// # Safety
/// The first `length` bytes of `storage` are initialised: an address.
pub(super) unsafe fn address_from(
    storage: &MaybeUninit<libc::sockaddr_storage>,
    length: libc::socklen_t,
) -> Option<SocketAddrAny> {
    let least = size_of::<libc::sa_family_t>() as libc::socklen_t;
    let most = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: our caller's promise; the bounds are those that the function demands.
    (least..=most).contains(&length).then(|| unsafe { SocketAddrAny::read(storage.as_ptr().cast(), length) })
}
