//! An application, or an identity provider, as tests need it: answers HTTP as it is told, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Answers = Box<dyn FnMut(&str) -> (u16, String) + Send>;

pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    asked: watch::Sender<Vec<String>>,
    task: JoinHandle<()>,
}

impl Application {
    /// `answers`: from a whole request to status and body.
    pub(crate) async fn start(answers: impl FnMut(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(answers)));
        let asked = watch::Sender::new(Vec::new());
        let task = tokio::spawn({
            let (answers, asked) = (answers.clone(), asked.clone());
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (answers, asked) = (answers.clone(), asked.clone());
                    tokio::spawn(async move {
                        let mut bytes = Vec::new();
                        while !is_whole(&bytes) && matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
                        let request = String::from_utf8_lossy(&bytes).into_owned();
                        // An answer may wait: on a thread of the runtime it could keep all others from hearing of their sockets.
                        let answered = tokio::task::spawn_blocking(move || {
                            let answer = answers.lock().unwrap_or_else(PoisonError::into_inner)(&request);
                            (answer, request)
                        });
                        let ((status, body), request) = answered.await.expect("answers do not panic");
                        asked.send_modify(|asked| asked.push(request));
                        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
                        // Status 302 leads to where it came from; nobody may follow.
                        let location = format!("location: http://{address}/elsewhere\r\n");
                        let _ = stream
                            .write_all(format!("{head}{location}connection: close\r\n\r\n{body}").as_bytes())
                            .await;
                    });
                }
            }
        });
        Self { address, answers, asked, task }
    }

    pub(crate) fn url(&self, path: &str) -> server::fetch::Url {
        server::fetch::Url::parse(&format!("http://{}{path}", self.address)).expect("legal")
    }

    /// From now on it answers like this.
    pub(crate) fn answer(&self, answers: impl FnMut(&str) -> (u16, String) + Send + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(answers);
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until it was asked more than `count` times.
    pub(crate) async fn until_asked_more_than(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let waited = asked.wait_for(|asked| asked.len() > count);
        let _ = tokio::time::timeout(testkit::client::PATIENCE, waited).await.expect("it is asked");
    }

    /// It is down from now on: connections are refused.
    pub(crate) async fn go_down(&mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
