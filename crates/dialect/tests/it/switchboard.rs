//! The switchboard of a hocuspocus socket: which message is for which document, what waits, what is too much; by tables, and against a simple model.

use bytes::Bytes;
use dialect::{Routed, Switchboard};
use document::lib0::write_var_bytes;
use std::collections::{BTreeMap, BTreeSet};

const TOO_MUCH: Routed = Routed::Close(4205, "Reset Connection");
const QUEUED_BYTES_MAX: usize = 5 << 20;
const QUEUED_MESSAGES_MAX: usize = 1_000;
const PENDING_ADDRESSES_MAX: usize = 100;

fn frame(address: &[u8], body: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    write_var_bytes(&mut frame, address);
    frame.extend_from_slice(body);
    frame.into()
}

fn token(token: &str) -> Vec<u8> {
    let mut body = vec![2, 0];
    write_var_bytes(&mut body, token.as_bytes());
    body
}

fn denied(address: &[u8], reason: &str) -> Routed {
    let mut message = frame(address, &[2, 1]).to_vec();
    write_var_bytes(&mut message, reason.as_bytes());
    Routed::Reply(message)
}

/// A message that means nothing to the switchboard.
fn talk(words: &str) -> Vec<u8> {
    [&[5], words.as_bytes()].concat()
}

/// A socket whose document `in` is accepted, on line 0.
fn with_one_accepted() -> Switchboard {
    let mut board = Switchboard::default();
    assert!(matches!(board.receive(&frame(b"in", &token(""))), Routed::Asks { line: 0, .. }));
    assert_eq!(board.accept(0), Some(Vec::new()));
    board
}

/// One line each, `ACTION -> what follows; and then`. Actions: `ADDRESS: WORDS` is a message of the client (`auth TOKEN`, `bye` and `long bye` are the ones that
/// count), `accept LINE`, `refuse LINE REASON`, `close LINE` what the server does; `close LINE unread WORDS, WORDS` when the document has not looked at some messages. `\0` stands for a NUL.
fn check(table: &str) {
    let mut board = Switchboard::default();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (action, expected) = row.split_once(" -> ").expect("an arrow");
        let expected: Vec<String> = expected.split("; ").map(|one| one.replace("\\0", "\0")).collect();
        let expected = if expected == ["nothing"] { Vec::new() } else { expected };
        assert_eq!(act(&mut board, &action.replace("\\0", "\0")), expected, "{row}");
    }
}

fn act(board: &mut Switchboard, action: &str) -> Vec<String> {
    if let Some((address, words)) = action.split_once(": ") {
        return in_words([board.receive(&frame(address.as_bytes(), &body_of(words)))]);
    }
    let (action, unread) = action.split_once(" unread ").unwrap_or((action, ""));
    let unread = unread.split(", ").filter(|words| !words.is_empty()).map(|words| Bytes::from(body_of(words)));
    let mut words = action.split(' ');
    let (what, line) = (words.next(), words.next().and_then(|line| line.parse().ok()).expect("a line"));
    match what {
        Some("accept") => match board.accept(line) {
            Some(queue) => queue.iter().map(|body| format!("says {}", body_in_words(body))).collect(),
            None => vec!["has left".to_owned()],
        },
        Some("refuse") => in_words(board.refuse(line, words.next().unwrap_or("no"))),
        Some("close") => in_words(board.close(line, unread)),
        other => panic!("cannot do {other:?}"),
    }
}

fn body_of(words: &str) -> Vec<u8> {
    match words.strip_prefix("auth") {
        Some(shown) => token(shown.trim()),
        None if words == "bye" => vec![7],
        None if words == "long bye" => vec![0x87, 0],
        None => talk(words),
    }
}

fn body_in_words(body: &[u8]) -> String {
    match body {
        [5, words @ ..] => String::from_utf8_lossy(words).into_owned(),
        [2, 0, _, shown @ ..] => format!("auth {}", String::from_utf8_lossy(shown)).trim_end().to_owned(),
        [7] | [0x87, 0] => "bye".to_owned(),
        other => panic!("{other:02x?}"),
    }
}

fn in_words(routed: impl IntoIterator<Item = Routed>) -> Vec<String> {
    let words = |routed| match routed {
        Routed::Nothing => None,
        Routed::To(line, body) => Some(format!("to {line} {}", body_in_words(&body))),
        Routed::Asks { line, document, token } => Some(format!("asks {line} {document} {token}").trim_end().to_owned()),
        Routed::Reply(message) => {
            let (length, rest) = message.split_first().expect("an address");
            let (address, body) = rest.split_at(usize::from(*length));
            let [2, 1, _, reason @ ..] = body else { panic!("{body:02x?}") };
            Some(format!("denies {} {}", String::from_utf8_lossy(address), String::from_utf8_lossy(reason)))
        }
        Routed::Close(code, reason) => Some(format!("ends {code} {reason}")),
    };
    routed.into_iter().filter_map(words).collect()
}

#[test]
fn messages_wait_for_the_acceptance_and_then_go_to_their_document() {
    check(
        "a: one -> nothing
        b: first -> nothing
        a: auth tok -> asks 0 a tok
        a: two -> nothing
        b: auth -> asks 1 b
        a: auth again -> nothing
        accept 0 -> says one; says two; says auth again
        a: three -> to 0 three
        a: auth later -> to 0 auth later
        b: second -> nothing
        accept 1 -> says first; says second
        b: third -> to 1 third
        close 0 -> nothing
        a: four -> nothing
        b: fourth -> to 1 fourth",
    );
}

#[test]
fn a_refusal_throws_away_what_waited_and_another_token_may_follow() {
    check(
        "a: one -> nothing
        a: auth bad -> asks 0 a bad
        a: two -> nothing
        refuse 0 unauthorized -> denies a unauthorized
        a: auth good -> asks 0 a good
        a: three -> nothing
        accept 0 -> says three
        refuse 0 document-not-found -> denies a document-not-found
        a: four -> nothing
        a: auth better -> asks 0 a better
        accept 0 -> says four",
    );
}

#[test]
fn sessions_of_a_document_are_lines_of_their_own() {
    check(
        r"doc\0one: auth 1 -> asks 0 doc 1
        doc\0two: auth 2 -> asks 1 doc 2
        doc: auth 3 -> asks 2 doc 3
        accept 0 -> nothing
        doc\0one: hi -> to 0 hi
        doc\0two: hi -> nothing
        doc: hello -> nothing
        doc\0one: bye -> to 0 bye
        refuse 1 no -> denies doc\0two no
        accept 2 -> says hello
        doc\0two: hi -> nothing
        doc: hi -> to 2 hi
        close 0 -> nothing
        doc: still here -> to 2 still here",
    );
}

#[test]
fn whoever_leaves_before_the_acceptance_is_forgotten_and_may_come_back_at_once() {
    check(
        "a: one -> nothing
        a: bye -> nothing
        a: auth tok -> asks 0 a tok
        a: two -> nothing
        a: bye -> nothing
        a: three -> nothing
        a: auth again -> asks 1 a again
        a: bye -> nothing
        a: auth third -> asks 2 a third
        a: four -> nothing
        accept 2 -> says four
        accept 0 -> has left
        refuse 1 no -> nothing
        a: five -> to 2 five
        b: bye -> nothing
        b: auth tok -> asks 0 b tok",
    );
}

#[test]
fn what_is_said_after_a_goodbye_is_for_the_next_life() {
    check(
        "a: auth tok -> asks 0 a tok
        accept 0 -> nothing
        a: bye -> to 0 bye
        a: one -> nothing
        a: auth next -> nothing
        a: two -> nothing
        close 0 -> asks 0 a next
        accept 0 -> says one; says two
        a: three -> to 0 three
        a: bye -> to 0 bye
        a: auth third -> nothing
        a: bye -> nothing
        a: auth fourth -> nothing
        a: four -> nothing
        close 0 -> asks 0 a third; asks 1 a fourth
        accept 0 -> has left
        accept 1 -> says four
        a: five -> to 1 five",
    );
}

#[test]
fn a_token_that_crosses_the_end_of_its_document_is_for_the_next_life() {
    check(
        "a: auth tok -> asks 0 a tok
        accept 0 -> nothing
        a: auth next -> to 0 auth next
        close 0 unread one, auth next, two -> asks 0 a next
        accept 0 -> says two
        close 0 unread three -> nothing
        a: auth tok -> asks 0 a tok
        accept 0 -> nothing
        a: bye -> to 0 bye
        a: auth next -> nothing
        close 0 unread auth of before, bye -> asks 0 a next",
    );
}

#[test]
fn a_goodbye_is_one_however_it_is_written() {
    check(
        "a: auth tok -> asks 0 a tok
        accept 0 -> nothing
        a: long bye -> to 0 bye
        a: auth next -> nothing
        close 0 -> asks 0 a next
        a: long bye -> nothing
        accept 0 -> has left",
    );
}

#[test]
fn a_document_that_is_refused_after_a_goodbye_has_its_next_life_too() {
    check(
        "a: auth tok -> asks 0 a tok
        accept 0 -> nothing
        a: bye -> to 0 bye
        a: auth next -> nothing
        refuse 0 permission-denied -> denies a permission-denied; asks 0 a next",
    );
}

#[test]
fn answers_that_come_late_are_for_the_line_that_asked() {
    check(
        "a: auth 1 -> asks 0 a 1
        b: auth 2 -> asks 1 b 2
        c: auth 3 -> asks 2 c 3
        a: bye -> nothing
        d: auth 4 -> asks 3 d 4
        accept 3 -> nothing
        accept 0 -> has left
        e: auth 5 -> asks 0 e 5
        refuse 1 no -> denies b no
        b: auth 6 -> asks 1 b 6
        accept 2 -> nothing
        accept 1 -> nothing
        accept 0 -> nothing
        b: hi -> to 1 hi
        e: hi -> to 0 hi
        close 2 -> nothing
        close 3 -> nothing
        e: hi -> to 0 hi",
    );
}

#[test]
fn a_line_that_is_not_there_is_answered_with_nothing() {
    check("accept 7 -> has left\nrefuse 7 no -> nothing\nclose 7 -> nothing\na: auth tok -> asks 0 a tok");
    assert!(Switchboard::default().prefix(7).is_empty());
}

#[test]
fn names_are_those_of_rooms() {
    let longest = "é".repeat(512);
    let with_session = |session: &str| format!("doc\0{session}");
    let named = [
        ("doc".to_owned(), "doc"),
        ("日本/über uns".to_owned(), "日本/über uns"),
        (" x ".to_owned(), " x "),
        (longest.clone(), &*longest),
        (with_session("s"), "doc"),
        (with_session(" "), "doc"),
        (with_session("\u{7}\n"), "doc"),
        (with_session(&"s".repeat(128)), "doc"),
        (format!("{longest}\0{}", "s".repeat(128)), &*longest),
    ];
    for (address, document) in named {
        let routed = Switchboard::default().receive(&frame(address.as_bytes(), &token("t")));
        let expected = Routed::Asks { line: 0, document: document.to_owned(), token: "t".to_owned() };
        assert_eq!(routed, expected, "{address:?}");
    }
    let nameless = [
        String::new(),
        " ".to_owned(),
        "\u{2003}".to_owned(),
        format!("{longest}x"),
        "a\nb".to_owned(),
        "a\u{7f}".to_owned(),
        "a\u{85}".to_owned(),
        "\0s".to_owned(),
        " \0s".to_owned(),
        with_session(""),
        with_session("a\0b"),
        with_session(&"s".repeat(129)),
    ];
    for address in nameless {
        let refused = denied(address.as_bytes(), "permission-denied");
        let mut board = Switchboard::default();
        assert_eq!(board.receive(&frame(address.as_bytes(), &token("t"))), refused, "{address:?}");
        assert_eq!(board.receive(&frame(address.as_bytes(), &talk("hello"))), Routed::Nothing, "{address:?}");
        assert_eq!(board.receive(&frame(address.as_bytes(), &token("t"))), refused, "again: {address:?}");
        assert_eq!(board.bytes(), 0, "{address:?} is kept");
    }
}

#[test]
fn what_is_no_address_ends_the_socket_and_a_pong_means_nothing() {
    let unauthorized = Routed::Close(4401, "Unauthorized");
    let frames: [&[u8]; 7] =
        [b"", b"\x05a", b"\xff\xff\x03a", b"\x80", &[0xff; 10], b"\x02\xff\xfe\x00\x00\x01\x00", b"\x09"];
    for bytes in frames {
        for mut board in [Switchboard::default(), with_one_accepted()] {
            assert_eq!(board.receive(&Bytes::copy_from_slice(bytes)), unauthorized, "{bytes:02x?}");
        }
    }
    for mut board in [Switchboard::default(), with_one_accepted()] {
        assert_eq!(board.receive(&Bytes::from_static(&[10])), Routed::Nothing);
    }
    // Ten bytes of a name, and nothing behind it.
    let mut board = Switchboard::default();
    assert_eq!(board.receive(&frame(b"0123456789", b"")), Routed::Nothing);
    assert!(matches!(board.receive(&frame(b"0123456789", &token(""))), Routed::Asks { .. }));
    assert_eq!(board.accept(0), Some(vec![Bytes::new()]));
}

#[test]
fn tokens_that_cannot_be_read_are_no_tokens() {
    for body in [&[2, 0, 9, b'x'][..], &[2, 0], &[2], &[2, 0, 2, 0xff, 0xfe], &[2, 1, 1, b'x'], &[2, 2, 1, b'x']] {
        let mut board = Switchboard::default();
        assert_eq!(board.receive(&frame(b"a", body)), Routed::Nothing, "{body:02x?}");
        assert!(matches!(board.receive(&frame(b"a", &token("t"))), Routed::Asks { .. }));
        assert_eq!(board.accept(0), Some(vec![Bytes::copy_from_slice(body)]), "{body:02x?}");
    }
}

#[test]
fn so_many_messages_wait_and_not_one_more() {
    let mut board = with_one_accepted();
    let address = |number: usize| format!("doc{}", number % 10).into_bytes();
    let empty = board.bytes();
    for number in 0..QUEUED_MESSAGES_MAX {
        assert_eq!(board.receive(&frame(&address(number), &talk("x"))), Routed::Nothing, "{number}");
    }
    // What is accepted does not wait, a token that is shown neither.
    assert!(matches!(board.receive(&frame(b"in", &talk("x"))), Routed::To(0, _)));
    let Routed::Asks { line, .. } = board.receive(&frame(&address(0), &token(""))) else { panic!("not asked") };
    assert!(board.bytes() > empty + 2 * QUEUED_MESSAGES_MAX);
    // Each way out makes room: accepted, refused, left.
    assert_eq!(board.accept(line).map(|queue| queue.len()), Some(100));
    let Routed::Asks { line, .. } = board.receive(&frame(&address(1), &token(""))) else { panic!("not asked") };
    board.refuse(line, "no");
    assert_eq!(board.receive(&frame(&address(2), &[7])), Routed::Nothing);
    for number in 0..300 {
        assert_eq!(board.receive(&frame(&address(3), &talk("x"))), Routed::Nothing, "{number}");
    }
    assert_eq!(board.receive(&frame(&address(4), &talk("x"))), TOO_MUCH);
}

#[test]
fn so_many_bytes_wait_and_not_one_more() {
    let body = |length: usize| vec![5; length];
    for rest in [0, 1] {
        let mut board = with_one_accepted();
        let empty = board.bytes();
        for number in 0..4_u8 {
            assert_eq!(board.receive(&frame(&[b'a' + number], &body(QUEUED_BYTES_MAX / 5))), Routed::Nothing);
        }
        assert!(board.bytes() - empty >= QUEUED_BYTES_MAX / 5 * 4);
        let last = board.receive(&frame(b"e", &body(QUEUED_BYTES_MAX / 5 + rest)));
        assert_eq!(last, if rest == 0 { Routed::Nothing } else { TOO_MUCH });
        if rest == 0 {
            for number in 0..5_u8 {
                assert_eq!(board.receive(&frame(&[b'a' + number], &[7])), Routed::Nothing);
            }
            assert_eq!(board.bytes(), empty, "the memory is given back");
            // What a client that has left says to its next life counts as well.
            board.receive(&frame(b"in", &[7]));
            assert_eq!(board.receive(&frame(b"in", &body(QUEUED_BYTES_MAX))), Routed::Nothing);
            assert_eq!(board.receive(&frame(b"a", &[])), Routed::Nothing);
            assert_eq!(board.receive(&frame(b"in", &[5])), TOO_MUCH);
        }
    }
}

#[test]
fn so_many_addresses_wait_and_not_one_more() {
    let mut board = with_one_accepted();
    let empty = board.bytes();
    let address =
        |number: usize| if number.is_multiple_of(2) { format!("doc{number}") } else { format!("doc\0{number}") };
    let mut lines = Vec::new();
    for number in 0..PENDING_ADDRESSES_MAX {
        let body = if number < 50 { token("t") } else { talk("x") };
        match board.receive(&frame(address(number).as_bytes(), &body)) {
            Routed::Asks { line, .. } => lines.push(line),
            other => assert_eq!((other, number >= 50), (Routed::Nothing, true)),
        }
    }
    // A goodbye to nobody, a name that is none, and one that is known already are not further addresses.
    assert_eq!(board.receive(&frame(b"one more", &[7])), Routed::Nothing);
    assert_eq!(board.receive(&frame(b"", &token("t"))), denied(b"", "permission-denied"));
    assert!(matches!(board.receive(&frame(address(60).as_bytes(), &token("t"))), Routed::Asks { .. }));
    // One that has left while its token is looked at still counts, because that goes on; one that is answered does not.
    assert_eq!(board.receive(&frame(address(0).as_bytes(), &[7])), Routed::Nothing);
    let mut other = with_one_accepted();
    for number in 0..=PENDING_ADDRESSES_MAX {
        let routed = other.receive(&frame(address(number).as_bytes(), &token("t")));
        other.receive(&frame(address(number).as_bytes(), &[7]));
        assert_eq!(routed == TOO_MUCH, number == PENDING_ADDRESSES_MAX, "{number}: {routed:?}");
    }
    assert_eq!(board.accept(lines[0]), None);
    assert_eq!(board.receive(&frame(b"one more", &talk("x"))), Routed::Nothing);
    assert_eq!(board.receive(&frame(b"and another", &talk("x"))), TOO_MUCH);
    for line in 1..=PENDING_ADDRESSES_MAX {
        board.close(line, []);
    }
    assert_eq!(board.bytes(), empty, "the memory is given back");
}

#[test]
fn addresses_that_can_never_be_accepted_are_not_kept_whatever_is_said_to_them() {
    let mut board = Switchboard::default();
    for number in 0..2 * PENDING_ADDRESSES_MAX {
        let address = [number.to_string().as_bytes(), &[b'x'; 20 << 10]].concat();
        assert_eq!(board.receive(&frame(&address, &talk("x"))), Routed::Nothing);
    }
    assert_eq!(board.bytes(), 0);
}

#[test]
fn what_waits_does_not_keep_the_memory_that_it_came_in() {
    // Of one read, in which there may be much else.
    let read = frame(b"a", &talk("hello"));
    let mut board = Switchboard::default();
    board.receive(&read);
    board.receive(&frame(b"a", &token("")));
    let queue = board.accept(0).expect("it waits");
    assert_eq!(queue, [talk("hello")]);
    assert!(!read.as_ptr_range().contains(&queue[0].as_ptr()));
    // What is passed on at once is not copied.
    let read = frame(b"a", &talk("hello"));
    let Routed::To(0, body) = board.receive(&read) else { panic!("not passed on") };
    assert!(read.as_ptr_range().contains(&body.as_ptr()));
}

#[test]
fn prefixes_are_the_address_with_its_length() {
    let mut board = Switchboard::default();
    let long = "x".repeat(300);
    for (line, address) in ["doc", "doc\0sess1", &long].into_iter().enumerate() {
        board.receive(&frame(address.as_bytes(), &token("")));
        assert_eq!(board.any_accepted(), None);
        assert_eq!(board.prefix(line), frame(address.as_bytes(), b""));
    }
    assert!(board.prefix(2).starts_with(&[0xac, 2]));
    board.accept(1);
    assert_eq!(board.any_accepted(), Some(1));
    board.receive(&frame(b"doc\0sess1", &[7]));
    assert_eq!(board.any_accepted(), None, "nothing is said to who leaves");
}

/// What is known of an address.
#[derive(Clone, Debug)]
enum Life {
    Silent(Vec<Bytes>),
    Asking(usize, Vec<Bytes>),
    Accepted(usize),
    Closing(usize, Vec<Bytes>),
}

/// The same rules in the simplest words: everything is counted anew each time.
#[derive(Debug, Default)]
struct Model {
    lives: BTreeMap<String, Life>,
    /// Lines whose clients have left while their tokens were looked at.
    left: BTreeSet<usize>,
}

impl Model {
    fn pending(&self) -> usize {
        let waits = |life: &&Life| matches!(life, Life::Silent(_) | Life::Asking(..));
        self.left.len() + self.lives.values().filter(waits).count()
    }

    fn queued(&self) -> impl Iterator<Item = &Bytes> {
        self.lives.values().flat_map(|life| match life {
            Life::Silent(queue) | Life::Asking(_, queue) | Life::Closing(_, queue) => &queue[..],
            Life::Accepted(_) => &[],
        })
    }

    fn lines(&self) -> BTreeSet<usize> {
        let of = |life: &Life| match life {
            Life::Asking(line, _) | Life::Accepted(line) | Life::Closing(line, _) => Some(*line),
            Life::Silent(_) => None,
        };
        self.lives.values().filter_map(of).chain(self.left.iter().copied()).collect()
    }

    fn address_of(&self, wanted: usize) -> Option<String> {
        let is_it = |life: &Life| matches!(life, Life::Asking(line, _) | Life::Accepted(line) | Life::Closing(line, _) if *line == wanted);
        self.lives.iter().find(|(_, life)| is_it(life)).map(|(address, _)| address.clone())
    }

    /// What must have come of a message. The number of a line is the switchboard's own choice, among those that are free.
    fn hears(&mut self, address: &str, body: &Bytes, routed: &Routed) {
        let says_goodbye = body[..] == [7];
        let shown = body.strip_prefix(&[2, 0, 1]).map(|shown| String::from_utf8_lossy(shown).into_owned());
        let life = self.lives.get(address).cloned();
        let expected = match (life, shown) {
            (Some(Life::Accepted(line)), _) => {
                if says_goodbye {
                    self.lives.insert(address.to_owned(), Life::Closing(line, Vec::new()));
                }
                Routed::To(line, body.clone())
            }
            (None, _) if says_goodbye => Routed::Nothing,
            (None, _) if self.pending() == PENDING_ADDRESSES_MAX => TOO_MUCH,
            (life @ (None | Some(Life::Silent(_))), Some(token)) => {
                let Routed::Asks { line, .. } = routed else { panic!("not asked but {routed:?}") };
                assert!(!self.lines().contains(line), "line {line} is another's");
                let queue = if let Some(Life::Silent(queue)) = life { queue } else { Vec::new() };
                self.lives.insert(address.to_owned(), Life::Asking(*line, queue));
                let document = address.split('\0').next().unwrap_or_default().to_owned();
                Routed::Asks { line: *line, document, token }
            }
            (Some(Life::Silent(_)), None) if says_goodbye => {
                self.lives.remove(address);
                Routed::Nothing
            }
            (Some(Life::Asking(line, _)), None) if says_goodbye => {
                self.lives.remove(address);
                self.left.insert(line);
                Routed::Nothing
            }
            (life, _) => {
                let (count, bytes) = (self.queued().count(), self.queued().map(Bytes::len).sum::<usize>());
                if count == QUEUED_MESSAGES_MAX || bytes + body.len() > QUEUED_BYTES_MAX {
                    TOO_MUCH
                } else {
                    let mut life = life.unwrap_or(Life::Silent(Vec::new()));
                    if let Life::Silent(queue) | Life::Asking(_, queue) | Life::Closing(_, queue) = &mut life {
                        queue.push(body.clone());
                    }
                    self.lives.insert(address.to_owned(), life);
                    Routed::Nothing
                }
            }
        };
        assert_eq!(*routed, expected);
    }

    fn accepts(&mut self, line: usize, queue: Option<Vec<Bytes>>) {
        if self.left.remove(&line) {
            return assert_eq!(queue, None);
        }
        let address = self.address_of(line).expect("a line that asks");
        let Some(Life::Asking(_, waited)) = self.lives.insert(address, Life::Accepted(line)) else { panic!("asks") };
        assert_eq!(queue, Some(waited));
    }

    /// A document has ended, or was refused with this reason.
    fn ends(&mut self, line: usize, reason: Option<&str>, routed: &[Routed]) {
        if self.left.remove(&line) {
            return assert_eq!(*routed, []);
        }
        let address = self.address_of(line).expect("a line in use");
        let life = self.lives.remove(&address);
        let refusals = usize::from(reason.is_some());
        if let Some(reason) = reason {
            assert_eq!(routed.first(), Some(&denied(address.as_bytes(), reason)));
        }
        let next = if let Some(Life::Closing(_, queue)) = life { queue } else { Vec::new() };
        assert_eq!(routed.len() - refusals, next.len());
        for (body, routed) in next.iter().zip(&routed[refusals..]) {
            self.hears(&address, body, routed);
        }
    }
}

#[test]
fn any_order_of_messages_and_answers_is_that_of_the_model() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..60,
    };
    let (mut ends, mut nexts) = (0, 0);
    for seed in seeds {
        println!("SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut board, mut model) = (Switchboard::default(), Model::default());
        // Some meet many addresses, some many messages, some large ones.
        let addresses: Vec<String> = (0..rng.usize(2..150))
            .map(|number| if rng.bool() { format!("d{number}") } else { format!("d{}\0{number}", number / 3) })
            .collect();
        let (answers, largest) = (rng.usize(1..60), if rng.bool() { 8 } else { 300_000 });
        for step in 0..3_000 {
            let lines: Vec<usize> = model.lines().into_iter().collect();
            if rng.usize(0..100) < answers
                && let Some(&line) = rng.choice(&lines)
            {
                let is_asking = model.left.contains(&line)
                    || model.lives.values().any(|life| matches!(life, Life::Asking(asking, _) if *asking == line));
                if is_asking && rng.bool() {
                    let accepted = board.accept(line);
                    model.accepts(line, accepted);
                } else if is_asking || rng.u8(0..10) == 0 {
                    let routed = board.refuse(line, "no");
                    model.ends(line, Some("no"), &routed);
                } else {
                    let routed = board.close(line, []);
                    nexts += routed.len();
                    model.ends(line, None, &routed);
                }
            } else {
                let address = rng.choice(&addresses).expect("some");
                let body = match rng.u8(0..10) {
                    0..3 => Bytes::from(token(&rng.alphabetic().to_string())),
                    3 => Bytes::from_static(&[7]),
                    _ => vec![5; rng.usize(1..largest)].into(),
                };
                let routed = board.receive(&frame(address.as_bytes(), &body));
                model.hears(address, &body, &routed);
                if routed == TOO_MUCH {
                    ends += 1;
                    (board, model) = (Switchboard::default(), Model::default());
                }
            }
            let queued: usize = model.queued().map(Bytes::len).sum();
            assert!(board.bytes() >= queued, "seed {seed}, step {step}: {} of {queued} bytes", board.bytes());
        }
        for line in model.lines() {
            board.refuse(line, "no");
        }
        for address in model.lives.keys() {
            board.receive(&frame(address.as_bytes(), &[7]));
        }
        // What was said to a next life may be there still.
        for line in 0..1_000 {
            board.close(line, []);
            board.close(line, []);
        }
        assert_eq!(board.bytes(), 0, "seed {seed}: not all is given back");
    }
    assert!(std::env::var("SEED").is_ok() || ends > 20 && nexts > 20, "{ends} floods, {nexts} next lives");
}
