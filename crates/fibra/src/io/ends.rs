//! What can be copied from, and what to.

use crate::fs::File;
use crate::net::{Socket, TcpStream, UnixStream};
use std::io::Take;

/// What bytes can be copied from: a stream socket, a file from its position on, references to both, and so much of one as a [`Take`] allows.
///
/// The library's types alone implement it.
pub trait Origin: sealed::Origin {}

/// What bytes can be copied to: a stream socket, or a reference to one.
///
/// The library's types alone implement it.
pub trait Destination: sealed::Destination {}

/// Where the bytes are.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A stream socket.
    Socket(Socket<'a>),
    /// An open file, at its position.
    File(&'a File),
}

/// Out of the users' sight.
pub(super) mod sealed {
    use super::{Place, Socket};

    pub trait Origin {
        fn place(&self) -> Place<'_>;

        /// How many bytes may be taken.
        fn limit(&self) -> u64 {
            u64::MAX
        }

        /// So many have been taken.
        fn took(&mut self, _count: u64) {}
    }

    pub trait Destination {
        fn socket(&self) -> Socket<'_>;
    }
}

macro_rules! socket_ends {
    ($($type:ty),*) => {$(
        impl Origin for $type {}

        impl sealed::Origin for $type {
            fn place(&self) -> Place<'_> {
                Place::Socket(self.socket())
            }
        }

        impl Destination for $type {}

        impl sealed::Destination for $type {
            fn socket(&self) -> Socket<'_> {
                <$type>::socket(self)
            }
        }
    )*};
}

socket_ends!(TcpStream, UnixStream);

impl Origin for File {}

impl sealed::Origin for File {
    fn place(&self) -> Place<'_> {
        Place::File(self)
    }
}

impl<T: Origin> Origin for &T {}

impl<T: Origin> sealed::Origin for &T {
    fn place(&self) -> Place<'_> {
        (**self).place()
    }
}

impl<T: Destination> Destination for &T {}

impl<T: Destination> sealed::Destination for &T {
    fn socket(&self) -> Socket<'_> {
        (**self).socket()
    }
}

impl<T: Origin> Origin for Take<T> {}

impl<T: Origin> sealed::Origin for Take<T> {
    fn place(&self) -> Place<'_> {
        self.get_ref().place()
    }

    fn limit(&self) -> u64 {
        Take::limit(self).min(self.get_ref().limit())
    }

    fn took(&mut self, count: u64) {
        self.set_limit(Take::limit(self) - count);
        self.get_mut().took(count);
    }
}
