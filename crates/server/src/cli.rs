//! The command line: what is to be done, and the strongest source of the configuration. Called by `main`, which does it. The
//! options are rows of the settings table. Reads the environment and the configuration file; starts nothing.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::{ConfigError, Loaded, SETTINGS, Setting, Sources};

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
    /// Print the effective configuration.
    PrintConfig,
    /// Put load on a server and measure it.
    Bench {
        /// What the load generator is told.
        words: Vec<String>,
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
    let environment = our_variables(environment)?;
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
    let file = Arg::new("file").value_name("FILE").required(true).value_parser(clap::value_parser!(PathBuf));
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
            clap::Command::new("export")
                .about("Write a document to standard output, as one Yjs update")
                .arg(room.clone()),
        )
        .subcommand(
            clap::Command::new("import")
                .about("Merge an exported document into a room")
                .arg(room)
                .arg(file.help("A Yjs v1 update, as export writes it")),
        )
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
        Some(("import", matches)) => {
            let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
            Command::Import { room: room(matches), file }
        }
        Some(("config", _)) => Command::PrintConfig,
        Some(("bench", matches)) => {
            let words = matches.get_many::<String>("words").into_iter().flatten().cloned().collect();
            Command::Bench { words }
        }
        _ => Command::Serve,
    }
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
            ("concord config --print", Command::PrintConfig),
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
            ("concord config", NOTHING, "--print"),
            ("concord frobnicate", NOTHING, "frobnicate"),
        ];
        for (line, variable, words) in cases {
            let error = understand(line, variable, NOTHING).expect_err(line).to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        // Looking at a configuration that could not serve is how one repairs it.
        assert!(understand("concord config --print --listen 0.0.0.0:1", NOTHING, NOTHING).is_ok());
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
