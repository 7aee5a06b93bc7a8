//! What counts, for how long, and what is left of it after a restart: with times that the tests give, and nobody on a socket.

use super::*;
use crate::auth::Anonymous;
use crate::request::parse;
use bytes::Bytes;
use identity::Scopes;
use identity::api_key::{KeyForm, KeySpec};
use std::path::{Path, PathBuf};
use store::backends::memory::Memory;
use store::{Change, Position, RoomKey};

const NOW: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::default())
}

fn open_with(store: &Arc<dyn Store>, folder: &Path, config: &Config) -> Result<Accounts, AccountError> {
    let keys = Arc::new(KeyFile::open(folder).expect("a file of keys, or none"));
    Accounts::open(store.clone(), keys, Arc::new(Anonymous), config)
}

fn open(store: &Arc<dyn Store>) -> Arc<Accounts> {
    Arc::new(open_with(store, Path::new("none"), &Config::default()).expect("opens"))
}

fn in_owner_mode(store: &Arc<dyn Store>) -> Arc<Accounts> {
    let mut config = Config::default();
    config.rooms.access = RoomAccess::Owner;
    Arc::new(open_with(store, Path::new("none"), &config).expect("opens"))
}

fn device() -> Device {
    Device { agent: "a test".to_owned(), address: ClientAddress::Ip([192, 0, 2, 7].into()) }
}

async fn sign_up(accounts: &Arc<Accounts>, name: &str, now_ms: u64) -> SignedIn {
    let new = NewUser {
        name: name.to_owned(),
        email: format!("{name}@example.com"),
        password: format!("password of {name}"),
    };
    accounts.sign_up(new, device(), now_ms).await.expect("an account")
}

async fn sign_in(accounts: &Arc<Accounts>, name: &str, password: &str, now_ms: u64) -> Result<SignedIn, AccountError> {
    accounts.sign_in(&format!("{name}@example.com"), password.to_owned(), true, device(), now_ms).await
}

/// Who is admitted with these lines in a request for a socket.
async fn identify(accounts: &Accounts, target: &str, headers: &str) -> Result<ConsoleVisitor, ConsoleRefusal> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
    let head = parse(request.as_bytes()).expect("legal").expect("whole");
    accounts.identify(&Shown::of(&head), "crm", NOW).await
}

async fn visitor(accounts: &Accounts, signed_in: &SignedIn) -> ConsoleVisitor {
    identify(accounts, &format!("/websocket?session_token={}", signed_in.token), "").await.expect("signed in")
}

/// All that is known, as it is written down.
fn all(accounts: &Accounts) -> serde_json::Value {
    accounts.look(|state| serde_json::to_value(state).expect("JSON"))
}

fn right(can_read: bool, can_write: bool) -> Right {
    Right { can_read, can_write }
}

#[tokio::test]
async fn a_session_counts_from_signing_in_to_its_end() {
    let store = memory();
    let accounts = open(&store);
    let SignedIn { token, session, user } = sign_up(&accounts, "ann", NOW).await;
    assert_eq!((&*user.email, &*session.address), ("ann@example.com", "192.0.2.0/24"));
    let counts = |accounts: &Accounts, token: &str, now_ms| accounts.session(token, now_ms).is_some();
    assert!(counts(&accounts, &token, NOW) && !counts(&accounts, "other", NOW) && !counts(&accounts, "", NOW));
    assert!(counts(&accounts, &token, NOW + 7 * DAY - 1) && !counts(&accounts, &token, NOW + 7 * DAY));

    let short = accounts
        .sign_in(" Ann@EXAMPLE.com", "password of ann".to_owned(), false, device(), NOW)
        .await
        .expect("the same account");
    assert_eq!(short.session.expires_at_ms, NOW + DAY);
    assert_eq!(accounts.sessions_of(&user.id, NOW).len(), 2);

    let again = open(&store);
    assert!(counts(&again, &token, NOW) && counts(&again, &short.token, NOW));
    let ended = again.end_sessions(user.id.clone(), "ann", NOW, |session| session.expires_at_ms > NOW + DAY).await;
    assert_eq!(ended.expect("written"), 1);
    assert!(!counts(&again, &token, NOW) && counts(&again, &short.token, NOW));
    let again = open(&store);
    assert!(!counts(&again, &token, NOW), "it has ended for good");
    again.note_used(NOW + DAY);
    assert!(again.sessions_of(&user.id, NOW).is_empty(), "what has run out is forgotten");
}

#[tokio::test]
async fn what_is_signed_up_with_has_rules() {
    let mut config = Config::default();
    config.accounts.users_max = 1;
    let accounts = Arc::new(open_with(&memory(), Path::new("none"), &config).expect("opens"));
    let new = |name: &str, email: &str, password: &str| NewUser {
        name: name.to_owned(),
        email: email.to_owned(),
        password: password.to_owned(),
    };
    for (new, words) in [
        (new("Ann", "ann", "long enough"), "no @"),
        (new("Ann", "ann@example.com", "short"), "at least 8"),
        (new("Ann", "ann@example.com", &"x".repeat(257)), "256"),
        (new(" ", "ann@example.com", "long enough"), "a name has"),
    ] {
        let error = accounts.sign_up(new, device(), NOW).await.err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
    sign_up(&accounts, "ann", NOW).await;
    let twice = accounts.sign_up(new("Ann", "ANN@example.com", "long enough"), device(), NOW).await;
    assert!(matches!(twice, Err(AccountError::EmailTaken)));
    let beyond = accounts.sign_up(new("Bob", "bob@example.com", "long enough"), device(), NOW).await;
    assert!(matches!(beyond, Err(AccountError::Full(_))));
    config.accounts.sign_up = SignUp::Closed;
    let closed = Arc::new(open_with(&memory(), Path::new("none"), &config).expect("opens"));
    let refused = closed.sign_up(new("Ann", "ann@example.com", "long enough"), device(), NOW).await;
    assert!(matches!(refused, Err(AccountError::SignUpClosed)));
    closed.add_user(new("Ann", "ann@example.com", "long enough"), "key k", NOW).await.expect("by an administrator");
}

#[tokio::test]
async fn accounts_from_one_address_have_a_bound() {
    let mut config = Config::default();
    config.accounts.sign_ups_per_hour = 2;
    let accounts = Arc::new(open_with(&memory(), Path::new("none"), &config).expect("opens"));
    sign_up(&accounts, "a", NOW).await;
    sign_up(&accounts, "b", NOW).await;
    let new =
        || NewUser { name: "c".to_owned(), email: "c@example.com".to_owned(), password: "password of c".to_owned() };
    let third = accounts.sign_up(new(), device(), NOW + 1_000).await;
    assert!(matches!(third, Err(AccountError::TooManyTries { retry_after_s: 3_599 })));
    accounts.sign_up(new(), device(), NOW + HOUR).await.expect("an hour later");
}

#[tokio::test]
async fn whoever_guesses_waits_longer_and_longer() {
    let accounts = open(&memory());
    sign_up(&accounts, "ann", NOW).await;
    for name in ["ann", "nobody"] {
        let mut now_ms = NOW;
        for _ in 0..6 {
            let wrong = sign_in(&accounts, name, "a wrong guess", now_ms).await.err().expect("refused");
            assert_eq!(wrong.to_string(), "Invalid email or password", "{name}: nobody learns who has an account");
        }
        for pause_s in [1, 2, 4] {
            let tried = sign_in(&accounts, name, "password of ann", now_ms).await.err().expect("too early");
            assert_eq!(tried.to_string(), format!("too many attempts; try again in {pause_s} s"), "{name}");
            now_ms += pause_s * 1_000;
            assert!(matches!(sign_in(&accounts, name, "wrong again", now_ms).await, Err(AccountError::WrongPassword)));
        }
    }
    let later = NOW + 60_000;
    sign_in(&accounts, "ann", "password of ann", later).await.expect("the right one, after the pause");
    let again = sign_in(&accounts, "ann", "a wrong guess", later).await;
    assert!(matches!(again, Err(AccountError::WrongPassword)), "and all is forgotten");
}

#[tokio::test]
async fn another_password_ends_all_sessions() {
    let store = memory();
    let accounts = open(&store);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    accounts.on_withdrawn(move |withdrawn| lock(&listener).push(withdrawn.clone()));
    let ann = sign_up(&accounts, "ann", NOW).await;
    let bob = sign_up(&accounts, "bob", NOW).await;
    let (before, standing) = (accounts.generation(), visitor(&accounts, &ann).await);
    let id = ann.user.id.clone();
    assert_eq!(accounts.set_password(id.clone(), "another one".to_owned(), "key k", NOW).await.expect("written"), 1);
    assert_eq!(*lock(&told), [Withdrawn::Session(ann.session.id.clone())]);
    assert!(accounts.generation() > before);
    assert!(accounts.confirm(&Arc::new(standing.clone()), "crm", NOW).await.is_none());
    for accounts in [accounts, open(&store)] {
        assert!(accounts.session(&ann.token, NOW).is_none() && accounts.session(&bob.token, NOW).is_some());
        assert!(matches!(sign_in(&accounts, "ann", "password of ann", NOW).await, Err(AccountError::WrongPassword)));
        sign_in(&accounts, "ann", "another one", NOW).await.expect("the new one");
    }
    let accounts = open(&store);
    let missing = accounts.set_password("nobody".into(), "another one".to_owned(), "key k", NOW).await;
    assert!(matches!(missing, Err(AccountError::NoUser)));
    assert_eq!(accounts.remove_user(id.clone(), "key k", NOW).await.expect("written"), 2);
    assert!(matches!(sign_in(&accounts, "ann", "another one", NOW).await, Err(AccountError::WrongPassword)));
    assert!(accounts.user(&id).is_none() && open(&store).user(&id).is_none());
}

#[tokio::test]
async fn sessions_of_one_user_and_of_all_have_bounds() {
    let mut accounts = open_with(&memory(), Path::new("none"), &Config::default()).expect("opens");
    (accounts.bounds.user_sessions, accounts.bounds.sessions) = (3, 4);
    let accounts = Arc::new(accounts);
    let first = sign_up(&accounts, "ann", NOW).await;
    let mut last = None;
    for later in 1..=3 {
        last = Some(sign_in(&accounts, "ann", "password of ann", NOW + later).await.expect("signed in"));
    }
    assert_eq!(accounts.sessions_of(&first.user.id, NOW).len(), 3);
    assert!(accounts.session(&first.token, NOW).is_none(), "the one that was not used for longest has ended");
    assert!(last.is_some_and(|last| accounts.session(&last.token, NOW).is_some()));
    sign_up(&accounts, "bob", NOW).await;
    let new =
        NewUser { name: "cid".to_owned(), email: "cid@example.com".to_owned(), password: "password of cid".to_owned() };
    assert!(matches!(accounts.sign_up(new, device(), NOW).await, Err(AccountError::Full(_))));
    sign_in(&accounts, "ann", "password of ann", NOW + 9).await.expect("in the place of another of hers");
}

#[tokio::test]
async fn rooms_permissions_and_protected_tables_have_bounds() {
    let mut config = Config::default();
    config.rooms.per_user_max = 2;
    let mut accounts = open_with(&memory(), Path::new("none"), &config).expect("opens");
    (accounts.bounds.rooms, accounts.bounds.permissions, accounts.bounds.protected) = (3, 2, 1);
    let accounts = Arc::new(accounts);
    let [ann, bob] = ["ann", "bob"].map(Arc::<str>::from);
    for room in ["r1", "r2"] {
        accounts.register(room, room, &ann, "ann", NOW).await.expect("registered");
    }
    let third = accounts.register("r3", "r3", &ann, "ann", NOW).await.expect_err("refused").to_string();
    assert_eq!(third, "Plan limit reached. Maximum 2 rooms allowed.");
    accounts.register("r3", "r3", &bob, "bob", NOW).await.expect("registered");
    let taken = accounts.register("r3", "x", &bob, "bob", NOW).await;
    assert!(matches!(taken, Err(AccountError::RoomTaken)));
    assert!(matches!(accounts.register("r4", "r4", &bob, "bob", NOW).await, Err(AccountError::Full(_))));
    assert!(matches!(accounts.protect("r4", "people", true, "k", NOW).await, Err(AccountError::Full(_))));
    accounts.protect("r1", "people", true, "k", NOW).await.expect("protected");
    assert!(matches!(accounts.protect("r1", "other", true, "k", NOW).await, Err(AccountError::Full(_))));
    for table in ["tasks", "people"] {
        accounts.permit("r1", bob.clone(), table, right(true, false), "k", NOW).await.expect("permitted");
    }
    let third = accounts.permit("r1", bob.clone(), "more", right(true, false), "k", NOW).await;
    assert!(matches!(third, Err(AccountError::Full(_))));
    accounts.permit("r1", bob.clone(), "tasks", right(false, false), "k", NOW).await.expect("taken away");
    accounts.permit("r1", bob, "more", right(true, false), "k", NOW).await.expect("there is place again");
    for (table, words) in [("a b", "letters"), ("1x", "letters"), ("\"x", "letters")] {
        let error = accounts.protect("r1", table, true, "k", NOW).await.expect_err("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn who_comes_first_owns_a_room_and_others_enter_as_the_configuration_says() {
    let store = memory();
    let open_mode = open(&store);
    let (ann, bob) = (sign_up(&open_mode, "ann", NOW).await, sign_up(&open_mode, "bob", NOW).await);
    let (a, b) = (visitor(&open_mode, &ann).await, visitor(&open_mode, &bob).await);
    open_mode.may_enter("crm", &a, NOW).await.expect("hers from now on");
    open_mode.may_enter("crm", &b, NOW + 5).await.expect("open to all who are known");
    assert_eq!(open_mode.rooms_of(&ann.user.id)[0].1.used_at_ms, NOW + 5);
    assert!(open_mode.rooms_of(&bob.user.id).is_empty());
    assert_eq!(open_mode.rooms_of(&ann.user.id)[0].1.name, "crm");

    let owners = in_owner_mode(&store);
    let refused = owners.may_enter("crm", &b, NOW).await.expect_err("not his");
    assert_eq!((refused.status, &*refused.text), (403, "Forbidden"));
    owners.may_enter("crm", &a, NOW).await.expect("hers");
    owners.permit("crm", bob.user.id.clone(), "tasks", right(true, false), "key k", NOW).await.expect("written");
    owners.may_enter("crm", &b, NOW).await.expect("with a permission");
    assert!(owners.confirm(&Arc::new(b.clone()), "crm", NOW).await.is_some());
    owners.permit("crm", bob.user.id.clone(), "tasks", right(false, false), "key k", NOW).await.expect("written");
    assert!(
        owners.confirm(&Arc::new(b.clone()), "crm", NOW).await.is_none()
            && owners.confirm(&Arc::new(a.clone()), "crm", NOW).await.is_some()
    );
    owners.set_owner("crm", bob.user.id.clone(), None, "key k", NOW).await.expect("written");
    assert!(
        owners.confirm(&Arc::new(b.clone()), "crm", NOW).await.is_some()
            && owners.confirm(&Arc::new(a.clone()), "crm", NOW).await.is_none()
    );

    // Whose rooms are whose outlives their accounts: nobody gets them by coming first.
    owners.remove_user(bob.user.id.clone(), "key k", NOW).await.expect("written");
    assert_eq!(owners.may_enter("crm", &a, NOW).await.expect_err("nobody's yet").status, 403);
    owners.unregister("crm", None, "key k", NOW).await.expect("written");
    owners.may_enter("crm", &a, NOW).await.expect("who comes first");
    let not_hers = owners.unregister("crm", Some(bob.user.id), "bob", NOW).await;
    assert!(matches!(not_hers, Err(AccountError::NoRoom)));
}

#[tokio::test]
async fn rules_of_a_room_are_the_same_until_they_change() {
    let accounts = open(&memory());
    let bob: Arc<str> = "bob".into();
    let usual = accounts.rules_of("crm");
    assert_eq!(*usual, RoomRules::default());
    assert!(usual.is_protected("tasks") && Arc::ptr_eq(&usual, &accounts.rules_of("other")));
    accounts.protect("crm", "People", true, "k", NOW).await.expect("written");
    accounts.permit("crm", bob.clone(), "people", right(true, true), "k", NOW).await.expect("written");
    accounts.permit("crm", bob.clone(), "tasks", right(true, false), "k", NOW).await.expect("written");
    let rules = accounts.rules_of("crm");
    assert!(Arc::ptr_eq(&rules, &accounts.rules_of("crm")));
    assert_eq!(rules.protected.iter().collect::<Vec<_>>(), ["people"]);
    assert_eq!(rules.readers.keys().collect::<Vec<_>>(), ["people", "tasks"]);
    assert_eq!(rules.writers.iter().collect::<Vec<_>>(), [(&"people".to_owned(), &[bob].into())]);
    accounts.protect("crm", "people", false, "k", NOW).await.expect("written");
    assert!(!accounts.rules_of("crm").protected.contains("people") && rules.protected.contains("people"));
    assert!(accounts.protect("crm", "tasks", false, "k", NOW).await.is_err(), "tasks is always protected");
    assert_eq!(accounts.rules_of("other").protected, usual.protected);
}

/// A folder with three keys: of the console, of the console and expired, and standard.
fn keys(name: &str) -> (PathBuf, [String; 3]) {
    let folder = std::env::temp_dir().join(format!("accounts-{name}-{}", std::process::id()));
    let file = KeyFile::open(&folder).expect("no file");
    let now_s = crate::auth::now_s();
    let spec = |expires_at_s| KeySpec {
        name: "n".to_owned(),
        owner: "u1".to_owned(),
        scopes: Scopes { read: true, write: false, admin: true },
        rooms: Vec::new(),
        expires_at_s,
    };
    let texts = file.change(|table| {
        let made = [
            table.create_as(KeyForm::Console, spec(None), now_s)?,
            table.create_as(KeyForm::Console, spec(Some(now_s - 5)), now_s - 10)?,
            table.create(spec(None), now_s)?,
        ];
        Ok(made.map(|made| made.text))
    });
    (folder, texts.expect("made"))
}

#[tokio::test]
async fn the_first_credential_that_is_shown_decides() {
    let (folder, [key, expired, standard]) = keys("first");
    let accounts = Arc::new(open_with(&memory(), &folder, &Config::default()).expect("opens"));
    std::fs::remove_dir_all(&folder).expect("it was made");
    let ann = sign_up(&accounts, "ann", NOW).await;
    let (user, token) = (&*ann.user.id, &*ann.token);
    let cookie = format!("Origin: http://h\r\nCookie: better-auth.session_token={token}\r\n");
    let bad_cookie = "Origin: http://h\r\nCookie: better-auth.session_token=x\r\n";
    let (log_in, invalid) = ("401 Unauthorized. Please log in.", "401 Unauthorized: Invalid API Key or Session");
    let unknown = "nk_live_00000000000000000000000000000000";
    let cases: &[(String, String, &str)] = &[
        ("/w".into(), "".into(), log_in),
        ("/w?key=abc".into(), "".into(), log_in),
        ("/w".into(), "X-User-ID: u1\r\n".into(), log_in),
        ("/w".into(), "Authorization: Basic eDp5\r\n".into(), log_in),
        (format!("/w?key={key}"), "".into(), "u1"),
        (format!("/w?api_key={key}&key={unknown}"), "".into(), "u1"),
        (format!("/w?key={unknown}"), format!("X-Nano-Key: {key}\r\n"), "u1"),
        (format!("/w?key={standard}"), "".into(), "u1"),
        ("/w".into(), format!("Authorization: Bearer {key}\r\n"), "u1"),
        (format!("/w?key={expired}"), "".into(), "401 API key expired"),
        (format!("/w?key={expired}"), cookie.clone(), "401 API key expired"),
        (format!("/w?key={unknown}"), cookie.clone(), "401 Invalid API key"),
        ("/w?key=nk_".into(), cookie.clone(), "401 Invalid API key"),
        (format!("/w?key={}", &standard[..60]), cookie.clone(), "401 Invalid API key"),
        ("/w?key=abc".into(), cookie.clone(), user),
        ("/w".into(), cookie.clone() + "X-User-ID: u1\r\n", user),
        ("/w".into(), cookie.replace(token, &format!("{token}.c2lnbmF0dXJl")), user),
        ("/w".into(), cookie.replace("better-auth", "__Secure-better-auth"), user),
        ("/w".into(), cookie.replace("http://h", "https://evil.example"), "403 cookies count only"),
        ("/w".into(), cookie.replace("Origin: http://h\r\n", ""), "403 cookies count only"),
        ("/w".into(), cookie.replace("http://h", "null"), "403 cookies count only"),
        ("/w".into(), bad_cookie.into(), invalid),
        (format!("/w?session_token={token}"), bad_cookie.into(), invalid),
        (format!("/w?session_token={token}"), "".into(), user),
        ("/w?session_token=x".into(), "".into(), invalid),
        ("/w".into(), format!("Authorization: Bearer {token}\r\n"), user),
        ("/w".into(), "Authorization: Bearer x\r\n".into(), invalid),
        (format!("/w?token={token}"), "".into(), log_in),
    ];
    for (target, headers, expected) in cases {
        let found = match identify(&accounts, target, headers).await {
            Ok(visitor) => visitor.user.to_string(),
            Err(ConsoleRefusal { status, text }) => format!("{status} {text}"),
        };
        assert!(found.starts_with(expected), "{target} {headers}: {found}, not {expected}");
        assert!(found.len() == expected.len() || expected.starts_with("403"), "{found}");
    }
    let by_key = identify(&accounts, &format!("/w?key={key}"), "").await.expect("it counts");
    assert_eq!(by_key.scopes, Scopes { read: true, write: false, admin: false });
    assert!(matches!(by_key.credential, ConsoleCredential::Key(_)) && by_key.expires_at_ms.is_none());
    let by_session = identify(&accounts, "/w", &cookie).await.expect("it counts");
    assert_eq!(by_session.credential, ConsoleCredential::Session(ann.session.id));
    assert_eq!(by_session.expires_at_ms, Some(NOW + 7 * DAY));
    // Who comes by a key owns nothing by coming first.
    accounts.may_enter("crm", &by_key, NOW).await.expect("open to all");
    assert!(accounts.room("crm").is_none());
}

#[tokio::test]
async fn whoever_is_in_by_a_key_goes_with_it() {
    let (folder, [key, ..]) = keys("goes");
    let accounts = Arc::new(open_with(&memory(), &folder, &Config::default()).expect("opens"));
    let visitor = identify(&accounts, &format!("/w?key={key}"), "").await.expect("it counts");
    assert!(accounts.confirm(&Arc::new(visitor.clone()), "crm", NOW).await.is_some());
    let ConsoleCredential::Key(id) = &visitor.credential else { panic!("by a key") };
    accounts.key_file().change(|table| table.remove(id).map(drop)).expect("written");
    assert!(accounts.confirm(&Arc::new(visitor.clone()), "crm", NOW).await.is_none());
    assert!(identify(&accounts, &format!("/w?key={key}"), "").await.is_err());
    std::fs::remove_dir_all(&folder).expect("it was made");
}

/// Everything that there is one of.
async fn filled(store: &Arc<dyn Store>) -> Arc<Accounts> {
    let accounts = open(store);
    let (ann, bob) = (sign_up(&accounts, "ann", NOW).await, sign_up(&accounts, "bob", NOW).await);
    sign_in(&accounts, "bob", "password of bob", NOW + 1).await.expect("signed in");
    accounts.register("crm", "Customers", &ann.user.id, "ann", NOW).await.expect("written");
    accounts.register("old", "Old", &ann.user.id, "ann", NOW).await.expect("written");
    accounts.unregister("old", None, "ann", NOW).await.expect("written");
    accounts.permit("crm", bob.user.id.clone(), "tasks", right(true, true), "k", NOW).await.expect("written");
    accounts.permit("free", bob.user.id.clone(), "tasks", right(true, false), "k", NOW).await.expect("written");
    accounts.protect("crm", "people", true, "k", NOW).await.expect("written");
    let visitor = visitor(&accounts, &ann).await;
    accounts.may_enter("crm", &visitor, NOW + 60_000).await.expect("hers");
    assert!(accounts.session(&ann.token, NOW + 90_000).is_some());
    accounts.note_used(NOW + 90_000);
    accounts
}

#[tokio::test]
async fn a_restart_and_a_sum_change_nothing() {
    let store = memory();
    let accounts = filled(&store).await;
    let before = all(&accounts);
    assert_eq!(before["rooms"]["crm"]["registered"]["used_at_ms"], NOW + 60_000);
    assert_eq!(before["rooms"].as_object().map(serde_json::Map::len), Some(2), "nothing is kept of what is nothing");
    drop(accounts);
    // The first is read from the log, and makes a sum of it; the second is read from that.
    for _ in 0..2 {
        let again = open(&store);
        assert_eq!(all(&again), before);
        assert_eq!(*again.rules_of("crm"), {
            let bob = again.user_of_email("bob@example.com").expect("known").id;
            let both: std::collections::BTreeMap<_, BTreeSet<_>> = [("tasks".to_owned(), [bob].into())].into();
            let protected = ["people".to_owned()].into();
            RoomRules { protected, readers: both.clone(), writers: both }
        });
    }
    let opened = store.open(&RoomKey::from(journal::KEY), 1).expect("opens");
    assert!(opened.snapshot.is_some() && opened.changes.is_empty());
}

#[tokio::test]
async fn a_long_log_becomes_a_sum() {
    let store = memory();
    let accounts = filled(&store).await;
    let long_name = "x".repeat(256);
    let mut written = 0;
    while written <= 5 << 20 {
        accounts.set_owner("crm", "ann".into(), Some(long_name.clone()), "k", NOW).await.expect("written");
        written += long_name.len() + 100;
    }
    let before = all(&accounts);
    let entries = || store.open(&RoomKey::from(journal::KEY), 1).expect("opens").changes.len();
    assert!(entries() > 10_000);
    accounts.note_used(NOW);
    assert_eq!(entries(), 0);
    accounts.set_owner("crm", "bob".into(), None, "k", NOW).await.expect("written");
    assert_eq!(entries(), 1, "and it goes on behind it");
    drop(accounts);
    let after = all(&open(&store));
    assert_eq!((&after["users"], &after["rooms"]["crm"]["registered"]["owner"]), (&before["users"], &"bob".into()));
}

#[tokio::test]
async fn secrets_are_not_in_what_is_written() {
    let store = memory();
    let accounts = open(&store);
    let SignedIn { token, .. } = sign_up(&accounts, "ann", NOW).await;
    let opened = store.open(&RoomKey::from(journal::KEY), 1).expect("opens");
    let written: Vec<String> =
        opened.changes.iter().map(|(_, change)| String::from_utf8_lossy(&change.bytes).into_owned()).collect();
    assert_eq!(written.len(), 2, "{written:?}");
    for text in written.iter().chain([&all(&accounts).to_string()]) {
        assert!(!text.contains(&token) && !text.contains("password of ann"), "{text}");
    }
    let debug = format!("{:?}", accounts.look(|state| state.users.clone()));
    assert!(debug.contains("password: hidden"), "{debug}");
}

#[tokio::test]
async fn what_cannot_be_read_back_keeps_the_server_from_starting() {
    let store = memory();
    drop(filled(&store).await);
    let opened = store.open(&RoomKey::from(journal::KEY), 1).expect("opens");
    let at = Position { epoch: opened.epoch, offset: opened.head };
    let damaged = Change { author: "k".into(), time_ms: 5, bytes: Bytes::from_static(b"{\"end-sessions\":[\"x\"") };
    store.append(&RoomKey::from(journal::KEY), at, &[damaged]).expect("appended");
    let refused = open_with(&store, Path::new("none"), &Config::default()).err().expect("damaged").to_string();
    assert!(refused.contains("is damaged") && refused.contains("admin.ignore_damage"), "{refused}");
    let mut config = Config::default();
    config.admin.ignore_damage = true;
    let accounts = open_with(&store, Path::new("none"), &config).expect("opens all the same");
    assert!(accounts.user_of_email("ann@example.com").is_some());
    // The sum that it has made is whole.
    assert!(open(&store).user_of_email("ann@example.com").is_some());
}

#[test]
fn strangers_make_accounts_only_where_nothing_else_says_who_somebody_is() {
    for (sign_up, auth, expected) in [
        (SignUp::Auto, false, true),
        (SignUp::Auto, true, false),
        (SignUp::Open, true, true),
        (SignUp::Closed, false, false),
    ] {
        let mut config = Config::default();
        (config.accounts.sign_up, config.auth.api_keys) = (sign_up, auth);
        let accounts = open_with(&memory(), Path::new("none"), &config).expect("opens");
        assert_eq!(accounts.is_open, expected, "{sign_up:?} {auth}");
    }
}

#[test]
fn requests_of_one_address_have_a_bound() {
    let mut config = Config::default();
    config.accounts.requests_per_minute = 2;
    config.exempt = Trusted::parse(&["10.0.0.0/8".to_owned()]).expect("legal");
    let accounts = open_with(&memory(), Path::new("none"), &config).expect("opens");
    let of = |address: [u8; 4]| ClientAddress::Ip(address.into());
    for _ in 0..2 {
        assert_eq!(accounts.may_request(of([192, 0, 2, 1]), NOW), Ok(()));
    }
    assert_eq!(accounts.may_request(of([192, 0, 2, 1]), NOW + 10_000), Err(50));
    assert_eq!(accounts.may_request(of([192, 0, 2, 2]), NOW + 10_000), Ok(()));
    assert!((0..9).all(|_| accounts.may_request(of([10, 1, 2, 3]), NOW).is_ok()), "exempt");
    assert_eq!(accounts.may_request(of([192, 0, 2, 1]), NOW + 60_000), Ok(()));
}
