//! The command line of the load generator: one subcommand a workload, its parameters as options, and what happens around the runs. Called by
//! `concord bench`, which hangs [`command`] below its own, or by a binary of its own through [`main`].

use crate::LoadError;
use crate::ack::Ack;
use crate::dialect::{Dialect, Target};
use crate::document::AUTHORS;
use crate::fanout::{Fanout, Pace};
use crate::idle;
use crate::open;
use crate::presence::Presence;
use crate::process::open_files_max;
use crate::report::{Figure, Report};
use crate::run::Run;
use crate::server::Server;
use crate::slow_reader::SlowReader;
use crate::storm::Storm;
use crate::trace::Trace;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::cell::RefCell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  concord bench fanout --url ws://127.0.0.1:1234 --pid 4121 --clients 100 --writers 10 --rate 10000
  concord bench fanout --clients 100 --writers 10 --in-flight 4
  concord bench rooms --rooms 1000 --start \"concord --listen 127.0.0.1:1234 --data ./bench-data\"
  concord bench idle --connections 10000 --rooms 5000 --runs 3 --json idle.json --svg idle.svg
  taskset -c 1 concord bench storm --start \"taskset -c 0 concord --listen 127.0.0.1:1234 --data ./bench-data\"

Without --pid or --start the server's CPU time and memory are unknown. Rooms get new names in every run, and the server keeps them:
give it a data folder of its own. With --start each run meets a freshly started server. One thread: if \"load cpu\" is near 100 % in
a saturated run, the load was the bottleneck. The exit status tells whether anything was lost.";

/// An option with a number: name, what it stands for, default.
type Number = (&'static str, &'static str, &'static str);

/// Defaults of warm-up and measuring in seconds; None: there is none, or it lasts as long as it lasts.
#[derive(Clone, Copy)]
struct Times {
    warm_up: Option<&'static str>,
    measure: Option<&'static str>,
}

/// A workload: its name, what it does, its numbers, its seconds of warm-up and of measuring.
struct Workload {
    name: &'static str,
    about: &'static str,
    numbers: &'static [Number],
    times_s: Times,
    run: fn(&Run, &ArgMatches) -> Result<Vec<Figure>, LoadError>,
    /// How many connections it needs at once.
    connections: fn(&ArgMatches) -> usize,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "fanout",
        about: "Rooms in which some write and all read: deliveries, their cost and latency",
        numbers: &[
            ("rooms", "Rooms, all alike", "1"),
            ("clients", "Clients in each room", "100"),
            ("writers", "Of these, how many write", "10"),
            (
                "rate",
                "Deliveries a second in all, open loop; latency counts from the time at which an update is due",
                "10000",
            ),
            ("in-flight", "Saturated instead: updates under way per writer; 0 is off", "0"),
            ("text-bytes", "Text in each update, 32 to 4096", "80"),
        ],
        times_s: Times { warm_up: Some("2"), measure: Some("10") },
        run: fanout,
        connections: |matches| number(matches, "rooms") * number(matches, "clients"),
    },
    Workload {
        name: "rooms",
        about: "Many small rooms with one writer each, one update a second",
        numbers: &[
            ("rooms", "Rooms, all alike", "1000"),
            ("clients", "Clients in each room", "2"),
            ("writers", "Of these, how many write", "1"),
            ("rate", "Deliveries a second in all; 0 is one update a second and room", "0"),
            ("in-flight", "Saturated instead: updates under way per writer; 0 is off", "0"),
            ("text-bytes", "Text in each update, 32 to 4096", "80"),
        ],
        times_s: Times { warm_up: Some("2"), measure: Some("10") },
        run: fanout,
        connections: |matches| number(matches, "rooms") * number(matches, "clients"),
    },
    Workload {
        name: "trace",
        about: "A recorded editing session, one update a message, through one writer to one reader",
        numbers: &[("in-flight", "Updates that the writer sends before the reader has them", "512")],
        times_s: Times { warm_up: None, measure: None },
        run: |run, matches| {
            let path = matches.get_one::<String>("file").map(String::as_str).unwrap_or_default();
            Trace::read(path, number(matches, "in-flight"))?.run(run)
        },
        connections: |_| 3,
    },
    Workload {
        name: "idle",
        about: "Connections that do nothing once they are synced: time to connect, memory of each",
        numbers: &[("connections", "In all", "10000"), ("rooms", "They are spread over so many rooms", "5000")],
        times_s: Times { warm_up: None, measure: Some("5") },
        run: |run, matches| idle::run(run, number(matches, "connections").max(1), number(matches, "rooms").max(1)),
        connections: |matches| number(matches, "connections"),
    },
    Workload {
        name: "presence",
        about: "Cursors in one room: everybody renews its state and hands on what it learns, as providers do",
        numbers: &[
            ("clients", "In the room", "100"),
            ("rate", "New states of each client in a second", "10"),
            ("copies", "1: clients hand on the states of others, as providers do; 0: they do not", "1"),
        ],
        times_s: Times { warm_up: Some("2"), measure: Some("10") },
        run: |run, matches| {
            let (clients, rate) = (number(matches, "clients").max(2), number(matches, "rate").max(1) as f64);
            Presence { clients, rate, copies: number(matches, "copies") != 0 }.run(run)
        },
        connections: |matches| number(matches, "clients"),
    },
    Workload {
        name: "ack",
        about: "Acknowledgements: how long one author waits; with --start also whether they hold after kill -9",
        numbers: &[
            ("rate", "Updates a second", "500"),
            ("kill-after-s", "With --start: writing before the crash", "2"),
        ],
        times_s: Times { warm_up: Some("1"), measure: Some("10") },
        run: |run, matches| {
            let rate = number(matches, "rate").max(1) as f64;
            Ack { rate, kill_after_s: number(matches, "kill-after-s") as f64 }.run(run)
        },
        connections: |_| 2,
    },
    Workload {
        name: "open",
        about: "Open a document after a restart: the first client, then many at once; needs --start",
        numbers: &[
            ("bytes", "Text in the document, written by three clients in pieces", "311000"),
            ("clients", "After the first, at once", "100"),
        ],
        times_s: Times { warm_up: None, measure: None },
        run: |run, matches| open::run(run, number(matches, "bytes") as u64, number(matches, "clients")),
        connections: |matches| number(matches, "clients") + 1,
    },
    Workload {
        name: "storm",
        about: "Everybody comes back at once after a restart, with the document and with nothing; needs --start",
        numbers: &[
            ("rooms", "Rooms, all alike", "200"),
            ("clients", "Clients in each room", "10"),
            ("bytes", "Text in each room's document", "50000"),
        ],
        times_s: Times { warm_up: None, measure: None },
        run: |run, matches| {
            let (rooms, clients) = (number(matches, "rooms").max(1), number(matches, "clients").max(1));
            Storm { rooms, clients, bytes: number(matches, "bytes") as u64 }.run(run)
        },
        connections: |matches| number(matches, "rooms") * number(matches, "clients").max(AUTHORS),
    },
    Workload {
        name: "slow-reader",
        about: "A reader stops reading while others write, and goes on: the server's memory, and whether it gets everything",
        numbers: &[
            ("writers", "Who write", "2"),
            ("slow-readers", "Who stop reading; 0 shows what the document itself takes", "1"),
            ("rate", "Updates a second in all", "2000"),
            ("text-bytes", "Text in each update", "1024"),
            ("pause-s", "How long they do not read", "30"),
            ("grows", "1: the document grows by what is written; 0: values are set anew", "0"),
        ],
        times_s: Times { warm_up: Some("1"), measure: None },
        run: |run, matches| {
            let number = |name| number(matches, name);
            SlowReader {
                writers: number("writers").max(1),
                slow: number("slow-readers"),
                rate: number("rate") as f64,
                text_bytes: number("text-bytes").max(1),
                pause_s: number("pause-s") as f64,
                grows: number("grows") > 0,
            }
            .run(run)
        },
        connections: |matches| number(matches, "writers") + number(matches, "slow-readers") + 1,
    },
];

/// Understands the words after the program's name, and carries them out.
pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    match command("bench").try_get_matches_from(std::iter::once("bench".to_owned()).chain(words)) {
        Ok(matches) => execute(&matches),
        Err(error) => error.exit(),
    }
}

/// The command line as clap knows it, under this name.
pub fn command(name: &'static str) -> Command {
    Command::new(name)
        .about("Put load on a Yjs server and measure it")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(WORKLOADS.iter().map(subcommand))
}

fn subcommand(workload: &Workload) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let mut command = Command::new(workload.name).about(workload.about);
    for &(name, help, default) in workload.numbers {
        command = command.arg(text(name, "N", help).default_value(default).value_parser(value_parser!(usize)));
    }
    if workload.name == "trace" {
        let help = "Updates as conformance/traces.mjs --write makes them";
        command = command.arg(text("file", "FILE", help).required(true));
    }
    let times = [
        ("warm-up-s", workload.times_s.warm_up, "Before measuring"),
        ("seconds", workload.times_s.measure, "Of measuring"),
    ];
    for (name, default, help) in times {
        if let Some(default) = default {
            let seconds = text(name, "SECONDS", help).default_value(default);
            command = command.arg(seconds.value_parser(value_parser!(f64)));
        }
    }
    command
        .arg(text("url", "URL", "Where the server is; rooms are below it").default_value("ws://127.0.0.1:1234"))
        .arg(
            text("dialect", "DIALECT", "What the server speaks")
                .default_value(Dialect::NAMES[0])
                .value_parser(Dialect::NAMES),
        )
        .arg(text("token", "TOKEN", "For servers that ask for one").default_value(""))
        .arg(
            text("pid", "PID", "The server's process on this machine, for its CPU time and memory")
                .value_parser(value_parser!(u32)),
        )
        .arg(
            text("start", "COMMAND", "Start the server with this command line, and end it at the end")
                .conflicts_with("pid"),
        )
        .arg(
            text("stop-signal", "SIGNAL", "What asks a server of --start to stop")
                .default_value("TERM")
                .value_parser(["TERM", "INT"]),
        )
        .arg(
            text("runs", "N", "How often; medians are told")
                .default_value("1")
                .value_parser(value_parser!(u32).range(1..)),
        )
        .arg(text("json", "FILE", "Write parameters and results as one JSON object; - is standard output"))
        .arg(text("svg", "FILE", "Write the results as a chart"))
        .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("No table"))
}

/// Carries out a command line that [`command`] has understood. Fails if anything was lost.
pub fn execute(matches: &ArgMatches) -> ExitCode {
    match run_all(matches) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(matches: &ArgMatches) -> Result<bool, LoadError> {
    let named = matches.subcommand();
    let (workload, matches) = named
        .and_then(|(name, matches)| Some((WORKLOADS.iter().find(|workload| workload.name == name)?, matches)))
        .ok_or_else(|| LoadError("no workload was named".to_owned()))?;
    check_open_files((workload.connections)(matches))?;
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let target = Target::new(
        text("url").unwrap_or_default(),
        Dialect::named(text("dialect").unwrap_or_default()),
        text("token").unwrap_or_default(),
    )?;
    let stop_signal = text("stop-signal").unwrap_or("TERM");
    let start = |command| Server::start(command, target.address, stop_signal).map(RefCell::new);
    let server = text("start").map(start).transpose()?;
    // Workloads without them do not have the option.
    let seconds =
        |name: &str| matches.try_get_one::<f64>(name).ok().flatten().copied().unwrap_or_default().clamp(0.0, 1e6);
    let mut run = Run {
        target,
        server,
        pid: matches.get_one::<u32>("pid").copied(),
        warm_up_s: seconds("warm-up-s"),
        seconds: seconds("seconds"),
        number: 0,
    };
    if run.pid.is_some() && run.rss_bytes().is_none() {
        return Err(LoadError("there is no process with the number in --pid on this machine".to_owned()));
    }
    let mut report = Report::new(workload.name, parameters(workload, matches));
    for number in 0..matches.get_one::<u32>("runs").copied().unwrap_or(1) {
        run.number = number as usize;
        if number > 0
            && let Some(server) = &run.server
        {
            // Each run meets a server that has just started, with what it has stored.
            server.borrow_mut().stop();
            server.borrow_mut().start_again()?;
        }
        report.add((workload.run)(&run, matches)?);
    }
    write_report(&report, text("json"), text("svg"), matches.get_flag("quiet"))?;
    Ok(report.worst("lost").is_none_or(|lost| lost == 0.0))
}

fn write_report(report: &Report, json: Option<&str>, svg: Option<&str>, quiet: bool) -> Result<(), LoadError> {
    let write = |path: &str, text: String| {
        std::fs::write(path, text).map_err(|error| LoadError(format!("cannot write {path}: {error}")))
    };
    if !quiet {
        print!("{}", report.table());
    }
    match json {
        Some("-") => print!("{}", report.json()),
        Some(path) => write(path, report.json())?,
        None => {}
    }
    svg.map_or(Ok(()), |path| write(path, report.svg()))
}

/// The workload's options as they apply. Not the token, which is a secret, nor what does not change the result.
fn parameters(workload: &Workload, matches: &ArgMatches) -> Vec<(String, String)> {
    let numbers = workload.numbers.iter().map(|&(name, _, _)| name);
    let ids = numbers.chain(["file", "url", "dialect", "start", "warm-up-s", "seconds"]);
    let mut parameters: Vec<(String, String)> = ids
        .filter_map(|name| {
            let values: Vec<String> =
                matches.try_get_raw(name).ok().flatten()?.map(|value| value.to_string_lossy().into_owned()).collect();
            Some((name.replace('-', "_"), values.join(" ")))
        })
        .collect();
    parameters.sort();
    parameters
}

fn check_open_files(connections: usize) -> Result<(), LoadError> {
    // Besides: standard streams, epoll, files under /proc.
    let needed = connections + 32;
    match open_files_max() {
        Some(limit) if limit < needed => Err(LoadError(format!(
            "{connections} connections need {needed} open files, and the limit is {limit}; raise it with: ulimit -n {needed}"
        ))),
        _ => Ok(()),
    }
}

fn number(matches: &ArgMatches, name: &str) -> usize {
    matches.get_one::<usize>(name).copied().unwrap_or_default()
}

fn fanout(run: &Run, matches: &ArgMatches) -> Result<Vec<Figure>, LoadError> {
    let number = |name| number(matches, name);
    let (rooms, clients, writers) = (number("rooms"), number("clients"), number("writers"));
    let refuse = |text: &str| Err(LoadError(text.to_owned()));
    if rooms == 0 || clients < 2 || writers == 0 || writers > clients {
        return refuse(
            "--rooms and --writers must be at least 1, --clients at least 2, and --writers not more than --clients",
        );
    }
    if !(32..=4_096).contains(&number("text-bytes")) {
        return refuse("--text-bytes must be from 32 to 4096");
    }
    let pace = match (number("in-flight"), number("rate")) {
        (0, 0) => Pace::PerSecond((rooms * writers) as f64),
        (0, rate) => Pace::PerSecond(rate as f64 / (clients - 1) as f64),
        (limit, _) => Pace::InFlight(limit),
    };
    Fanout { rooms, clients, writers, pace, text_bytes: number("text-bytes") }.run(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_understands_its_defaults() {
        command("bench").debug_assert();
        for workload in WORKLOADS {
            let matches = command("bench").try_get_matches_from(
                ["bench", workload.name].into_iter().chain((workload.name == "trace").then_some("--file=f")),
            );
            let matches = matches.expect(workload.name);
            let (_, matches) = matches.subcommand().expect("a workload");
            for (name, _, default) in workload.numbers {
                assert_eq!(number(matches, name).to_string(), *default, "{}", workload.name);
            }
        }
    }
}
