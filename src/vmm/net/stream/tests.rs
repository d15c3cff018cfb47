use std::io::{Read, Write};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use super::*;

const MTU: u16 = 65_520;

/// The back end, the feed's other end and the first stream's.
fn connected() -> (Stream, OwnedFd, UnixStream) {
    let (mut stream, feed) = unconnected();
    let program = connect(&feed);
    assert!(stream.take_stream().unwrap());
    (stream, feed, program)
}

fn unconnected() -> (Stream, OwnedFd) {
    let (feed, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    (Stream::new(theirs, MTU).unwrap(), feed)
}

fn connect(feed: &OwnedFd) -> UnixStream {
    let (program, theirs) = UnixStream::pair().unwrap();
    hand_over(feed, &theirs).unwrap();
    program
}

fn send(stream: &mut Stream, content: &[u8]) -> Sent {
    let mut header = [7; HEADER_SIZE + 1];
    let mut content = content.to_vec();
    let first = content.first().copied().unwrap_or_default();
    *header.last_mut().unwrap() = first;
    // The header and the content's first byte in one piece, the rest in another.
    let rest = content.len().min(1);
    stream.send(&[GuestSlice::from(&mut header[..HEADER_SIZE + rest]), GuestSlice::from(&mut content[rest..])]).unwrap()
}

/// What the guest gets, without the header.
fn receive(stream: &mut Stream) -> Option<Vec<u8>> {
    let (mut first, mut second) = ([9; HEADER_SIZE + 2], vec![0; FRAME_MAX]);
    let length = stream.receive(&[GuestSlice::from(&mut first[..]), GuestSlice::from(&mut second[..])]).unwrap()?;
    assert_eq!(first[..HEADER_SIZE], [0; HEADER_SIZE]);
    let whole = [&first[..], &second[..]].concat();
    Some(whole[HEADER_SIZE..length].to_vec())
}

fn framed(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes()[..], content].concat()
}

fn is_ready(descriptor: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn a_frame_goes_out_with_its_length_and_without_the_header() {
    let (mut stream, _feed, mut program) = connected();

    assert_eq!(send(&mut stream, b"hello"), Sent::Taken);

    let mut bytes = [0; 9];
    program.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, framed(b"hello")[..]);
}

#[test]
fn a_frame_that_comes_in_pieces_is_put_together() {
    let (mut stream, _feed, mut program) = connected();
    for byte in framed(b"hello") {
        assert_eq!(receive(&mut stream), None);
        program.write_all(&[byte]).unwrap();
    }

    assert_eq!(receive(&mut stream).unwrap(), b"hello");
    assert_eq!(receive(&mut stream), None);
}

#[test]
fn what_was_read_beyond_a_frame_is_told_of_and_kept() {
    let (mut stream, _feed, mut program) = connected();
    let long = vec![5; LONGEST];
    let all = [framed(b"one"), framed(&[]), framed(b"two"), framed(&long), framed(b"three")].concat();
    let writer = std::thread::spawn(move || program.write_all(&all).map(|()| program));
    let mut next = || loop {
        if let Some(frame) = receive(&mut stream) {
            break (frame, stream.holds_frames());
        }
    };

    assert_eq!(next().0, b"one");
    assert_eq!(next().0, b"two");
    assert_eq!(next().0, long);
    assert_eq!(next(), (b"three".to_vec(), false));
    writer.join().unwrap().unwrap();
}

#[test]
fn frames_that_were_read_with_others_count_as_held() {
    let (mut stream, _feed, mut program) = connected();
    program.write_all(&[framed(b"one"), framed(b"two"), 9u32.to_be_bytes().to_vec()].concat()).unwrap();

    assert_eq!(receive(&mut stream).unwrap(), b"one");
    assert!(stream.holds_frames() && !is_ready(stream.descriptor()));
    assert_eq!(receive(&mut stream).unwrap(), b"two");
    assert!(!stream.holds_frames());
}

#[test]
fn a_frame_is_cut_off_where_the_guests_buffers_end() {
    let (mut stream, _feed, mut program) = connected();
    program.write_all(&[framed(b"hello"), framed(b"again")].concat()).unwrap();
    let mut buffer = [0; HEADER_SIZE + 3];

    assert_eq!(stream.receive(&[GuestSlice::from(&mut buffer[..])]).unwrap(), Some(HEADER_SIZE + 3));
    assert_eq!(&buffer[HEADER_SIZE..], b"hel");
    assert_eq!(receive(&mut stream).unwrap(), b"again");
}

#[test]
fn a_length_that_no_frame_has_ends_the_stream_and_another_is_taken() {
    for length in [LONGEST as u32 + 1, u32::MAX] {
        let (mut stream, feed, mut program) = connected();
        program.write_all(&[&framed(b"fine")[..], &length.to_be_bytes(), &[0; 100]].concat()).unwrap();

        assert_eq!(receive(&mut stream).unwrap(), b"fine");
        assert!(stream.holds_frames(), "it is looked at");
        assert_eq!(receive(&mut stream), None);
        assert_eq!(program.read(&mut [0]).unwrap(), 0);

        let mut program = connect(&feed);
        program.write_all(&framed(b"new")).unwrap();
        assert!(is_ready(stream.descriptor()));
        assert_eq!(receive(&mut stream).unwrap(), b"new");
    }
}

#[test]
fn a_full_stream_says_so_and_no_byte_is_lost() {
    let (mut stream, _feed, mut program) = connected();
    let frame: Vec<u8> = (0..60_000u32).map(|number| (number % 251) as u8).collect();
    let mut taken = 0;
    while send(&mut stream, &frame) == Sent::Taken {
        taken += 1;
        assert!(taken < 10_000, "it is never full");
    }
    assert!(taken > 0 && !stream.flush().unwrap() && !is_ready(stream.room().unwrap()));
    assert_eq!(send(&mut stream, &frame), Sent::Full);

    let mut bytes = vec![0; frame.len() + PREFIX];
    for number in 0..taken {
        program.set_nonblocking(false).unwrap();
        // What was taken in part follows when there is room.
        let reader = std::thread::scope(|scope| {
            let reader = scope.spawn(|| program.read_exact(&mut bytes));
            while !reader.is_finished() {
                if is_ready(stream.room().unwrap()) {
                    stream.flush().unwrap();
                }
                std::thread::yield_now();
            }
            reader.join().unwrap()
        });
        reader.unwrap();
        assert!(bytes == framed(&frame), "frame {number} of {taken}");
    }

    assert!(stream.flush().unwrap() && !is_ready(stream.room().unwrap()));
    assert_eq!(send(&mut stream, b"again"), Sent::Taken);
}

#[test]
fn without_a_program_frames_go_nowhere_until_there_is_one_again() {
    let (mut stream, feed, program) = connected();
    drop(program);
    assert!(is_ready(stream.descriptor()));

    assert_eq!(receive(&mut stream), None);
    assert_eq!(send(&mut stream, b"lost"), Sent::Taken);
    assert!(!is_ready(stream.descriptor()), "nothing wakes the card meanwhile");

    let mut program = connect(&feed);
    assert_eq!(send(&mut stream, b"found"), Sent::Taken);
    let mut bytes = [0; 9];
    program.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, framed(b"found")[..]);
}

#[test]
fn a_program_that_goes_while_its_stream_is_full_holds_nothing_up() {
    let (mut stream, _feed, program) = connected();
    while send(&mut stream, &[1; 60_000]) == Sent::Taken {}

    drop(program);

    assert!(is_ready(stream.room().unwrap()));
    assert!(stream.flush().unwrap());
    assert_eq!(send(&mut stream, b"lost"), Sent::Taken);
    assert!(!is_ready(stream.room().unwrap()));
}

#[test]
fn when_nobody_feeds_it_any_more_the_card_sleeps() {
    let (mut stream, feed) = unconnected();
    hand_over(&feed, &tempfile::tempfile().unwrap()).unwrap();
    drop(feed);

    // A file that is no socket is given up as well.
    assert_eq!(receive(&mut stream), None);
    assert_eq!(send(&mut stream, b"lost"), Sent::Taken);
    assert!(!is_ready(stream.descriptor()));
}
