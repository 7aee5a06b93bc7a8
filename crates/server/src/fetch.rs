//! Asks other services over HTTP: signing keys, sessions, permissions. One request, one connection, one answer of bounded size in bounded time.
//!
//! Called by `auth`. Goes to the configured address only: it follows no redirect, uses no proxy, and does not connect to link-local addresses, where
//! clouds keep their machines' credentials.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Of an answer. A key set of a hundred keys is 60 KB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Requests at the same time, in each lane: a storm of visitors is a queue here, not a storm for the application.
const AT_ONCE: usize = 32;
/// Names that are looked up at the same time. Each takes a thread as long as the resolver does, whoever waits for it.
const LOOKUPS: usize = 2;

/// Who a request is for. Each has places of its own, so that strangers who come in numbers keep nobody from being confirmed who is in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    /// Who wants in.
    Newcomers,
    /// Who is in, and the keys that all depend on.
    Members,
}

/// Asks.
pub(crate) struct Fetcher {
    tls: TlsConnector,
    time_out: Duration,
    newcomers: Semaphore,
    members: Semaphore,
    lookups: Arc<Semaphore>,
}

/// An address to ask, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// `http` or `https`, a host, and no user name: what is in an address gets into logs.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let legal = matches!(uri.scheme_str(), Some("http" | "https"))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@');
        legal.then_some(Self(uri))
    }

    fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Without TLS, and to another machine: whoever is between can read the cookies and forge the keys.
    pub(crate) fn is_exposed(&self) -> bool {
        let loopback = |address: IpAddr| address.is_loopback();
        !self.is_tls() && self.host() != "localhost" && !self.host().parse().is_ok_and(loopback)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The query may hold a secret.
        write!(
            f,
            "{}://{}{}",
            self.0.scheme_str().unwrap_or_default(),
            self.0.host().unwrap_or_default(),
            self.0.path()
        )
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("its host has no address that may be asked")]
    NoAddress,
    #[error("its name cannot be in a certificate")]
    Name,
    #[error("it does not speak HTTP/1.1: {0}")]
    Http(#[from] hyper::Error),
    #[error("its answer is broken off or over 1 MiB")]
    Body,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Fetcher {
    /// Trusts the certificates that this machine trusts.
    pub(crate) fn new(time_out: Duration) -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            time_out,
            newcomers: Semaphore::new(AT_ONCE),
            members: Semaphore::new(AT_ONCE),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    pub(crate) async fn get(&self, url: &Url, headers: &[(&str, &str)], lane: Lane) -> Result<Fetched, FetchError> {
        self.ask(request(Method::GET, url, headers, Bytes::new()), url, lane).await
    }

    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: Bytes,
        lane: Lane,
    ) -> Result<Fetched, FetchError> {
        self.ask(request(Method::POST, url, headers, body), url, lane).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>, url: &Url, lane: Lane) -> Result<Fetched, FetchError> {
        let asked = async {
            let _permit = match lane {
                Lane::Newcomers => self.newcomers.acquire().await,
                Lane::Members => self.members.acquire().await,
            };
            let stream = self.connect(url).await?;
            if url.is_tls() {
                let name = ServerName::try_from(url.host().to_owned()).map_err(|_| FetchError::Name)?;
                let stream = self.tls.connect(name, stream).await.map_err(FetchError::Connect)?;
                exchange(stream, request).await
            } else {
                exchange(stream, request).await
            }
        };
        tokio::time::timeout(self.time_out, asked).await.unwrap_or(Err(FetchError::Late(self.time_out)))
    }

    async fn connect(&self, url: &Url) -> Result<TcpStream, FetchError> {
        let mut last = FetchError::NoAddress;
        for address in self.look_up(url).await.map_err(FetchError::Connect)?.into_iter().filter(may_be_asked) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = FetchError::Connect(error),
            }
        }
        Err(last)
    }

    async fn look_up(&self, url: &Url) -> std::io::Result<Vec<SocketAddr>> {
        let port = url.0.port_u16().unwrap_or(if url.is_tls() { 443 } else { 80 });
        if let Ok(address) = url.host().parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let (place, host) = (self.lookups.clone().acquire_owned().await, url.host().to_owned());
        let looked_up = tokio::task::spawn_blocking(move || {
            // Held until the resolver has answered, also when nobody waits any more.
            let _place = place;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        looked_up.await.map_err(std::io::Error::other)?
    }
}

fn request(method: Method, url: &Url, headers: &[(&str, &str)], body: Bytes) -> Request<Full<Bytes>> {
    let path = url.0.path_and_query().map_or("/", |path| path.as_str());
    let host = url.0.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder().method(method).uri(path).header(HOST, host).header(USER_AGENT, "concord");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).unwrap_or_else(|_| {
        // A value that no header may have, such as a cookie with a control character: nobody is logged in with that.
        Request::builder().uri(path).header(HOST, host).body(Full::default()).expect("the configured address is legal")
    })
}

fn may_be_asked(address: &SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchanged = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| FetchError::Body)?;
        Ok(Fetched { status, body: body.to_bytes() })
    };
    tokio::pin!(exchanged);
    // The connection is driven here, and ends with the answer.
    tokio::select! {
        done = &mut exchanged => done,
        ended = connection => match ended {
            Ok(()) => exchanged.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("https://id.example/keys?x=1", true, false),
            ("http://127.0.0.1:9/keys", true, false),
            ("http://localhost/keys", true, false),
            ("http://[::1]:9/keys", true, false),
            ("http://id.example/keys", true, true),
            ("ftp://id.example/keys", false, false),
            ("https://user:secret@id.example/", false, false),
            ("/keys", false, false),
            ("id.example", false, false),
            ("", false, false),
        ];
        for (text, legal, exposed) in cases {
            let url = Url::parse(text);
            assert_eq!(url.is_some(), legal, "{text}");
            assert_eq!(url.is_some_and(|url| url.is_exposed()), exposed, "{text}");
        }
        let url = Url::parse("https://id.example:8443/keys?secret=x").expect("legal");
        assert_eq!(url.to_string(), "https://id.example/keys");
        for (address, allowed) in [
            ("169.254.169.254:80", false),
            ("[fe80::1]:80", false),
            ("[::ffff:169.254.1.1]:80", false),
            ("10.0.0.1:80", true),
        ] {
            assert_eq!(may_be_asked(&address.parse().expect("an address")), allowed, "{address}");
        }
    }
}
