//! y-sweet: every transcript of its folder, when it owes an answer, its bound, how it refuses and how it ends.

use crate::transcript::{hex, play_all, session_in};
use dialect::{Act, Dialect, Expiry, Frame, HttpRefusal, Session, Told, Y_SWEET, Y_SWEET_TERSE};
use room::{Access, Closing, Denied, Event, Input, MemberId};

#[test]
fn every_transcript_plays_as_written() {
    play_all("y-sweet", 11, &[(Y_SWEET, Y_SWEET), (Y_SWEET_TERSE, Y_SWEET_TERSE)]);
}

fn session() -> Box<dyn Session> {
    session_in(Y_SWEET)
}

fn acts_of(session: &mut dyn Session, frame: &[u8]) -> Vec<Act> {
    let mut acts = Vec::new();
    session.receive(Frame::Binary(frame.to_vec().into()), 0, &mut acts);
    acts
}

/// A status with a body of so many bytes.
fn status(bytes: usize) -> Vec<u8> {
    let mut message = vec![0x66];
    document::lib0::write_var_bytes(&mut message, &vec![7; bytes]);
    message
}

#[test]
fn a_status_has_at_most_64_kib() {
    let mut session = session();
    acts_of(&mut *session, &[0, 1, 2, 0, 0]);
    assert!(matches!(acts_of(&mut *session, &status(64 << 10))[..], [Act::Room(Input::Mark(MemberId(7), _))]));
    let Told::Own(frames) = session.tell(&Event::Marked(bytes::Bytes::new())) else { panic!("its own answer") };
    assert_eq!(frames, [Frame::Binary(status(64 << 10).into())]);
    match &acts_of(&mut *session, &status((64 << 10) + 1))[..] {
        [Act::End(Closing::Protocol(1009, reason))] => assert_eq!(reason, "sync status larger than 65536 bytes"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_opens_with_step_one_and_always_says_who_is_there() {
    let mut acts = Vec::new();
    session().open(Access::Read, &mut acts);
    assert!(
        matches!(
            &acts[..],
            [
                Act::Room(Input::Ask(MemberId(7))),
                Act::Room(Input::QueryAwareness { member: MemberId(7), always: true })
            ]
        ),
        "{acts:?}"
    );
}

#[test]
fn an_answer_is_owed_as_long_as_a_status_waits() {
    let mut session = session();
    assert!(!session.owes());
    let (update, step_2) = ([0, 2, 2, 0, 0], [0, 1, 2, 0, 0]);
    acts_of(&mut *session, &update);
    assert!(!session.owes(), "an update alone is no question");
    acts_of(&mut *session, &[0x66, 1, 1]);
    assert!(session.owes(), "before the step 2");
    acts_of(&mut *session, &step_2);
    assert!(session.owes(), "until it is saved");
    session.tell(&Event::Marked(bytes::Bytes::new()));
    assert!(!session.owes());
}

#[test]
fn waiting_statuses_cost_the_room_no_more_than_the_changes_between_them() {
    let mut session = session();
    acts_of(&mut *session, &[0, 1, 2, 0, 0]);
    let marks = |session: &mut dyn Session, frame: &[u8]| {
        acts_of(session, frame).iter().filter(|act| matches!(act, Act::Room(Input::Mark(..)))).count()
    };
    let flood: usize = (0..1_000).map(|_| marks(&mut *session, &[0x66, 1, 1])).sum();
    assert_eq!(flood, 1, "nothing was written between them");
    // Presence and questions are nothing that could be saved.
    for other in [&[1, 1, 0][..], &[0, 0, 1, 0], &[3]] {
        assert_eq!(marks(&mut *session, other) + marks(&mut *session, &[0x66, 1, 1]), 0);
    }
    assert_eq!(marks(&mut *session, &[0, 2, 2, 0, 0]) + marks(&mut *session, &[0x66, 1, 2]), 1);
    let answers = |session: &mut dyn Session| match session.tell(&Event::Marked(bytes::Bytes::new())) {
        Told::Own(frames) => frames.iter().map(|frame| hex(frame.payload())).collect::<Vec<_>>(),
        Told::InCommon => panic!("nobody else is told"),
    };
    assert_eq!(answers(&mut *session), [""; 0], "the newest waits still");
    assert_eq!(answers(&mut *session), ["66 01 02"]);
}

#[test]
fn no_beginning_of_a_status_is_answered() {
    let whole = [0x66, 0x82, 0x00, 0xac, 0x02];
    for end in 1..whole.len() {
        let mut session = session();
        acts_of(&mut *session, &[0, 1, 2, 0, 0]);
        let acts = acts_of(&mut *session, &whole[..end]);
        assert!(matches!(acts[..], [Act::Room(Input::Malformed(MemberId(7)))]), "{end}: {acts:?}");
        assert!(!session.owes());
    }
    assert!(acts_of(&mut *session(), &[]).is_empty());
}

#[test]
fn readers_are_not_told() {
    assert_eq!(Y_SWEET.encode(&Event::Denied(Denied::ReadOnly)), None);
    assert!(matches!(session().tell(&Event::Denied(Denied::ReadOnly)), Told::InCommon));
}

#[test]
fn refusals_are_statuses_and_ends_are_codes_without_a_message() {
    let told = |dialect: &dyn Dialect, closing: &Closing| match dialect.refusal(closing) {
        Some(HttpRefusal { status, is_json: false, body }) => (status, body),
        other => panic!("{other:?}"),
    };
    let table = [
        (Closing::Unauthorized, 401, "No token provided.", 4401, "unauthorized"),
        (Closing::Outdated, 401, "The token is expired", 4401, "token-expired"),
        (Closing::TokenExpired, 401, "The token is expired", 4501, "token expired, reconnect"),
        (Closing::Forbidden, 401, "The token is not valid for the requested resource", 4403, "permission-denied"),
        (Closing::Revoked, 401, "The token is not valid for the requested resource", 4403, "access revoked"),
        (Closing::NotFound, 404, "Doc not found", 4404, "room-not-found"),
        (Closing::Deleted, 404, "Doc not found", 4404, "room deleted"),
        (Closing::ShuttingDown, 503, "server shutting down", 1001, "server shutting down"),
        (Closing::Internal, 503, "internal error", 1011, "internal error"),
        (Closing::Malformed, 503, "malformed message", 4400, "malformed message"),
        (Closing::Protocol(1009, "too big".into()), 503, "too big", 1009, "too big"),
        (Closing::Beyond("a limit".into()), 503, "a limit", 4413, "a limit"),
    ];
    for (closing, status, detail, code, reason) in table {
        assert_eq!(told(Y_SWEET, &closing), (status, format!("Something went wrong: {detail}")), "{closing:?}");
        assert_eq!(told(Y_SWEET_TERSE, &closing), (status, String::new()), "{closing:?}");
        let farewell = Y_SWEET.farewell(&closing);
        assert_eq!(
            (farewell.message, farewell.delay_ms, farewell.code, &*farewell.reason),
            (None, 0, Some(code), reason)
        );
    }
    assert_eq!(Y_SWEET.expiry(), Expiry::Stays, "tokens count when somebody comes");
    assert_eq!(Y_SWEET.keep_alive().map(hex), Some("01 01 00".to_owned()));
    assert_eq!(Y_SWEET.name(), Y_SWEET_TERSE.name());
}
