//! The server under test as a child of this process: started, killed and started again, by its own process id only. Made by the command line for `--start`.

use crate::LoadError;
use crate::process::Process;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// From its start until it listens; a large store may have to be read first.
const LISTEN_WAIT: Duration = Duration::from_secs(60);

/// From the request to stop until it has ended.
const STOP_WAIT: Duration = Duration::from_secs(40);

/// A server and how to start it.
pub(crate) struct Server {
    words: Vec<String>,
    address: SocketAddr,
    /// What asks it to stop: some servers store at SIGINT and just end at SIGTERM.
    stop_signal: String,
    child: Option<Child>,
}

impl Server {
    /// Starts it, and waits until it listens. Words are split at spaces; what has spaces in it goes into '…' or "…".
    pub(crate) fn start(command: &str, address: SocketAddr, stop_signal: &str) -> Result<Self, LoadError> {
        let words = split(command);
        if words.is_empty() {
            return Err(LoadError("--start is empty; give the server's command line".to_owned()));
        }
        if TcpStream::connect(address).is_ok() {
            return Err(LoadError(format!("{address} is taken; stop what listens there, or leave --start away")));
        }
        let mut server = Self { words, address, stop_signal: stop_signal.to_owned(), child: None };
        server.begin()?;
        Ok(server)
    }

    fn begin(&mut self) -> Result<(), LoadError> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| LoadError(format!("cannot start {}: {error}; check --start", self.words[0])))?;
        self.child = Some(child);
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                return Err(LoadError(format!(
                    "{} ended with {status} before it listened; run it by hand to see why",
                    self.words[0]
                )));
            }
            if began.elapsed() > LISTEN_WAIT {
                self.kill();
                return Err(LoadError(format!(
                    "{} does not listen on {} after {} s; --url and --start must name the same port",
                    self.words[0],
                    self.address,
                    LISTEN_WAIT.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub(crate) fn process(&self) -> Option<Process> {
        self.child.as_ref().map(|child| Process(child.id()))
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as an operator does, and as a crash if that takes too long.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // The standard library sends no signal but SIGKILL; the program that does is on every Unix.
        let asked = Command::new("kill").arg(format!("-{}", self.stop_signal)).arg(child.id().to_string()).status();
        let began = Instant::now();
        while asked.as_ref().is_ok_and(|status| status.success()) && began.elapsed() < STOP_WAIT {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                self.child = None;
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }

    /// Starts it again after it was ended. How long that took until it listened.
    pub(crate) fn start_again(&mut self) -> Result<Duration, LoadError> {
        let began = Instant::now();
        self.begin()?;
        Ok(began.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn split(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut begun = false;
    for letter in command.chars() {
        match quote {
            Some(mark) if letter == mark => quote = None,
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                begun = true;
            }
            None if letter.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_as_a_shell_does() {
        assert_eq!(
            split("taskset -c 0  a --data 'x y' \"\" b\"c d\""),
            ["taskset", "-c", "0", "a", "--data", "x y", "", "bc d"]
        );
        assert!(split("  ").is_empty());
    }
}
