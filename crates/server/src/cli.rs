//! The command line: what is to be done, and the strongest source of the configuration. Called by `main`, which does it. The
//! options are rows of the settings table. Reads the environment and the configuration file; starts nothing.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::{ConfigError, Loaded, SETTINGS, Setting, Sources};
use crate::import::Migration;
use identity::api_key::KeyForm;
use identity::{Grant, RoomPattern, Scopes, parse_duration_s};
use migrate::Origin;

/// Read when no other file is named, and only if it exists.
const DEFAULT_FILE: &str = "concord.toml";

const EXAMPLES: &str = "\
Examples:
  concord                                     serve ws://127.0.0.1:1234, documents in ./concord-data
  concord --listen 0.0.0.0:1234 --anonymous   let everybody on the network in
  concord --config /etc/concord.toml          take settings from a file
  concord config --print                      show every setting and where its value comes from
  concord rooms --data ./concord-data         list the stored rooms
  concord export team/notes > notes.bin       write a document as one Yjs update
  concord import team/notes notes.bin         read it back into a room
  concord import --from y-leveldb ./dbDir     read in what another server has stored; --dry-run only looks
  concord key create --name ci --owner bot    make an API key; it is shown once
  concord token --user u1 --room 'team/*:write' --ttl 1h
                                              make a token for development, signed with auth.secret
  concord token inspect TOKEN                 explain a token: each claim, and whether it counts here
  concord bench fanout --clients 100          measure a server that runs, this one or another

Every setting can also be given as an environment variable (CONCORD_LISTEN) or in concord.toml; all of them are in
docs/configuration.md and in the output of concord config --print.";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve until stopped; what is meant when nothing is said.
    Serve,
    /// List the rooms of the store.
    Rooms,
    /// Write a room's document to standard output.
    Export {
        /// Its name.
        room: String,
    },
    /// Merge an exported document into a room.
    Import {
        /// Its name.
        room: String,
        /// One Yjs v1 update.
        file: PathBuf,
    },
    /// Merge the documents of another server into rooms of the same names.
    ImportFrom {
        /// Whose, from where, and which.
        migration: Migration,
        /// Nothing is imported, only told what could be.
        dry_run: bool,
    },
    /// Print the effective configuration.
    PrintConfig,
    /// Make, list or take back API keys.
    Key(KeyCommand),
    /// Make or explain a token.
    Token(TokenCommand),
    /// Put load on a server and measure it.
    Bench {
        /// What the load generator is told.
        words: Vec<String>,
    },
}

/// What is to be done with API keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCommand {
    /// Make one.
    Create {
        /// How it is written, and where it counts.
        form: KeyForm,
        /// What people call it.
        name: String,
        /// Whom its changes are credited to.
        owner: String,
        /// What it may be used for.
        scopes: Scopes,
        /// Where; none: everywhere.
        rooms: Vec<RoomPattern>,
        /// How long, in seconds; `None`: for good.
        ttl_s: Option<u64>,
    },
    /// Show all of them.
    List,
    /// Take one back.
    Revoke {
        /// Its id.
        id: String,
    },
    /// Make another like it, and let it run out.
    Rotate {
        /// Its id.
        id: String,
        /// For how long both count, in seconds.
        overlap_s: u64,
    },
}

/// What is to be done with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenCommand {
    /// Make one.
    Mint {
        /// Whose.
        user: String,
        /// What to show to people.
        name: Option<String>,
        /// Of which organisation.
        firm: Option<String>,
        /// For which rooms; none: it does not say.
        rooms: Vec<Grant>,
        /// How long it counts, in seconds.
        ttl_s: u64,
    },
    /// Explain one.
    Inspect {
        /// It.
        token: String,
    },
}

/// A command line, understood.
#[derive(Debug)]
pub struct Invocation {
    /// What is to be done.
    pub command: Command,
    /// With which configuration.
    pub loaded: Loaded,
}

/// Why a command line is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong usage, or a request for help, which goes to standard output with status 0.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A wrong setting, wherever it comes from.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Understands the command line of this process. Ends the process for `--help`, `--version` and wrong usage.
pub fn parse() -> Result<Invocation, ConfigError> {
    let environment = std::env::vars_os().collect();
    let parsed = parse_from(std::env::args_os(), environment, &|path| std::fs::read_to_string(path));
    parsed.map_err(|error| match error {
        CliError::Usage(error) => error.exit(),
        CliError::Config(error) => error,
    })
}

/// Like [`parse`], with arguments, environment and files handed in.
pub fn parse_from(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Invocation, CliError> {
    let matches = command_line().try_get_matches_from(arguments)?;
    let command = command_of(&matches);
    if matches!(command, Command::Bench { .. }) {
        // It measures any server, and has options of its own.
        return Ok(Invocation { command, loaded: Loaded::from_sources(&Sources::default())? });
    }
    let environment = secrets_from_files(our_variables(environment)?, read)?;
    let named = matches.get_one::<PathBuf>("config").cloned().or_else(|| {
        let variable = environment.iter().find(|(name, _)| name == "CONCORD_CONFIG");
        variable.map(|(_, path)| PathBuf::from(path))
    });
    let file = read_file(named, read)?;
    let loaded = Loaded::from_sources(&Sources { file, environment, command_line: options_of(&matches) })?;
    if command == Command::Serve {
        loaded.config.check()?;
    }
    Ok(Invocation { command, loaded })
}

fn command_line() -> clap::Command {
    let room = Arg::new("room").value_name("ROOM").required(true).help("Name of the room");
    let print = Arg::new("print").long("print").action(ArgAction::SetTrue).required(true);
    let config = Arg::new("config").long("config").value_name("FILE").global(true);
    let config = config.value_parser(clap::value_parser!(PathBuf));
    clap::Command::new("concord")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Real-time collaboration server: any Yjs client meets any other in the same room")
        .after_help(EXAMPLES)
        .arg(config.help("Configuration file [default: ./concord.toml, if it exists] [env: CONCORD_CONFIG]"))
        .args(SETTINGS.iter().filter_map(option))
        .subcommand(clap::Command::new("serve").about("Serve until stopped (the default)"))
        .subcommand(clap::Command::new("rooms").about("List the stored rooms"))
        .subcommand(
            clap::Command::new("export").about("Write a document to standard output, as one Yjs update").arg(room),
        )
        .subcommand(import_command())
        .subcommand(key_command())
        .subcommand(token_command())
        .subcommand(
            // It has options of its own and needs none of the server's.
            clap::Command::new("bench")
                .about("Put load on any Yjs server and measure it; see concord bench --help")
                .disable_help_flag(true)
                .arg(Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).hide(true)),
        )
        .subcommand(
            clap::Command::new("config")
                .about("Show the effective configuration")
                .arg(print.help("Print every setting with its value and source, as a valid concord.toml")),
        )
}

fn import_command() -> clap::Command {
    let origins = Origin::ALL.map(Origin::name);
    let from = Arg::new("from").long("from").value_name("ORIGIN").value_parser(origins);
    let only = Arg::new("only").long("room").value_name("NAME").action(ArgAction::Append).requires("from");
    let dry_run = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).requires("from");
    let place = Arg::new("place").value_name("ROOM|PATH").required(true).value_parser(clap::value_parser!(OsString));
    let file = Arg::new("file").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
    clap::Command::new("import")
        .about("Merge an exported document into a room, or all documents of another server into rooms")
        .override_usage("concord import ROOM FILE\n       concord import --from ORIGIN PATH [--room NAME]... [--dry-run]")
        .after_help("What is in a room already stays; importing twice changes nothing. docs/migrate.md has more about each origin.")
        .arg(place.help("Name of the room; with --from: the file or folder with the documents"))
        .arg(
            file.required_unless_present("from")
                .conflicts_with_all(["from", "only", "dry-run"])
                .help("A Yjs v1 update, as export writes it"),
        )
        .arg(from.help("Whose data it is"))
        .arg(only.help("Only the document of this name; may be repeated"))
        .arg(dry_run.help("Only list the documents, and whether they can be read; no data folder is needed"))
}

fn key_command() -> clap::Command {
    let id = Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("The part of the key between its underscores, or as key list shows it");
    let named = |name: &'static str, what: &'static str| Arg::new(name).long(name).value_name(what);
    let scope = named("scope", "SCOPES").default_value("read,write").value_parser(scopes);
    let room = named("room", "PATTERN").action(ArgAction::Append).value_parser(room_pattern);
    let form = named("form", "FORM").default_value("standard").value_parser(key_form);
    let create = clap::Command::new("create")
        .about("Make an API key, and show it once")
        .arg(named("name", "NAME").required(true).help("What people call it"))
        .arg(named("owner", "USER").required(true).help("Whom its changes are credited to"))
        .arg(scope.help("What it may be used for: read, write, admin, separated by commas"))
        .arg(
            room.help("Rooms that it is for, with a * at the end for all that begin alike; may be repeated; none: all"),
        )
        .arg(named("ttl", "TIME").value_parser(duration).help("How long it counts: 90s, 15m, 1h, 7d; none: for good"))
        .arg(form.help("standard (concord_...), or console (nk_live_...), which counts for room databases only"));
    let overlap = named("overlap", "TIME").default_value("1d").value_parser(duration);
    clap::Command::new("key")
        .about("Make, list and take back API keys, also while the server runs")
        .subcommand_required(true)
        .subcommand(create)
        .subcommand(clap::Command::new("list").about("List all keys, with their last use"))
        .subcommand(
            clap::Command::new("revoke").about("Take a key back; its connections end within a second").arg(id.clone()),
        )
        .subcommand(
            clap::Command::new("rotate")
                .about("Make a key like another one, which then runs out")
                .arg(id)
                .arg(overlap.help("For how long both count")),
        )
}

fn token_command() -> clap::Command {
    let named = |name: &'static str, what: &'static str| Arg::new(name).long(name).value_name(what);
    let room = named("room", "PATTERN:PERMISSION").action(ArgAction::Append).value_parser(grant);
    clap::Command::new("token")
        .about("Make a token for development, signed with auth.secret")
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(named("user", "USER").required(true).help("Whose it is"))
        .arg(named("name", "NAME").help("What to show to people"))
        .arg(named("firm", "FIRM").help("Of which organisation"))
        .arg(
            room.help(
                "Rooms that it is for, such as 'team/*:write'; may be repeated; none: as the rooms' own rules say",
            ),
        )
        .arg(
            named("ttl", "TIME")
                .default_value("1h")
                .value_parser(duration)
                .help("How long it counts: 90s, 15m, 1h, 7d"),
        )
        .subcommand(
            clap::Command::new("inspect")
                .about("Explain a token: each claim, and whether it counts here and why")
                .arg(Arg::new("token").value_name("TOKEN").required(true).allow_hyphen_values(true)),
        )
}

fn key_form(text: &str) -> Result<KeyForm, &'static str> {
    KeyForm::parse(text).ok_or("a form is standard or console")
}

fn scopes(text: &str) -> Result<Scopes, &'static str> {
    Scopes::parse(text).ok_or("scopes are read, write and admin, each at most once, separated by commas")
}

fn room_pattern(text: &str) -> Result<RoomPattern, &'static str> {
    RoomPattern::parse(text).ok_or("a pattern is a room's name, or the beginning of names with a * at its end")
}

fn grant(text: &str) -> Result<Grant, &'static str> {
    Grant::parse(text).ok_or("it must be PATTERN:read or PATTERN:write, with a * only at the pattern's end")
}

fn duration(text: &str) -> Result<u64, &'static str> {
    parse_duration_s(text).ok_or("it must be a time such as 90s, 15m, 1h or 7d")
}

/// The option of a setting that has one.
fn option(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let help =
        format!("{} [default: {}] [env: {}]", setting.doc.replace('`', ""), setting.default, setting.environment());
    let option = Arg::new(setting.key).long(flag).help(help).global(true);
    Some(if setting.is_switch() { option.action(ArgAction::SetTrue) } else { option.value_name(setting.value_name) })
}

fn options_of(matches: &ArgMatches) -> Vec<(&'static Setting, String)> {
    let given = |setting: &&'static Setting| {
        setting.flag.is_some() && matches.value_source(setting.key) == Some(clap::parser::ValueSource::CommandLine)
    };
    let value = |setting: &'static Setting| {
        let text = if setting.is_switch() { None } else { matches.get_one::<String>(setting.key).cloned() };
        (setting, text.unwrap_or_else(|| "true".to_owned()))
    };
    SETTINGS.iter().filter(given).map(value).collect()
}

fn command_of(matches: &ArgMatches) -> Command {
    let room = |matches: &ArgMatches| matches.get_one::<String>("room").cloned().unwrap_or_default();
    match matches.subcommand() {
        Some(("rooms", _)) => Command::Rooms,
        Some(("export", matches)) => Command::Export { room: room(matches) },
        Some(("import", matches)) => import_command_of(matches),
        Some(("config", _)) => Command::PrintConfig,
        Some(("key", matches)) => Command::Key(key_command_of(matches)),
        Some(("token", matches)) => Command::Token(token_command_of(matches)),
        Some(("bench", matches)) => {
            let words = matches.get_many::<String>("words").into_iter().flatten().cloned().collect();
            Command::Bench { words }
        }
        _ => Command::Serve,
    }
}

fn import_command_of(matches: &ArgMatches) -> Command {
    let place = matches.get_one::<OsString>("place").cloned().unwrap_or_default();
    let from = text_of(matches, "from");
    let Some(origin) = Origin::ALL.into_iter().find(|origin| Some(origin.name()) == from.as_deref()) else {
        let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
        return Command::Import { room: place.to_string_lossy().into_owned(), file };
    };
    let rooms = matches.get_many("only").into_iter().flatten().cloned().collect();
    let migration = Migration { origin, path: place.into(), rooms };
    Command::ImportFrom { migration, dry_run: matches.get_flag("dry-run") }
}

fn key_command_of(matches: &ArgMatches) -> KeyCommand {
    let id = |matches: &ArgMatches| text_of(matches, "id").unwrap_or_default();
    match matches.subcommand() {
        Some(("create", matches)) => KeyCommand::Create {
            form: matches.get_one("form").copied().unwrap_or_default(),
            name: text_of(matches, "name").unwrap_or_default(),
            owner: text_of(matches, "owner").unwrap_or_default(),
            scopes: matches.get_one("scope").copied().unwrap_or_default(),
            rooms: matches.get_many("room").into_iter().flatten().cloned().collect(),
            ttl_s: matches.get_one("ttl").copied(),
        },
        Some(("revoke", matches)) => KeyCommand::Revoke { id: id(matches) },
        Some(("rotate", matches)) => {
            KeyCommand::Rotate { id: id(matches), overlap_s: matches.get_one("overlap").copied().unwrap_or_default() }
        }
        _ => KeyCommand::List,
    }
}

fn token_command_of(matches: &ArgMatches) -> TokenCommand {
    if let Some(("inspect", matches)) = matches.subcommand() {
        return TokenCommand::Inspect { token: text_of(matches, "token").unwrap_or_default() };
    }
    TokenCommand::Mint {
        user: text_of(matches, "user").unwrap_or_default(),
        name: text_of(matches, "name"),
        firm: text_of(matches, "firm"),
        rooms: matches.get_many("room").into_iter().flatten().cloned().collect(),
        ttl_s: matches.get_one("ttl").copied().unwrap_or_default(),
    }
}

fn text_of(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

/// `CONCORD_AUTH_SECRET_FILE=path` for `CONCORD_AUTH_SECRET`: secrets that are mounted as files never stand in an environment, which others can read.
fn secrets_from_files(
    variables: Vec<(String, String)>,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let secret = |name: &str| {
        let name = name.strip_suffix("_FILE")?;
        SETTINGS.iter().any(|setting| setting.secret && setting.environment() == name).then(|| name.to_owned())
    };
    let resolved = variables.into_iter().map(|(name, value)| match secret(&name) {
        Some(name) => match read(Path::new(&value)) {
            Ok(text) => Ok((name, text.trim_end_matches(['\n', '\r']).to_owned())),
            Err(error) => Err(ConfigError::Unreadable { path: value, error }),
        },
        None => Ok((name, value)),
    });
    resolved.collect()
}

/// The variables that begin with `CONCORD_`, in order of their names, so that of several errors always the same is told.
fn our_variables(environment: Vec<(OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut ours = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CONCORD_") {
            let value = value.into_string().map_err(|_| ConfigError::NotText { name: name.clone() })?;
            ours.push((name, value));
        }
    }
    ours.sort();
    Ok(ours)
}

/// A file that was named must be readable; the default file need not be there.
fn read_file(
    named: Option<PathBuf>,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Option<(String, String)>, ConfigError> {
    let optional = named.is_none();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    match read(&path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::Unreadable { path: path.display().to_string(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Understands a line as a shell would split it, with one variable and one file.
    fn understand(line: &str, variable: (&str, &str), file: (&str, &str)) -> Result<Invocation, CliError> {
        let arguments = line.split(' ').map(OsString::from);
        let environment = vec![(variable.0.into(), variable.1.into()), ("PATH".into(), "/bin".into())];
        parse_from(arguments, environment, &|path| match path == Path::new(file.0) {
            true => Ok(file.1.to_owned()),
            false => Err(io::ErrorKind::NotFound.into()),
        })
    }

    const NOTHING: (&str, &str) = ("", "");

    #[test]
    fn commands() {
        let cases = [
            ("concord", Command::Serve),
            ("concord serve", Command::Serve),
            ("concord serve --listen 127.0.0.1:9", Command::Serve),
            ("concord --data d rooms", Command::Rooms),
            ("concord export team/7 --data d", Command::Export { room: "team/7".to_owned() }),
            ("concord import r f.bin", Command::Import { room: "r".to_owned(), file: "f.bin".into() }),
            (
                "concord import --from y-leveldb ./db --room a --room b/c --dry-run --data d",
                Command::ImportFrom {
                    migration: Migration {
                        origin: Origin::YLeveldb,
                        path: "./db".into(),
                        rooms: vec!["a".to_owned(), "b/c".to_owned()],
                    },
                    dry_run: true,
                },
            ),
            (
                "concord import x.sqlite --from hocuspocus-sqlite",
                Command::ImportFrom {
                    migration: Migration { origin: Origin::HocuspocusSqlite, path: "x.sqlite".into(), rooms: vec![] },
                    dry_run: false,
                },
            ),
            ("concord config --print", Command::PrintConfig),
            ("concord key list", Command::Key(KeyCommand::List)),
            ("concord key revoke abc --data d", Command::Key(KeyCommand::Revoke { id: "abc".to_owned() })),
            (
                "concord key rotate abc --overlap 1h",
                Command::Key(KeyCommand::Rotate { id: "abc".to_owned(), overlap_s: 3_600 }),
            ),
            (
                "concord key create --name ci --owner bot --scope read,admin --room a/* --room b --ttl 7d",
                Command::Key(KeyCommand::Create {
                    form: KeyForm::Standard,
                    name: "ci".to_owned(),
                    owner: "bot".to_owned(),
                    scopes: Scopes { read: true, write: false, admin: true },
                    rooms: ["a/*", "b"].map(|text| RoomPattern::parse(text).expect("legal")).to_vec(),
                    ttl_s: Some(604_800),
                }),
            ),
            (
                "concord key create --name x --owner u1 --form console",
                Command::Key(KeyCommand::Create {
                    form: KeyForm::Console,
                    name: "x".to_owned(),
                    owner: "u1".to_owned(),
                    scopes: Scopes { read: true, write: true, admin: false },
                    rooms: vec![],
                    ttl_s: None,
                }),
            ),
            (
                "concord token --user u1 --room team/*:write --ttl 15m",
                Command::Token(TokenCommand::Mint {
                    user: "u1".to_owned(),
                    name: None,
                    firm: None,
                    rooms: vec![Grant::parse("team/*:write").expect("legal")],
                    ttl_s: 900,
                }),
            ),
            ("concord token inspect -x.y", Command::Token(TokenCommand::Inspect { token: "-x.y".to_owned() })),
        ];
        for (line, expected) in cases {
            assert_eq!(understand(line, NOTHING, NOTHING).expect(line).command, expected, "{line}");
        }
    }

    #[test]
    fn options_come_before_the_environment_and_that_before_the_file() {
        let file = ("concord.toml", "listen = \"127.0.0.1:1\"\n");
        let variable = ("CONCORD_LISTEN", "127.0.0.1:2");
        let cases = [
            ("concord", NOTHING, NOTHING, 1234),
            ("concord", NOTHING, file, 1),
            ("concord", variable, file, 2),
            ("concord serve --listen 127.0.0.1:3", variable, file, 3),
            ("concord --listen 127.0.0.1:3 serve", variable, file, 3),
            ("concord --config other.toml", NOTHING, ("other.toml", file.1), 1),
            ("concord", ("CONCORD_CONFIG", "other.toml"), ("other.toml", file.1), 1),
        ];
        for (line, variable, file, port) in cases {
            let config = understand(line, variable, file).expect(line).loaded.config;
            assert_eq!(config.listen.port(), port, "{line}");
        }
        let open = understand("concord --listen 0.0.0.0:1 --anonymous", NOTHING, NOTHING).expect("allowed");
        assert!(open.loaded.config.auth.anonymous);
        assert!(open.loaded.to_toml().contains("anonymous = true # command line --anonymous"));
    }

    #[test]
    fn wrong_lines_are_refused_in_words() {
        let cases = [
            ("concord --listen 0.0.0.0:1", NOTHING, "--anonymous"),
            ("concord --listen here", NOTHING, "command line --listen"),
            ("concord --config none.toml", NOTHING, "cannot read none.toml"),
            ("concord rooms", ("CONCORD_NONE", "1"), "unknown setting CONCORD_NONE"),
            ("concord --port 1", NOTHING, "--port"),
            ("concord export", NOTHING, "<ROOM>"),
            ("concord import r", NOTHING, "<FILE>"),
            ("concord import r f --dry-run", NOTHING, "cannot be used with"),
            ("concord import r --room x", NOTHING, "--from"),
            ("concord import --from y-leveldb a b", NOTHING, "cannot be used with"),
            ("concord import --from redis a", NOTHING, "y-sweet"),
            ("concord config", NOTHING, "--print"),
            ("concord frobnicate", NOTHING, "frobnicate"),
            ("concord key create --name n --owner o --scope root", NOTHING, "scopes are read, write and admin"),
            ("concord key create --name n --owner o --form short", NOTHING, "standard or console"),
            ("concord token --user u --room a:all", NOTHING, "PATTERN:read"),
            ("concord token --user u --ttl soon", NOTHING, "such as 90s"),
            ("concord token", NOTHING, "--user"),
            ("concord", ("CONCORD_AUTH_SECRET_FILE", "none"), "cannot read none"),
        ];
        for (line, variable, words) in cases {
            let error = understand(line, variable, NOTHING).expect_err(line).to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        // Looking at a configuration that could not serve is how one repairs it.
        assert!(understand("concord config --print --listen 0.0.0.0:1", NOTHING, NOTHING).is_ok());
    }

    #[test]
    fn secrets_can_be_files_and_are_never_printed() {
        let variable = ("CONCORD_AUTH_SECRET_FILE", "secret.txt");
        let file = ("secret.txt", "0123456789abcdef0123456789abcdef\n");
        let loaded = understand("concord", variable, file).expect("legal").loaded;
        assert_eq!(loaded.config.auth.secret.as_str(), file.1.trim_end());
        assert!(loaded.to_toml().contains("secret = \"***\" # environment CONCORD_AUTH_SECRET"));
        let short = understand("concord", ("CONCORD_AUTH_SECRET", "hunter2"), NOTHING).expect_err("too short");
        assert!(short.to_string().contains("32 bytes") && !short.to_string().contains("hunter2"), "{short}");
        assert!(understand("concord bench fanout", ("CONCORD_WORKERS", ""), NOTHING).is_ok());
    }

    #[test]
    fn help_names_every_option_and_shows_examples() {
        command_line().debug_assert();
        let help = understand("concord --help", NOTHING, NOTHING).expect_err("help is no invocation").to_string();
        for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
            assert!(help.contains(&setting.environment()), "{}", setting.key);
        }
        assert!(help.contains("concord config --print"));
    }
}
