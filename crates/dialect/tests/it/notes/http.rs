//! What HTTP requests are answered: statuses and bodies, each once.

use super::{NOW_MS, mark, note};
use dialect::notes::http::{Answer, Call, answer, error, internal, invalid};
use dialect::notes::{Lenience, read_note};
use room::notebook::{Entry, News, Reason, Refusal};

const NOTE: &str = r#"{"id":"n\"1","title":"T","x":"\ud800","createdAt":"1969-12-31T23:59:59.999Z","updatedAt":"2025-01-17T14:27:39.502Z","remoteVersion":3,"deletedAt":"#;

fn body(call: Call, news: &News) -> (u16, String) {
    let Answer { status, body } = answer(call, news).expect("an answer");
    (status, body)
}

#[test]
fn notes_are_answered_whole() {
    let live = format!("{NOTE}null}}");
    let gone = format!("{NOTE}\"2025-01-17T14:27:39.507Z\"}}");
    assert_eq!(body(Call::Other, &News::Stored(note())), (200, live.clone()));
    assert_eq!(body(Call::Other, &News::Found(Entry::Live(note()))), (200, live.clone()));
    assert_eq!(body(Call::Other, &News::Found(Entry::Gone(mark(Some(note()))))), (200, gone.clone()));
    let restored = format!("{{\"success\":true,\"message\":\"Note restored successfully\",\"note\":{live}}}");
    assert_eq!(body(Call::Restore, &News::Stored(note())), (200, restored));
    let deleted =
        r#"{"success":true,"message":"Note deleted successfully","deletedAt":"2025-01-17T14:27:39.507Z"}"#.to_owned();
    assert_eq!(body(Call::Other, &News::Erased(mark(Some(note())))), (200, deleted));
    for (entry, note) in [
        (Entry::Live(note()), live),
        (Entry::Gone(mark(Some(note()))), gone),
        (Entry::Gone(mark(None)), "null".to_owned()),
    ] {
        let (status, body) = body(Call::Other, &News::Conflict(entry));
        assert_eq!(status, 409);
        assert!(body.starts_with(r#"{"error":{"code":"CONFLICT","message":""#), "{body}");
        assert!(body.ends_with(&format!("}},\"note\":{note}}}")), "{body}");
    }
}

#[test]
fn pages_say_how_many_there_are() {
    let entries = [Entry::Live(note()), Entry::Gone(mark(Some(note())))];
    let page = |page, total| News::Page { entries: entries.clone().into(), total, page, limit: 2 };
    let expected = |page, total, pages, more| {
        let notes = format!("{NOTE}null}},{NOTE}\"2025-01-17T14:27:39.507Z\"}}");
        let counts = format!("\"total\":{total},\"page\":{page},\"limit\":2,\"totalPages\":{pages},\"hasMore\":{more}");
        (200, format!("{{\"data\":[{notes}],{counts}}}"))
    };
    assert_eq!(body(Call::Other, &page(1, 5)), expected(1, 5, 3, true));
    assert_eq!(body(Call::Other, &page(2, 4)), expected(2, 4, 2, false));
    let empty = News::Page { entries: [].into(), total: 0, page: 1, limit: 20 };
    let nothing = r#"{"data":[],"total":0,"page":1,"limit":20,"totalPages":0,"hasMore":false}"#.to_owned();
    assert_eq!(body(Call::Other, &empty), (200, nothing));
}

#[test]
fn changes_have_notes_marks_and_the_time() {
    let changes = News::Changes {
        notes: [note(), note()].into(),
        marks: [mark(None), mark(Some(note()))].into(),
        now_ms: NOW_MS,
    };
    let gone = r#"{"noteId":"n\"1","deletedAt":"2025-01-17T14:27:39.507Z"}"#;
    let expected = format!(
        "{{\"notes\":[{NOTE}null}},{NOTE}null}}],\"deleted\":[{gone},{gone}],\"serverTime\":\"2025-01-17T14:27:39.502Z\"}}"
    );
    assert_eq!(body(Call::Other, &changes), (200, expected));
    let nothing = News::Changes { notes: [].into(), marks: [].into(), now_ms: 0 };
    let expected = r#"{"notes":[],"deleted":[],"serverTime":"1970-01-01T00:00:00.000Z"}"#.to_owned();
    assert_eq!(body(Call::Other, &nothing), (200, expected));
}

#[test]
fn errors_have_a_code_words_and_the_field_they_are_about() {
    let missing =
        r#"{"error":{"code":"NOT_FOUND","message":"there is no such note, or it was deleted more than 30 days ago"}}"#;
    assert_eq!(body(Call::Other, &News::NotFound("n".into())), (404, missing.to_owned()));
    assert_eq!(body(Call::Other, &News::Found(Entry::Gone(mark(None)))), (404, missing.to_owned()));
    let refused = |why| News::Refused { id: "n".into(), was_delete: false, why, now_ms: NOW_MS };
    let (status, text) = body(Call::Other, &refused(Refusal::ReadOnly));
    assert!(status == 403 && text.starts_with(r#"{"error":{"code":"FORBIDDEN","#), "{text}");
    let (status, text) = body(Call::Other, &refused(Refusal::Limit("full".to_owned())));
    assert_eq!((status, &*text), (403, r#"{"error":{"code":"LIMIT_EXCEEDED","message":"full"}}"#));
    let fault = read_note("{\"id\":\"a\"}", Lenience::default(), NOW_MS).expect_err("no title");
    let expected = r#"{"error":{"code":"INVALID_NOTE","message":"title has to be a string of at most 255 characters","field":"title"}}"#;
    assert_eq!(invalid(&fault), Answer { status: 400, body: expected.to_owned() });
    let expected = r#"{"error":{"code":"INTERNAL_ERROR","message":"no \"disk\""}}"#;
    assert_eq!(internal("no \"disk\""), Answer { status: 500, body: expected.to_owned() });
    let expected = r#"{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"slower"}}"#;
    assert_eq!(error(429, "RATE_LIMIT_EXCEEDED", "slower", None), Answer { status: 429, body: expected.to_owned() });
    for news in
        [News::Updated(note()), News::Deleted(mark(None)), News::Resync { reason: Reason::ServerUpdate, now_ms: 0 }]
    {
        assert_eq!(answer(Call::Other, &news), None);
    }
}
