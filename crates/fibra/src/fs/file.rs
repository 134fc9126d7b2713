//! The open file.

use super::OpenOptions;
use super::cached::{self, Description};
use crate::blocking::{run, run_apart};
use crate::call;
use fibra_driver::{Call, op};
use rustix::io::Errno;
use std::fmt;
use std::fs::{FileTimes, Metadata, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

/// An open file, as [`std::fs::File`].
///
/// In a coroutine each operation runs on a thread of the [blocking pool](crate::blocking) while the coroutine parks; on an OS thread
/// it runs in place.
///
/// Reads first ask for what is in the page cache and copy that on the worker itself, at most 64 KiB at a time, which costs little
/// more than std's read; only what has to come from the disk makes the trip. So reading a file's next few kilobytes is cheap, and so is reading
/// a cached file whole with a buffer of any size. A write always makes the trip, about ten microseconds:
/// collect small ones in a [`BufWriter`](io::BufWriter).
///
/// Through `&File` and clones many contexts may use a file at once; they share its position, as ever. (Std's `Arc<File>` reads and writes by itself, which
/// Rust allows std alone: with an `Arc` of this one, it is `(&*file).read(…)`.) Those that read or write
/// at a place of their own ([`FileExt`]) are never in each other's way. (A descriptor that was duplicated elsewhere, or inherited, shares the
/// position without this type knowing: a cached read through one then waits on the worker for a slow read through the other.)
///
/// Dropping it closes the file in place, and errors of that are not reported: [`close`](Self::close) reports them, and does not keep the worker.
pub struct File {
    std: std::fs::File,
    description: Arc<Description>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// As std's: see [`OpenOptions::open`].
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing: a new one, or an old one that is emptied.
    ///
    /// # Errors
    /// As std's: see [`OpenOptions::open`].
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file, for reading and writing.
    ///
    /// # Errors
    /// As std's: something of that name exists; see [`OpenOptions::open`].
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// Settings for opening a file.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// A file that std opened.
    pub fn from_std(file: std::fs::File) -> File {
        File { std: file, description: Arc::default() }
    }

    /// The file as std's.
    pub fn into_std(self) -> std::fs::File {
        self.std
    }

    /// Closes the file, where that may block, and says what came of it. The descriptor is gone, whatever the answer.
    ///
    /// It is what dropping the file does, but for two things: errors are reported, which some file systems have for the last close (a network file system that
    /// writes back then, a quota that is found exceeded); and where releasing the file takes long, as that of a large one without a name does, the worker goes on
    /// with others. When this returns the file's locks are free, unless a clone has them. It says nothing of whether the data is on the disk:
    /// [`sync_all`](Self::sync_all) does.
    ///
    /// # Errors
    /// What `close(2)` says.
    pub fn close(self) -> io::Result<()> {
        let fd = OwnedFd::from(self.std);
        run(|| op::close(fd))
    }

    /// Waits until the file's data and metadata are on the disk.
    ///
    /// # Errors
    /// As std's: something could not be written, now or earlier.
    pub fn sync_all(&self) -> io::Result<()> {
        call::make(op::Sync::all(self.std.as_fd()))
    }

    /// Waits until the file's data is on the disk, and of the metadata what it takes to read it.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub fn sync_data(&self) -> io::Result<()> {
        call::make(op::Sync::data(self.std.as_fd()))
    }

    /// Reads at a place of its own into several buffers, one after the other, as std's `FileExt::read_vectored_at`, which is unstable there.
    ///
    /// ```
    /// use fibra::fs::File;
    /// use std::io::{IoSlice, IoSliceMut};
    ///
    /// # let path = std::env::temp_dir().join(format!("fibra-doc-vectored-{}", std::process::id()));
    /// fibra::run(|| {
    ///     let file = File::options().read(true).write(true).create(true).open(&path)?;
    ///     file.write_vectored_at(&[IoSlice::new(b"head"), IoSlice::new(b"body")], 100)?;
    ///     let (mut head, mut body) = ([0; 4], [0; 4]);
    ///     let count = file.read_vectored_at(&mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)], 100)?;
    ///     assert_eq!((count, &head, &body), (8, b"head", b"body"));
    ///     std::fs::remove_file(&path)
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As a read at a place: the file is not open for reading, or has no places.
    pub fn read_vectored_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        // With nothing but empty ones at hand the answer would look like the end of the file.
        let empty = buffers.iter().take_while(|buffer| buffer.is_empty()).count();
        let buffers = &mut buffers[empty..];
        let cached = match (cached::all_at_once(buffers), buffers.first_mut()) {
            (_, None) => return self.read_at(&mut [], offset),
            (0, Some(first)) => {
                let at_once = &mut [IoSliceMut::new(cached::at_once(first))];
                self.description.read_cached_at(&self.std, at_once, offset)
            }
            (whole, _) => self.description.read_cached_at(&self.std, &mut buffers[..whole], offset),
        };
        match cached {
            Some(read) => Ok(read),
            None => self.at_place(op::ReadVectoredAt::new(self.std.as_fd(), buffers, offset)?),
        }
    }

    /// Writes several buffers at a place of its own, one after the other, as std's `FileExt::write_vectored_at`, which is unstable there.
    ///
    /// # Errors
    /// As a write at a place: the file is not open for writing, or has no places.
    pub fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.at_place(op::WriteVectoredAt::new(self.std.as_fd(), buffers, offset)?)
    }

    /// Cuts the file, or extends it with zeroes, to `size` bytes.
    ///
    /// # Errors
    /// As std's: the file is not open for writing, or there is no room.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        run(|| self.std.set_len(size))
    }

    /// What the file system knows of the file.
    ///
    /// # Errors
    /// As std's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        run(|| self.std.metadata())
    }

    /// Another handle to the same open file: the position is shared.
    ///
    /// # Errors
    /// As std's: descriptors are used up.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File { std: self.std.try_clone()?, description: Arc::clone(&self.description) })
    }

    /// Changes the permissions of the file.
    ///
    /// # Errors
    /// As std's: the file belongs to somebody else.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        run(|| self.std.set_permissions(permissions))
    }

    /// Changes the times of the last access and the last modification.
    ///
    /// # Errors
    /// As std's: the file belongs to somebody else, or its file system cannot store the times.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        run(|| self.std.set_times(times))
    }

    /// Changes the time of the last modification.
    ///
    /// # Errors
    /// As [`set_times`](Self::set_times).
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Takes the file's advisory lock for this handle and its clones alone, as [`std::fs::File::lock`], and waits for it as long as it takes.
    ///
    /// The lock belongs to the open file: it keeps out other processes, and other handles that were opened on their own, not the
    /// coroutines that share this one. While it waits, it does so on an OS thread that the blocking pool does not count, so that
    /// whoever has the lock finds a thread for what there is to do before it unlocks.
    ///
    /// # Errors
    /// As std's: the file system has no locks.
    pub fn lock(&self) -> io::Result<()> {
        match self.try_lock() {
            Err(TryLockError::WouldBlock) => run_apart(|| self.std.lock()),
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// The same for a lock that others may share.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_shared(&self) -> io::Result<()> {
        match self.try_lock_shared() {
            Err(TryLockError::WouldBlock) => run_apart(|| self.std.lock_shared()),
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when it is not; as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        run(|| self.std.try_lock())
    }

    /// Takes the lock to share it, if nobody has it alone.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when somebody does; as [`lock`](Self::lock).
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        run(|| self.std.try_lock_shared())
    }

    /// Gives the lock back. Closing the last handle does so too.
    ///
    /// # Errors
    /// As std's.
    pub fn unlock(&self) -> io::Result<()> {
        run(|| self.std.unlock())
    }

    /// Sends what is at the file's position to a socket in non-blocking mode: as many bytes as that takes, and at most `limit`.
    pub(crate) fn send_to(&self, socket: BorrowedFd<'_>, limit: usize) -> Result<usize, Errno> {
        self.at_position(|file| rustix::fs::sendfile(socket, file, None, limit))
    }

    /// Makes a call at a place of its own: by a ring, if the file has places.
    fn at_place<C: Call<Output = usize> + Send>(&self, mut call: C) -> io::Result<usize> {
        if self.description.has_places(&self.std) { call::make(call) } else { run(|| call.call()) }
    }

    /// Makes a call that uses the file's position, where it may block.
    fn at_position<T: Send>(&self, call: impl FnOnce(&std::fs::File) -> T + Send) -> T {
        run(|| {
            let _slow = self.description.position.slow();
            call(&self.std)
        })
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_once = &mut [IoSliceMut::new(cached::at_once(buffer))];
        match self.description.read_cached(&self.std, at_once, None) {
            Some(read) => Ok(read),
            None => self.at_position(|mut file| file.read(buffer)),
        }
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // With nothing but empty ones at hand the answer would look like the end of the file.
        let empty = buffers.iter().take_while(|buffer| buffer.is_empty()).count();
        let buffers = &mut buffers[empty..];
        let whole = cached::all_at_once(buffers);
        if whole == 0 {
            // A short read into the first, or nothing at all.
            return self.read(buffers.first_mut().map_or(&mut [], |first| &mut first[..]));
        }
        match self.description.read_cached(&self.std, &mut buffers[..whole], None) {
            Some(read) => Ok(read),
            None => self.at_position(|mut file| file.read_vectored(buffers)),
        }
    }

    /// In one trip, and in one piece: the size of the file is known.
    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.at_position(|mut file| file.read_to_end(buffer))
    }

    fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        self.at_position(|mut file| file.read_to_string(text))
    }
}

impl Write for &File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.at_position(|mut file| file.write(data))
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.at_position(|mut file| file.write_vectored(data))
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.at_position(|mut file| file.write_all(data))
    }

    /// In one trip, however many pieces there are.
    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = arguments.as_str() {
            return self.write_all(text.as_bytes());
        }
        let mut text = String::new();
        fmt::Write::write_fmt(&mut text, arguments)
            .map_err(|_| io::Error::other("a formatting trait implementation returned an error"))?;
        self.write_all(text.as_bytes())
    }

    /// Nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut file = &self.std;
        match to {
            // This is arithmetic; where the end is, a network file system may have to ask.
            SeekFrom::Start(_) | SeekFrom::Current(_)
                if let Some(_quick) = self.description.position.quick() =>
            {
                file.seek(to)
            }
            _ => self.at_position(|mut file| file.seek(to)),
        }
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buffer)
    }

    fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(text)
    }
}

impl Write for File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(data)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        (&*self).write_all(data)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        (&*self).write_fmt(arguments)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let at_once = &mut [IoSliceMut::new(cached::at_once(buffer))];
        match self.description.read_cached_at(&self.std, at_once, offset) {
            Some(read) => Ok(read),
            None if self.description.has_places(&self.std) => {
                call::make(op::ReadAt::new(self.std.as_fd(), buffer, offset)?)
            }
            None => run(|| self.std.read_at(buffer, offset)),
        }
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        if self.description.has_places(&self.std) {
            return call::make(op::WriteAt::new(self.std.as_fd(), data, offset)?);
        }
        run(|| self.std.write_at(data, offset))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.std.as_raw_fd()
    }
}

#[expect(unsafe_code, reason = "the trait is an unsafe one")]
impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: the caller gives us an open descriptor that nobody else owns.
        File::from(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.std.into_raw_fd()
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from_std(file)
    }
}

impl From<File> for std::fs::File {
    fn from(file: File) -> std::fs::File {
        file.into_std()
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::from_std(fd.into())
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.std.into()
    }
}

/// For a child process's standard stream.
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.std.into()
    }
}
