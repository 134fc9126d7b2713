//! Copying takes every byte along, in order, whatever ends a wait; and leaves the sockets as they were.

mod network;

use fibra::fs::File;
use fibra::io::{Destination, Origin, Transfer, copy};
use fibra::net::{Shutdown, TcpStream, UnixStream};
use network::{Random, duplicate, on_workers, storm_end, tcp_pair};
use rustix::fs::OFlags;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];

/// More than sockets and pipes hold.
const MUCH: usize = 20 << 20;

/// Bytes of which each tells its place.
fn bytes_from(place: usize, count: usize) -> Vec<u8> {
    (place..place + count).map(byte_at).collect()
}

fn byte_at(place: usize) -> u8 {
    (place ^ place >> 8 ^ place >> 16) as u8
}

/// Reads to the end, and sees that each byte is the one for its place.
fn check_to_the_end(mut from: impl Read, mut place: usize) -> usize {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return place,
            count => {
                for byte in &buffer[..count] {
                    assert_eq!(*byte, byte_at(place), "byte {place}");
                    place += 1;
                }
            }
        }
    }
}

fn is_nonblocking(socket: &impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(socket.as_fd()).unwrap().contains(OFlags::NONBLOCK)
}

/// A file with so many bytes of which each tells its place.
fn file_of(count: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes_from(0, count)).unwrap();
    file.rewind().unwrap();
    File::from_std(file)
}

/// Copies from one pair of sockets to another, between somebody who writes and somebody who reads.
fn goes_through<S, T>((mut source, from): (S, S), (to, sink): (T, T), end: fn(&T))
where
    S: Write + Send + Sync + Origin + AsFd + 'static,
    T: Read + Send + Sync + Destination + AsFd + 'static,
{
    fibra::spawn(move || source.write_all(&bytes_from(0, MUCH)).unwrap());
    let copying = fibra::spawn(move || {
        assert_eq!(copy(&mut &from, &mut &to).unwrap(), MUCH as u64);
        assert!(!is_nonblocking(&from) && !is_nonblocking(&to), "they are as they were");
        end(&to);
    });
    assert_eq!(check_to_the_end(sink, 0), MUCH);
    copying.join().unwrap();
}

#[test]
fn streams_are_copied_to_their_end() {
    on_workers(BOTH, || {
        let (tcp, unix) = (tcp_pair, || UnixStream::pair().unwrap());
        let end: fn(&TcpStream) = |to| to.shutdown(Shutdown::Write).unwrap();
        let end_unix: fn(&UnixStream) = |to| to.shutdown(Shutdown::Write).unwrap();
        goes_through(tcp(), tcp(), end);
        goes_through(unix(), unix(), end_unix);
        goes_through(tcp(), unix(), end_unix);
        goes_through(unix(), tcp(), end);
    });
}

#[test]
fn both_directions_are_copied_at_once() {
    on_workers(BOTH, || {
        let ((client, one), (other, server)) = (tcp_pair(), tcp_pair());
        fibra::scope(|scope| {
            for (from, to) in [(&one, &other), (&other, &one)] {
                scope.spawn(move || {
                    copy(&mut &*from, &mut &*to).unwrap();
                    to.shutdown(Shutdown::Write).unwrap();
                });
            }
            for peer in [&client, &server] {
                scope.spawn(move || {
                    (&*peer).write_all(&bytes_from(0, MUCH)).unwrap();
                    peer.shutdown(Shutdown::Write).unwrap();
                });
                scope.spawn(move || assert_eq!(check_to_the_end(peer, 0), MUCH));
            }
        });
        assert!(!is_nonblocking(&one) && !is_nonblocking(&other));
    });
}

#[test]
fn files_are_copied_from_their_position_and_no_further_than_allowed() {
    on_workers(BOTH, || {
        let (file, (to, sink)) = (file_of(MUCH), tcp_pair());
        let reading = fibra::spawn(move || check_to_the_end(sink, 1000));
        (&file).seek(SeekFrom::Start(1000)).unwrap();
        let mut part = (&file).take(5_000_000);
        assert_eq!(copy(&mut part, &mut &to).unwrap(), 5_000_000);
        assert_eq!((part.limit(), (&file).stream_position().unwrap()), (0, 5_001_000));
        assert_eq!(copy(&mut &file, &mut &to).unwrap(), MUCH as u64 - 5_001_000);
        assert_eq!(copy(&mut &file, &mut &to).unwrap(), 0, "the end");
        to.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reading.join().unwrap(), MUCH);
    });
}

/// A pipe has no places: neither `sendfile(2)` nor a copy through another pipe takes it.
#[test]
fn files_without_places_are_copied_by_a_buffer() {
    on_workers(BOTH, || {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&bytes_from(0, MUCH)).unwrap());
        let ((to, sink), pipe) = (tcp_pair(), File::from(OwnedFd::from(reader)));
        let reading = fibra::spawn(move || check_to_the_end(sink, 0));
        assert_eq!(copy(&mut &pipe, &mut &to).unwrap(), MUCH as u64);
        drop(to);
        assert_eq!(reading.join().unwrap(), MUCH);
        writing.join().unwrap();
    });
}

#[test]
fn part_of_a_stream_is_copied_and_the_rest_stays() {
    on_workers(BOTH, || {
        let ((mut source, from), (to, mut sink)) = (tcp_pair(), tcp_pair());
        source.write_all(b"head and body").unwrap();
        let mut head = (&from).take(8);
        assert_eq!(copy(&mut head, &mut &to).unwrap(), 8);
        let mut bytes = [0; 8];
        sink.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"head and");
        assert_eq!(from.try_read(&mut bytes).unwrap(), 5);
    });
}

#[test]
fn on_an_os_thread_it_blocks_the_thread() {
    let ((mut source, from), (to, sink)) = (tcp_pair(), tcp_pair());
    let writing = std::thread::spawn(move || source.write_all(&bytes_from(0, MUCH)).unwrap());
    let copying = std::thread::spawn(move || copy(&mut &from, &mut &to).unwrap());
    assert_eq!(check_to_the_end(sink, 0), MUCH);
    writing.join().unwrap();
    assert_eq!(copying.join().unwrap(), MUCH as u64);
}

/// Nobody reads, so that what is taken stays on its way; the wait is ended in each way there is.
#[test]
fn what_is_on_its_way_when_a_wait_ends_is_kept() {
    on_workers(BOTH, || {
        for way in 0..4 {
            let ((mut source, from), (to, sink)) = (tcp_pair(), tcp_pair());
            let writing = fibra::spawn(move || source.write_all(&bytes_from(0, MUCH)).unwrap());
            let mut transfer = Transfer::new();
            let moment = Duration::from_millis(5);
            to.set_nonblocking(way == 0).unwrap();
            to.set_write_timeout((way == 1).then_some(moment)).unwrap();
            // The wait may be the one for the origin.
            while transfer.pending() == 0 {
                match way {
                    0 | 1 => {
                        let error = transfer.copy(&mut &from, &mut &to).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    }
                    2 => drop(fibra::timeout(moment, || transfer.copy(&mut &from, &mut &to)).unwrap_err()),
                    _ => fibra::scope(|scope| {
                        let copying = scope.spawn(|| transfer.copy(&mut &from, &mut &to));
                        fibra::sleep(moment);
                        copying.cancel();
                        assert!(copying.join().is_err());
                    }),
                }
            }
            to.set_nonblocking(false).unwrap();
            to.set_write_timeout(None).unwrap();
            assert!(!is_nonblocking(&from) && !is_nonblocking(&to));
            let (before, kept) = (transfer.copied(), transfer.pending());
            let reading = fibra::spawn(move || check_to_the_end(sink, 0));
            let copied = transfer.copy(&mut &from, &mut &to).unwrap();
            assert!(copied >= kept as u64);
            assert_eq!((before + copied, transfer.pending()), (MUCH as u64, 0));
            assert_eq!(transfer.copied(), MUCH as u64);
            drop(to);
            assert_eq!(reading.join().unwrap(), MUCH);
            writing.join().unwrap();
        }
    });
}

/// Copies that are ended again and again, by timeouts and requests, between somebody who writes and somebody who reads at moments of their own.
#[test]
fn no_byte_is_lost_to_waits_that_end() {
    on_workers(&[1, 2, 4], || {
        let (random, until) = (Random::seeded(), storm_end());
        fibra::scope(|scope| {
            for kind in 0..3 {
                let random = random.split();
                scope.spawn(move || match kind {
                    0 => storm(tcp_pair(), tcp_pair(), &random, until),
                    1 => storm(UnixStream::pair().unwrap(), tcp_pair(), &random, until),
                    _ => storm(tcp_pair(), UnixStream::pair().unwrap(), &random, until),
                });
            }
        });
    });
}

fn storm<S, T>((source, from): (S, S), (to, sink): (T, T), random: &Random, until: Instant)
where
    S: Write + Send + Sync + Origin + 'static,
    T: Read + Send + Sync + Destination + 'static,
    for<'a> &'a T: Read,
    for<'a> &'a S: Write,
{
    let [writers, readers] = [(); 2].map(|()| random.split());
    fibra::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut written = 0;
            while Instant::now() < until {
                let count = writers.below(200_000) as usize;
                (&source).write_all(&bytes_from(written, count)).unwrap();
                written += count;
                writers.pause();
            }
            written
        });
        let reading = scope.spawn(move || {
            let (mut buffer, mut place) = (vec![0; 100_000], 0);
            loop {
                let room = 1 + readers.below(buffer.len() as u64) as usize;
                let count = (&sink).read(&mut buffer[..room]).unwrap();
                if count == 0 {
                    return place;
                }
                assert!(buffer[..count].iter().enumerate().all(|(at, byte)| *byte == byte_at(place + at)));
                place += count;
                readers.pause();
            }
        });
        let (mut transfer, mut ended) = (Transfer::new(), 0);
        loop {
            let copied = fibra::timeout(random.micros(400), || transfer.copy(&mut &from, &mut &to));
            if let Ok(copied) = copied {
                copied.unwrap();
                break;
            }
            ended += 1;
        }
        drop(to);
        let written = writing.join().unwrap();
        assert_eq!(reading.join().unwrap(), written);
        assert_eq!((transfer.copied(), transfer.pending()), (written as u64, 0));
        println!("{written} bytes, {ended} waits that ended");
    });
}

#[test]
fn errors_of_either_end_are_told() {
    on_workers(BOTH, || {
        let ((mut source, from), (to, sink)) = (tcp_pair(), tcp_pair());
        network::reset_on_close(&sink);
        drop(sink);
        source.write_all(b"to nobody").unwrap();
        let error = copy(&mut &from, &mut &to).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        let (to, _sink) = tcp_pair();
        network::reset_on_close(&source);
        drop(source);
        let error = copy(&mut &from, &mut &to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (_source, from) = tcp_pair();
        from.close();
        assert_eq!(copy(&mut &from, &mut &to).unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn copying_ends_when_one_of_the_sockets_is_closed() {
    on_workers(BOTH, || {
        let ((_source, from), (to, _sink)) = (tcp_pair(), tcp_pair());
        let closer = from.try_clone().unwrap();
        let copying = fibra::spawn(move || copy(&mut &from, &mut &to).unwrap_err());
        network::let_others_wait();
        closer.close();
        assert_eq!(copying.join().unwrap().kind(), ErrorKind::NotConnected);
    });
}

/// Whatever is closed, and when: what has been moved is known, so that what comes of another origin is neither mixed up with it nor left behind.
#[test]
fn closing_in_the_middle_puts_nothing_out_of_step() {
    on_workers(BOTH, || {
        let random = Random::seeded();
        for _ in 0..200 {
            let ((mut source, from), (to, mut sink)) = (tcp_pair(), tcp_pair());
            let closer = from.try_clone().unwrap();
            source.write_all(&[b'1'; 1000]).unwrap();
            let mut transfer = Transfer::new();
            let turns = random.below(40);
            let closing = fibra::spawn(move || {
                (0..turns).for_each(|_| fibra::yield_now());
                closer.close();
            });
            let error = transfer.copy(&mut &from, &mut &to).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            closing.join().unwrap();
            let first = transfer.copied() + transfer.pending() as u64;
            assert!(first == 0 || first == 1000, "{first}");
            let (mut source, from) = tcp_pair();
            source.write_all(&[b'2'; 1000]).unwrap();
            drop(source);
            transfer.copy(&mut &from, &mut &to).unwrap();
            assert_eq!((transfer.copied(), transfer.pending()), (first + 1000, 0));
            drop(to);
            let mut all = Vec::new();
            sink.read_to_end(&mut all).unwrap();
            let expected = [vec![b'1'; first as usize], vec![b'2'; 1000]].concat();
            assert!(all == expected, "{} bytes instead of {}", all.len(), expected.len());
        }
    });
}

/// A splice stops before urgent data for ever, where a read steps over it; and at the end of the stream it says that there is no more, though there is.
#[test]
fn bytes_behind_urgent_data_are_copied() {
    on_workers(BOTH, || {
        for (is_late, on_thread) in [(false, false), (true, false), (false, true), (true, true)] {
            let ((mut source, from), (to, mut sink)) = (tcp_pair(), tcp_pair());
            source.set_nodelay(true).unwrap();
            let copying = move || copy(&mut &from, &mut &to).unwrap();
            let copying: Box<dyn FnOnce() -> u64> = if on_thread {
                let thread = fibra::thread::spawn(copying);
                Box::new(|| thread.join().unwrap())
            } else {
                let coroutine = fibra::spawn(copying);
                Box::new(|| coroutine.join().unwrap())
            };
            let pause = || {
                if is_late {
                    fibra::sleep(Duration::from_millis(5))
                }
            };
            pause();
            source.write_all(b"before").unwrap();
            pause();
            rustix::net::send(&source, b"!", rustix::net::SendFlags::OOB).unwrap();
            pause();
            source.write_all(b"behind").unwrap();
            pause();
            drop(source);
            assert_eq!(copying(), 12);
            let mut text = String::new();
            sink.read_to_string(&mut text).unwrap();
            assert_eq!(text, "beforebehind");
        }
    });
}

#[test]
fn duplicate_that_comes_in_while_it_is_copied_from_waits_as_ever() {
    on_workers(BOTH, || {
        let ((mut source, from), (to, _sink)) = (tcp_pair(), tcp_pair());
        fibra::scope(|scope| {
            let copying = scope.spawn(|| copy(&mut (&from).take(1), &mut &to));
            let watch = duplicate(&from);
            while !is_nonblocking(&watch) {
                fibra::yield_now();
            }
            let other = TcpStream::from(duplicate(&from));
            source.write_all(b"x").unwrap();
            copying.join().unwrap().unwrap();
            let reading = scope.spawn(move || (&other).read(&mut [0; 8]));
            network::let_others_wait();
            source.write_all(b"yz").unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), 2);
        });
    });
}

/// The mode is the open file's, which the clone has too.
#[test]
fn socket_that_goes_to_std_while_a_clone_is_copied_gets_its_mode_afterwards() {
    on_workers(BOTH, || {
        let ((mut source, from), (to, _sink)) = (tcp_pair(), tcp_pair());
        for nonblocking in [true, false] {
            let (clone, watch) = (from.try_clone().unwrap(), duplicate(&from));
            fibra::scope(|scope| {
                let copying = scope.spawn(|| copy(&mut (&from).take(1), &mut &to));
                while !is_nonblocking(&watch) {
                    fibra::yield_now();
                }
                clone.set_nonblocking(nonblocking).unwrap();
                drop(std::net::TcpStream::from(clone));
                assert!(is_nonblocking(&watch), "it is being copied from");
                from.set_nonblocking(false).unwrap();
                source.write_all(b"x").unwrap();
                copying.join().unwrap().unwrap();
            });
            assert_eq!(is_nonblocking(&watch), nonblocking);
            rustix::io::ioctl_fionbio(&watch, false).unwrap();
        }
    });
}
