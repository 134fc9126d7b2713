//! How a file is to be opened.

use super::File;
use crate::blocking::run;
use crate::call;
use fibra_driver::op;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How a file is to be opened, as [`std::fs::OpenOptions`]; [`OpenOptionsExt`] has the mode and the flags.
///
/// ```no_run
/// use fibra::fs::OpenOptions;
///
/// let log = OpenOptions::new().create(true).append(true).open("log")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    std: std::fs::OpenOptions,
    /// The same as they were set here; none for options that were std's, which do not tell.
    set: Option<Set>,
}

/// What std's options have.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "as std's")]
struct Set {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    custom_flags: i32,
}

impl Set {
    /// The flags of `open(2)`, as std makes them. `None` when the options do not go together, which std says best.
    fn flags(&self) -> Option<OFlags> {
        let access = match (self.read, self.write, self.append) {
            (true, false, false) => OFlags::RDONLY,
            (false, true, false) => OFlags::WRONLY,
            (true, true, false) => OFlags::RDWR,
            (false, _, true) => OFlags::WRONLY | OFlags::APPEND,
            (true, _, true) => OFlags::RDWR | OFlags::APPEND,
            (false, false, false) => return None,
        };
        let changes = self.truncate || self.create || self.create_new;
        if changes && (!(self.write || self.append) || (self.append && self.truncate && !self.create_new)) {
            return None;
        }
        let creation = match (self.create, self.truncate, self.create_new) {
            (false, false, false) => OFlags::empty(),
            (true, false, false) => OFlags::CREATE,
            (false, true, false) => OFlags::TRUNC,
            (true, true, false) => OFlags::CREATE | OFlags::TRUNC,
            (_, _, true) => OFlags::CREATE | OFlags::EXCL,
        };
        let custom = OFlags::from_bits_retain(self.custom_flags as u32) & !OFlags::ACCMODE;
        Some(access | creation | custom)
    }
}

impl OpenOptions {
    /// Nothing is allowed yet.
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub fn new() -> OpenOptions {
        let set = Set {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            custom_flags: 0,
        };
        OpenOptions { std: std::fs::OpenOptions::new(), set: Some(set) }
    }

    /// Whether the file can be read.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.std.read(read);
        self.note(|set| set.read = read)
    }

    /// Whether the file can be written. What is there is overwritten.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.std.write(write);
        self.note(|set| set.write = write)
    }

    /// Whether every write goes to the end of the file, wherever that is then.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.std.append(append);
        self.note(|set| set.append = append)
    }

    /// Whether the file is emptied. It needs [`write`](Self::write).
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.std.truncate(truncate);
        self.note(|set| set.truncate = truncate)
    }

    /// Whether the file is created when there is none. It needs [`write`](Self::write) or [`append`](Self::append).
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.std.create(create);
        self.note(|set| set.create = create)
    }

    /// Whether the file must be created here and now: one that exists, or a symbolic link, is an error.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.std.create_new(create_new);
        self.note(|set| set.create_new = create_new)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As std's: there is no such file (or there is one, see [`create_new`](Self::create_new)), access is not allowed, the options do
    /// not go together, descriptors are used up.
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let (options, path) = (&self.std, path.as_ref());
        let Some((set, flags)) = self.set.and_then(|set| Some((set, set.flags()?))) else {
            return run(|| options.open(path)).map(File::from_std);
        };
        call::make(op::Open::new(path, flags, Mode::from_bits_retain(set.mode))?).map(File::from)
    }

    fn note(&mut self, change: impl FnOnce(&mut Set)) -> &mut OpenOptions {
        self.set.as_mut().map(change);
        self
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.std.mode(mode);
        self.note(|set| set.mode = mode)
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.std.custom_flags(flags);
        self.note(|set| set.custom_flags = flags)
    }
}

impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> OpenOptions {
        OpenOptions { std: options, set: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn options_are_those_of_std_on_a_thread() {
        options_are_those_of_std("thread");
    }

    #[test]
    fn options_are_those_of_std_in_a_coroutine() {
        crate::Runtime::builder().workers(1).run(|| options_are_those_of_std("coroutine")).unwrap();
    }

    /// Every combination is opened as std opens it.
    fn options_are_those_of_std(place: &str) {
        let directory = std::env::temp_dir().join(format!("fibra-options-{place}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (ours, stds) = (directory.join("ours"), directory.join("std"));
        for bits in 0..128_u32 {
            let bit = |n: u32| bits & (1 << n) != 0;
            for path in [&ours, &stds] {
                let _ = std::fs::remove_file(path);
                if bit(6) {
                    std::fs::write(path, "text").unwrap();
                }
            }
            let mut options = OpenOptions::new();
            options.read(bit(0)).write(bit(1)).append(bit(2)).truncate(bit(3)).create(bit(4));
            options.create_new(bit(5)).mode(0o640).custom_flags(OFlags::NOFOLLOW.bits() as i32);
            let expected = options.std.open(&stds);
            let opened = options.open(&ours);
            let flags = |fd: &dyn AsFd| rustix::fs::fcntl_getfl(fd.as_fd()).unwrap();
            match (&opened, &expected) {
                (Ok(opened), Ok(expected)) => {
                    assert_eq!(flags(opened), flags(expected), "{options:?}");
                    let (ours, stds) = (std::fs::metadata(&ours).unwrap(), std::fs::metadata(&stds).unwrap());
                    assert_eq!((ours.len(), ours.permissions()), (stds.len(), stds.permissions()));
                }
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected.to_string()),
                _ => panic!("{options:?}: {opened:?}, {expected:?}"),
            }
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
