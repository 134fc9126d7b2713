//! Files do what std's do, and no file stalls another coroutine.

mod limit;

use fibra::fs::{self, File};
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// One worker, so that whatever blocks it stops everything.
fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
    fibra::Runtime::builder().workers(1).run(main).unwrap()
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Bytes that tell where in the file they stand.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251) as u8 ^ (i % 251) as u8).collect()
}

/// A file that is in the page cache. The flag says whether this file system can be asked for what is cached.
fn cached_file(directory: &TempDir, contents: &[u8]) -> (File, bool) {
    let path = directory.path().join("cached");
    std::fs::write(&path, contents).unwrap();
    std::fs::read(&path).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let mut byte = [0];
    let answer = rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    (File::from_std(file), answer == Ok(1))
}

/// Takes a file out of the page cache, where that is possible.
fn chill(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

fn pipe() -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

/// A coroutine that counts the milliseconds in which it is let run, until it is dropped.
struct Heartbeat {
    beats: Rc<Cell<u32>>,
    over: Rc<Cell<bool>>,
}

impl Heartbeat {
    fn start() -> Heartbeat {
        let heartbeat = Heartbeat { beats: Rc::default(), over: Rc::default() };
        let (beats, over) = (Rc::clone(&heartbeat.beats), Rc::clone(&heartbeat.over));
        fibra::spawn_local(move || {
            while !over.get() {
                beats.set(beats.get() + 1);
                fibra::sleep(Duration::from_millis(1));
            }
        });
        heartbeat
    }

    fn beats(&self) -> u32 {
        self.beats.get()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.over.set(true);
    }
}

/// A program that notes all it sees, written once against `std::fs` and once against `fibra::fs`.
macro_rules! program {
    ($name:ident, $($fs:ident)::+) => {
        mod $name {
            use $($fs)::+::{self as fs, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
            use std::fmt::Debug;
            use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
            use std::os::fd::{AsFd, AsRawFd, OwnedFd};
            use std::os::unix::fs::{
                DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt,
            };
            use std::path::Path;
            use std::time::{Duration, SystemTime};

            fn error<T: Debug>(result: io::Result<T>) -> String {
                let error = result.unwrap_err();
                format!("{:?} {error}", error.kind())
            }

            pub(super) fn run(root: &Path, symlink: fn(&Path, &Path) -> io::Result<()>) -> io::Result<Vec<String>> {
                let mut seen = Vec::new();
                macro_rules! see {
                    ($what:expr) => {{
                        let what = format!("{} = {:?}", stringify!($what), $what);
                        seen.push(what.replace(root.to_str().unwrap(), "ROOT"));
                    }};
                }
                let at = |name: &str| root.join(name);

                // Directories.
                fs::create_dir(at("one"))?;
                see!(error(fs::create_dir(at("one"))));
                see!(error(fs::create_dir(at("missing/two"))));
                fs::create_dir_all(at("one/two/three"))?;
                fs::create_dir_all(at("one/two/three"))?;
                DirBuilder::new().recursive(true).mode(0o700).create(at("private/inner"))?;
                see!(fs::metadata(at("private/inner"))?.permissions().mode());
                see!(error(fs::remove_dir(at("one"))));
                see!(error(fs::read_dir(at("missing"))));

                // Whole files.
                fs::write(at("text"), "first line\nsecond line\n")?;
                see!(fs::read_to_string(at("text"))?);
                see!(fs::read(at("text"))?.len());
                fs::write(at("binary"), [0xff, 0xfe])?;
                see!(error(fs::read_to_string(at("binary"))));
                see!(error(fs::read(at("missing"))));
                see!(error(fs::write(at("one"), "")));
                see!(fs::copy(at("text"), at("copy"))?);
                see!(error(fs::copy(at("one"), at("copy2"))));
                fs::rename(at("copy"), at("one/two/moved"))?;
                see!((fs::exists(at("copy"))?, fs::exists(at("one/two/moved"))?));
                see!(error(fs::exists(at("text/below"))));
                fs::hard_link(at("text"), at("hard"))?;
                see!(fs::metadata(at("hard"))?.nlink());
                symlink(Path::new("text"), &at("soft"))?;
                see!(fs::read_link(at("soft"))?);
                see!(fs::symlink_metadata(at("soft"))?.file_type().is_symlink());
                see!(fs::metadata(at("soft"))?.is_file());
                see!(fs::canonicalize(at("one/../soft"))?);
                see!(error(fs::canonicalize(at("missing"))));
                let mut permissions = fs::metadata(at("hard"))?.permissions();
                permissions.set_readonly(true);
                fs::set_permissions(at("hard"), permissions)?;
                see!(fs::metadata(at("text"))?.permissions().readonly());

                // Listing.
                let mut entries = Vec::new();
                for entry in fs::read_dir(root)? {
                    let entry = entry?;
                    let ino = entry.ino() == fs::symlink_metadata(entry.path())?.ino();
                    let length = entry.metadata().map(|metadata| metadata.is_file().then(|| metadata.len()))?;
                    entries.push(format!(
                        "{:?} {:?} {:?} {ino} {length:?}",
                        entry.file_name(),
                        entry.path(),
                        entry.file_type()?.is_dir()
                    ));
                    see!(format!("{entry:?}").starts_with("DirEntry("));
                }
                entries.sort();
                see!(entries);

                // An open file.
                let mut file = File::create_new(at("file"))?;
                see!(error(File::create_new(at("file"))));
                see!(error(File::open(at("missing"))));
                file.write_all(b"0123456789")?;
                write!(file, "{}-{:>4}", "ten", 11)?;
                see!(file.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")])?);
                file.flush()?;
                see!(file.stream_position()?);
                see!(file.seek(SeekFrom::End(-4))?);
                see!(error(file.seek(SeekFrom::Current(-100))));
                see!(error(file.seek(SeekFrom::End(-100))));
                let mut four = [0; 4];
                file.read_exact(&mut four)?;
                see!(four);
                see!(file.read(&mut four)?);
                see!(error(file.read_exact(&mut four)));
                file.rewind()?;
                let (mut first, mut second) = ([0; 3], [0; 4]);
                let buffers = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut []), IoSliceMut::new(&mut second)];
                see!(file.read_vectored(buffers)?);
                see!((first, second));
                see!(file.read_vectored(&mut [])?);
                see!(file.read(&mut [])?);
                let mut rest = String::from("rest: ");
                see!(file.read_to_string(&mut rest)?);
                see!(rest);
                let mut again = vec![1];
                see!((&file).read_to_end(&mut again)?);
                see!(again);
                see!(file.read_at(&mut four, 2)?);
                see!(four);
                see!(error(file.read_exact_at(&mut four, 19)));
                see!(error(file.read_at(&mut four, u64::MAX)));
                see!(file.write_at(b"XY", 1)?);
                file.write_all_at(b"Z", 30)?;
                see!(file.metadata()?.len());
                see!(fs::read(at("file"))?);
                file.set_len(5)?;
                file.sync_data()?;
                file.sync_all()?;
                see!(fs::read(at("file"))?);
                see!(error(File::open(at("file"))?.write(b"x")));
                see!(error(File::create(at("file"))?.read(&mut four)));
                see!(error(File::open(at("one"))?.read(&mut four)));
                let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
                file.set_modified(long_ago)?;
                see!(file.metadata()?.modified()?);
                file.set_times(FileTimes::new().set_accessed(long_ago))?;
                see!(file.metadata()?.accessed()?);
                file.set_permissions(fs::Permissions::from_mode(0o640))?;
                see!(fs::metadata(at("file"))?.mode());

                // Options.
                let mut appending = OpenOptions::new().append(true).create(true).mode(0o600).open(at("log"))?;
                appending.write_all(b"one\n")?;
                let mut clone = appending.try_clone()?;
                writeln!(clone, "two")?;
                see!(fs::read_to_string(at("log"))?);
                see!(fs::metadata(at("log"))?.permissions().mode());
                see!(error(File::options().open(at("log"))));
                see!(error(File::options().read(true).custom_flags(0o200_000).open(at("log"))));
                see!(File::options().write(true).truncate(true).open(at("log"))?.metadata()?.len());
                let mut lines = BufReader::new(File::open(at("text"))?).lines();
                see!(lines.next().transpose()?);

                // Locks.
                let (one, other) = (File::open(at("text"))?, File::open(at("text"))?);
                one.lock_shared()?;
                see!(other.try_lock_shared().is_ok());
                see!(matches!(one.try_lock(), Err(TryLockError::WouldBlock)));
                other.unlock()?;
                one.lock()?;
                see!(matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock)));
                drop(one);
                other.lock()?;

                // Conversions.
                see!(other.as_fd().as_raw_fd() == other.as_raw_fd());
                see!(format!("{other:?}").starts_with("File { fd: "));
                let mut other = File::from(OwnedFd::from(other));
                see!(io::copy(&mut other, &mut io::sink())?);

                // The end.
                fs::remove_file(at("soft"))?;
                see!(error(fs::remove_file(at("soft"))));
                see!(error(fs::remove_file(at("one"))));
                fs::remove_dir(at("one/two/three"))?;
                fs::remove_dir_all(at("one"))?;
                see!(error(fs::remove_dir_all(at("one"))));
                see!(fs::read_dir(root)?.count());
                Ok(seen)
            }
        }
    };
}

program!(with_std, std::fs);
program!(with_fibra, fibra::fs);

#[test]
fn a_program_sees_what_it_sees_with_std() {
    let directory = scratch();
    let expected =
        with_std::run(directory.path(), |original, link| std::os::unix::fs::symlink(original, link)).unwrap();
    assert!(expected.len() > 70, "{}", expected.len());
    let fibra_symlink: fn(&Path, &Path) -> io::Result<()> =
        |original, link| fs::unix::symlink(original, link);

    let directory = scratch();
    let in_coroutine = on_one_worker(|| with_fibra::run(directory.path(), fibra_symlink).unwrap());
    assert_eq!(in_coroutine, expected);

    let directory = scratch();
    assert_eq!(with_fibra::run(directory.path(), fibra_symlink).unwrap(), expected, "on an OS thread");
}

#[test]
fn a_heartbeat_goes_on_while_a_large_cold_file_is_read() {
    const SIZE: usize = 96 << 20;
    let directory = scratch();
    let path = directory.path().join("large");
    let contents = pattern(SIZE);
    std::fs::write(&path, &contents).unwrap();
    chill(&path);
    on_one_worker(|| {
        let mut file = File::open(&path).unwrap();
        let mut buffer = vec![0; SIZE];
        let heartbeat = Heartbeat::start();
        fibra::yield_now();
        let before = heartbeat.beats();
        file.read_exact(&mut buffer).unwrap();
        // A worker that waited for the disk would let none through: the reading coroutine would not once have parked.
        assert!(heartbeat.beats() - before > 3, "{} beats", heartbeat.beats() - before);
        assert!(buffer == contents);
    });
}

#[test]
fn a_second_reader_of_a_file_does_not_stall_the_worker_behind_a_slow_first() {
    const SIZE: usize = 96 << 20;
    let directory = scratch();
    let path = directory.path().join("large");
    std::fs::write(&path, pattern(SIZE)).unwrap();
    chill(&path);
    // Its beginning is cached, so that the second reader has no reason of its own to leave the worker.
    std::fs::File::open(&path).unwrap().read_exact(&mut vec![0; 1 << 20]).unwrap();
    on_one_worker(|| {
        let file = Arc::new(File::open(&path).unwrap());
        let heartbeat = Heartbeat::start();
        let reading = Arc::clone(&file);
        let first = fibra::spawn_local(move || (&*reading).read_to_end(&mut Vec::new()).unwrap());
        fibra::yield_now();
        // Sooner or later the kernel makes one of these wait until that read is over.
        let mut clone = file.try_clone().unwrap();
        let (mut second, mut longest) = (0, 0);
        while !first.is_finished() {
            let before = heartbeat.beats();
            second += clone.read(&mut [0; 16]).unwrap();
            longest = longest.max(heartbeat.beats() - before);
        }
        assert_eq!(first.join().unwrap() + second, SIZE);
        assert!(longest > 3, "{longest} beats");
    });
}

#[test]
fn a_cached_read_keeps_the_turn() {
    let directory = scratch();
    let (mut file, can_be_asked) = cached_file(&directory, &pattern(10_000));
    if !can_be_asked {
        return;
    }
    on_one_worker(|| {
        let others = Rc::new(Cell::new(0));
        let counting = Rc::clone(&others);
        let other = fibra::spawn_local(move || counting.set(1));
        let mut buffer = [0; 4096];
        file.read_exact(&mut buffer).unwrap();
        assert_eq!(file.stream_position().unwrap(), 4096);
        file.seek(SeekFrom::Current(4)).unwrap();
        file.read_exact(&mut buffer[..100]).unwrap();
        file.read_at(&mut buffer, 9_000).unwrap();
        assert_eq!(others.get(), 0, "a read of cached data went away and came back");
        assert_eq!(buffer[..1000], pattern(10_000)[9_000..]);
        other.join().unwrap();
    });
}

#[test]
fn a_reader_of_cached_data_lets_others_run() {
    let directory = scratch();
    let (file, _) = cached_file(&directory, &pattern(100_000));
    on_one_worker(|| {
        let enough = Rc::new(Cell::new(false));
        let over = Rc::clone(&enough);
        let other = fibra::spawn_local(move || {
            (0..10).for_each(|_| fibra::yield_now());
            over.set(true);
        });
        let mut buffer = vec![0; 100_000];
        // Ends because the other has its turn.
        while !enough.get() {
            file.read_exact_at(&mut buffer, 0).unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn long_and_vectored_reads_of_cached_data_lose_nothing() {
    let directory = scratch();
    let contents = pattern(1_000_000);
    let (mut file, _) = cached_file(&directory, &contents);
    on_one_worker(|| {
        let mut read = Vec::new();
        for lengths in [[10, 0, 100_000], [70_000, 10, 10], [0, 65_536, 1], [0, 0, 70_000]].iter().cycle() {
            let mut buffers = lengths.map(|length| vec![0; length]);
            let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            let mut count = file.read_vectored(&mut slices).unwrap();
            if count == 0 {
                break;
            }
            for buffer in buffers {
                let part = count.min(buffer.len());
                read.extend_from_slice(&buffer[..part]);
                count -= part;
            }
        }
        assert!(read == contents);
        file.rewind().unwrap();
        let mut read = vec![0; contents.len()];
        file.read_exact(&mut read).unwrap();
        assert!(read == contents);
    });
}

#[test]
fn vectored_reads_that_begin_with_empty_buffers_are_no_end_of_file() {
    let directory = scratch();
    let (mut file, _) = cached_file(&directory, &pattern(200_000));
    on_one_worker(|| {
        let mut long = vec![0; 100_000];
        let mut buffers = [IoSliceMut::new(&mut []), IoSliceMut::new(&mut long)];
        assert_ne!(file.read_vectored(&mut buffers).unwrap(), 0);
    });
}

#[test]
fn vectored_reads_and_writes_at_a_place_lose_nothing() {
    let directory = scratch();
    let path = directory.path().join("file");
    let contents = pattern(1_000_000);
    on_one_worker(|| {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut at = 0;
        for lengths in [[10, 0, 100_000], [70_000, 10, 10], [0, 65_536, 1], [0, 0, 300_000]].iter().cycle() {
            let mut rest = &contents[at..];
            let parts = lengths.map(|length| rest.split_off(..length.min(rest.len())).unwrap());
            match file.write_vectored_at(&parts.map(IoSlice::new), at as u64).unwrap() {
                0 => break,
                count => at += count,
            }
        }
        assert!(std::fs::read(&path).unwrap() == contents);
        for cold in [false, true] {
            let mut read = Vec::new();
            for lengths in
                [[10, 0, 100_000], [70_000, 10, 10], [0, 65_536, 1], [0, 0, 300_000]].iter().cycle()
            {
                if cold {
                    chill(&path);
                }
                let mut buffers = lengths.map(|length| vec![0; length]);
                let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
                let mut count = file.read_vectored_at(&mut slices, read.len() as u64).unwrap();
                if count == 0 {
                    break;
                }
                for buffer in buffers {
                    let part = count.min(buffer.len());
                    read.extend_from_slice(&buffer[..part]);
                    count -= part;
                }
            }
            assert!(read == contents);
        }
        assert_eq!((&file).stream_position().unwrap(), 0, "places are not the position");
        assert_eq!(file.read_vectored_at(&mut [], 0).unwrap(), 0);
        assert_eq!(file.write_vectored_at(&[], 0).unwrap(), 0);
    });
}

#[test]
fn closing_a_file_frees_its_lock_and_its_number() {
    let directory = scratch();
    let path = directory.path().join("file");
    on_one_worker(|| {
        for _ in 0..100 {
            let [one, other] = [(); 2].map(|()| File::create(&path).unwrap());
            one.lock().unwrap();
            one.close().unwrap();
            other.try_lock().expect("the file has been released");
        }
        // A clone keeps the file.
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        let clone = file.try_clone().unwrap();
        file.close().unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        clone.close().unwrap();
        other.try_lock().unwrap();
        // The other end hears of it.
        let (reader, mut writer) = pipe();
        reader.close().unwrap();
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
    let file = File::open(&path).unwrap();
    let number = file.as_raw_fd();
    file.close().expect("a thread closes in place");
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    assert!(link.is_err() || link.unwrap() != path);
}

#[test]
fn a_close_that_takes_long_lets_others_run() {
    on_one_worker(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut full = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = fibra::net::TcpStream::from(listener.accept().unwrap().0);
        full.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = full.write(&[0; 1 << 16]) {
            sent += count;
        }
        // Such a close waits until the other end has got everything.
        rustix::net::sockopt::set_socket_linger(&full, Some(Duration::from_secs(20))).unwrap();
        let read = Rc::new(Cell::new(0));
        let reads = Rc::clone(&read);
        let reading = fibra::spawn_local(move || {
            let mut buffer = vec![0; 1 << 16];
            while let count @ 1.. = peer.read(&mut buffer).unwrap() {
                reads.set(reads.get() + count);
            }
        });
        File::from(OwnedFd::from(full)).close().unwrap();
        assert_ne!(read.get(), 0, "the worker was kept");
        reading.join().unwrap();
        assert_eq!(read.get(), sent);
    });
}

#[test]
fn what_has_no_places_is_not_read_or_written_at_one() {
    on_one_worker(|| {
        let (file, mut writer) = pipe();
        writer.write_all(b"x").unwrap();
        let error = file.read_vectored_at(&mut [IoSliceMut::new(&mut [0; 4])], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSeekable);
        let writer = File::from(OwnedFd::from(writer));
        assert_eq!(
            writer.write_vectored_at(&[IoSlice::new(b"y")], 0).unwrap_err().kind(),
            ErrorKind::NotSeekable
        );
        let invalid = file.read_vectored_at(&mut [IoSliceMut::new(&mut [0; 4])], 1 << 63).unwrap_err();
        assert_eq!(invalid.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn readers_that_share_a_position_get_each_byte_once() {
    const RECORDS: u32 = 50_000;
    let directory = scratch();
    let contents: Vec<u8> = (0..RECORDS).flat_map(u32::to_le_bytes).collect();
    let path = directory.path().join("records");
    std::fs::write(&path, contents).unwrap();
    fibra::Runtime::builder()
        .workers(2)
        .run(|| {
            let file = Arc::new(File::open(&path).unwrap());
            let readers: Vec<_> = (0..6)
                .map(|reader| {
                    let file = Arc::clone(&file);
                    fibra::spawn(move || {
                        let mut seen = Vec::new();
                        let mut record = [0; 4];
                        loop {
                            if reader == 0 {
                                // Between the others' quick reads a slow one.
                                let mut nothing = Vec::new();
                                (&*file).take(4).read_to_end(&mut nothing).unwrap();
                                let Ok(record) = <[u8; 4]>::try_from(nothing) else { break };
                                seen.push(u32::from_le_bytes(record));
                            } else {
                                if (&*file).read(&mut record).unwrap() == 0 {
                                    break;
                                }
                                seen.push(u32::from_le_bytes(record));
                            }
                        }
                        seen
                    })
                })
                .collect();
            let mut seen: Vec<u32> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..RECORDS).collect::<Vec<_>>());
        })
        .unwrap();
}

#[test]
fn a_read_that_waits_for_a_pipe_lets_others_run() {
    on_one_worker(|| {
        let (mut file, mut writer) = pipe();
        let writing = fibra::spawn_local(move || {
            writer.write_all(b"hello").unwrap();
        });
        let mut text = [0; 5];
        file.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        writing.join().unwrap();
        assert_eq!(file.read(&mut text).unwrap(), 0);
        assert_eq!(
            file.read_at(&mut text, 0).unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::SPIPE.raw_os_error())
        );
        assert_eq!(file.seek(SeekFrom::Start(0)).unwrap_err().kind(), ErrorKind::NotSeekable);
    });
}

#[test]
fn a_file_of_the_kernel_s_own_is_read_to_its_end() {
    on_one_worker(|| {
        let mut status = File::open("/proc/self/status").unwrap();
        let mut text = String::new();
        let mut piece = [0; 7];
        loop {
            let count = status.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        let pid = format!("Pid:\t{}\n", std::process::id());
        assert!(text.contains(&pid), "{text}");
        assert!(fs::read_to_string("/proc/self/status").unwrap().contains(&pid));
        assert_eq!(File::open("/dev/null").unwrap().read(&mut piece).unwrap(), 0);
        assert_eq!(File::open("/dev/zero").unwrap().read(&mut piece).unwrap(), piece.len());
    });
}

#[test]
fn a_non_blocking_descriptor_answers_would_block() {
    let (reader, _writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    on_one_worker(|| {
        let mut file = File::from(OwnedFd::from(reader));
        assert_eq!(file.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_directory_of_many_entries_is_listed_whole_and_lets_others_run() {
    const ENTRIES: u32 = 1500;
    let directory = scratch();
    for entry in 0..ENTRIES {
        std::fs::write(directory.path().join(entry.to_string()), "").unwrap();
    }
    on_one_worker(|| {
        let turns = Rc::new(Cell::new(0));
        let over = Rc::new(Cell::new(false));
        let (counting, ending) = (Rc::clone(&turns), Rc::clone(&over));
        fibra::spawn_local(move || {
            while !ending.get() {
                counting.set(counting.get() + 1);
                fibra::yield_now();
            }
        });
        // The pool may be so quick that there is nothing to wait for; not for ever.
        for _ in 0..10_000 {
            let listing = fs::read_dir(directory.path()).unwrap();
            let mut names: Vec<u32> =
                listing.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
            names.sort_unstable();
            assert_eq!(names, (0..ENTRIES).collect::<Vec<_>>());
            if turns.get() > 1 {
                break;
            }
        }
        over.set(true);
        assert!(turns.get() > 1, "the worker itself read the directory");
    });
}

#[test]
fn an_entry_s_metadata_is_fetched_off_the_worker() {
    let directory = scratch();
    std::fs::write(directory.path().join("entry"), "four").unwrap();
    on_one_worker(|| {
        let entry = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap();
        let turn = Rc::new(Cell::new(false));
        let taking = Rc::clone(&turn);
        let other = fibra::spawn_local(move || taking.set(true));
        assert!(entry.file_type().unwrap().is_file());
        assert!(!turn.get(), "the type came with the entry");
        // The pool may be so quick that there is nothing to wait for; not for ever.
        for _ in 0..100_000 {
            assert_eq!(entry.metadata().unwrap().size(), 4);
            if turn.get() {
                break;
            }
        }
        assert!(turn.get(), "the worker itself fetched the metadata");
        other.join().unwrap();
    });
}

#[test]
fn formatted_output_is_one_write() {
    on_one_worker(|| {
        let (reader, writer) = io::pipe().unwrap();
        // In packet mode each write is read by itself.
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::DIRECT).unwrap();
        let mut file = File::from(OwnedFd::from(writer));
        let (one, two, three) = (1, "two", 3.5);
        write!(file, "{one}, {two}, {three}").unwrap();
        let mut packet = [0; 64];
        let length = File::from(OwnedFd::from(reader)).read(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"1, two, 3.5");
    });
}

#[test]
fn a_file_that_bypasses_the_cache_is_read_right() {
    let directory = scratch();
    let path = directory.path().join("direct");
    std::fs::write(&path, pattern(8192)).unwrap();
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    on_one_worker(|| {
        let mut options = File::options();
        fs::unix::OpenOptionsExt::custom_flags(options.read(true), flags);
        // Not every file system can.
        let Ok(mut file) = options.open(&path) else { return };
        let mut memory = vec![0; 3 * 4096];
        let aligned = memory.as_ptr().align_offset(4096);
        let Ok(4096) = file.read(&mut memory[aligned..aligned + 4096]) else { return };
        assert!(memory[aligned..aligned + 4096] == pattern(8192)[..4096]);
    });
}

#[test]
fn many_coroutines_write_and_read_at_once() {
    let directory = scratch();
    fibra::Runtime::builder()
        .workers(2)
        .run(|| {
            let file = Arc::new(File::create_new(directory.path().join("shared")).unwrap());
            let writers: Vec<_> = (0..200_u64)
                .map(|i| {
                    let file = Arc::clone(&file);
                    fibra::spawn(move || {
                        let block = [i as u8; 4096];
                        file.write_all_at(&block, i * 4096).unwrap();
                        let mut back = [0; 4096];
                        file.read_exact_at(&mut back, i * 4096).unwrap();
                        assert_eq!(back, block);
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            assert_eq!(file.metadata().unwrap().len(), 200 * 4096);
        })
        .unwrap();
}

#[test]
fn a_call_that_is_under_way_hears_a_request_to_stop_only_afterwards() {
    on_one_worker(|| {
        let stop = fibra::Stop::new();
        let (mut file, mut writer) = pipe();
        let read = Arc::new(AtomicBool::new(false));
        let (stopped, reading) = (stop.clone(), Arc::clone(&read));
        let waiting = fibra::spawn(move || {
            stopped.enroll().interruptible(|| {
                file.read_exact(&mut [0]).unwrap();
                reading.store(true, Ordering::Relaxed);
                fibra::park();
            })
        });
        fibra::yield_now();
        stop.trigger();
        fibra::yield_now();
        assert!(!waiting.is_finished());
        writer.write_all(b"x").unwrap();
        assert!(waiting.join().unwrap().is_err());
        assert!(read.load(Ordering::Relaxed), "the read was cut short");
    });
}

/// What an `Arc<File>` of std does by itself takes a reference to the file here.
#[test]
fn file_in_an_arc_reads_writes_and_seeks_through_a_reference() {
    on_one_worker(|| {
        let directory = scratch();
        let path = directory.path().join("shared");
        let options = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = Arc::new(options.unwrap());
        let writing = {
            let file = Arc::clone(&file);
            fibra::spawn(move || (&*file).write_all(b"shared").unwrap())
        };
        writing.join().unwrap();
        (&*file).seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        (&*file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "shared");
    });
}

/// An open that waits has a thread, of the kernel or of the pool, and there are more of those than these take.
#[test]
fn opens_that_wait_for_the_other_end_hold_nobody_up() {
    limit::within(limit::LIMIT, || on_one_worker(open_a_hundred_fifos));
}

fn open_a_hundred_fifos() {
    const FIFOS: usize = 100;
    let folder = scratch();
    let paths: Vec<_> = (0..FIFOS).map(|n| folder.path().join(format!("fifo {n}"))).collect();
    let opening: Vec<_> = paths
        .iter()
        .map(|path| {
            make_fifo(path);
            let path = path.clone();
            fibra::spawn(move || File::open(path).unwrap())
        })
        .collect();
    fibra::yield_now();
    let (path, bytes) = (folder.path().join("file"), vec![7; 1 << 20]);
    let file = File::options().read(true).write(true).create(true).open(&path).unwrap();
    let mut read = vec![0; bytes.len()];
    file.write_at(&bytes, 0).unwrap();
    file.sync_all().unwrap();
    // So much that a ring leaves it to a thread of the kernel.
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, bytes);
    fs::rename(&path, folder.path().join("renamed")).unwrap();
    assert!(!opening.iter().any(fibra::JoinHandle::is_finished));
    for (path, opening) in paths.iter().zip(opening) {
        let _writer = File::options().write(true).open(path).unwrap();
        opening.join().unwrap();
    }
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn to_open_one_end_of_a_fifo_is_to_wait_for_the_other() {
    on_one_worker(|| {
        let folder = scratch();
        let path = folder.path().join("fifo");
        make_fifo(&path);
        let write = |path: std::path::PathBuf| {
            move || File::options().write(true).open(path).unwrap().write_all(b"through").unwrap()
        };
        let read = |path: std::path::PathBuf| {
            move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        };
        // The end that comes second is opened by a thread: before Linux 5.15 a small ring has one thread of the kernel for calls that wait, and the first one has it.
        let reader = fibra::spawn(read(path.clone()));
        fibra::sleep(Duration::from_millis(5));
        assert!(!reader.is_finished());
        let writing = path.clone();
        let writer = fibra::spawn_blocking(move || std::fs::write(writing, "through").unwrap());
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), "through");

        let writer = fibra::spawn(write(path.clone()));
        fibra::sleep(Duration::from_millis(5));
        assert!(!writer.is_finished());
        let reader = fibra::spawn_blocking(move || std::fs::read_to_string(path).unwrap());
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), "through");
    });
}
