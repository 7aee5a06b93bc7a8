//! Where the server listens: a TCP port, and a Unix socket if one is asked for.

use super::Wire;
use super::certificates::CertificateError;
use crate::config::Config;
use std::fs::Permissions;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

/// Connections that may wait to be accepted: a thousand browsers return at once after a restart, and a shorter queue costs each of them a second.
const BACKLOG: u32 = 4_096;

/// Why the server does not listen. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port.
    #[error("cannot listen on {listen}: {error}{}", hint(.error))]
    Tcp {
        /// As configured.
        listen: SocketAddr,
        /// What the system says.
        error: Error,
    },
    /// Another server has the Unix socket.
    #[error("cannot listen on {path}: another server listens there; stop it, or choose another path with unix_socket")]
    InUse {
        /// As configured.
        path: PathBuf,
    },
    /// The path of the Unix socket has something else.
    #[error("cannot listen on {path}: there is something that is not a socket; choose another path with unix_socket")]
    NoSocket {
        /// As configured.
        path: PathBuf,
    },
    /// The Unix socket.
    #[error("cannot listen on {path}: {error}; choose another path with unix_socket, in a folder that exists")]
    Unix {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        error: Error,
    },
    /// What new connections would be shown.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

fn hint(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "; stop the program that listens there, or choose another port with --listen",
        ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose another with --listen",
        ErrorKind::AddrNotAvailable => "; this machine has no such address: choose another with --listen",
        _ => "",
    }
}

/// Everything that the server listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    tcp: TcpListener,
    admin: Option<TcpListener>,
    unix: Option<UnixSocketFile>,
}

impl Listeners {
    pub(crate) fn bind(config: &Config) -> Result<Self, ListenError> {
        let bind = |listen: SocketAddr| bind_tcp(listen).map_err(|error| ListenError::Tcp { listen, error });
        let tcp = bind(config.listen)?;
        let admin = config.admin.listen.map(bind).transpose()?;
        let bind_unix = |path: &PathBuf| UnixSocketFile::bind(path, config.unix_socket_mode);
        let unix = config.unix_socket.as_ref().map(bind_unix).transpose()?;
        Ok(Self { tcp, admin, unix })
    }

    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// The next connection of an administrator; never, when there is no address for them.
    pub(crate) async fn accept_administrator(&self) -> std::io::Result<Wire> {
        let Some(admin) = &self.admin else { return std::future::pending().await };
        let (socket, address) = admin.accept().await?;
        let _ = socket.set_nodelay(true);
        Ok(Wire::tcp(socket, address.into()))
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection, from anywhere.
    pub(crate) async fn accept(&self) -> std::io::Result<Wire> {
        let unix = async {
            match &self.unix {
                Some(unix) => unix.listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, address) = accepted?;
                // Without it a small frame waits up to 40 ms for the answer to the one before.
                let _ = stream.set_nodelay(true);
                Ok(Wire::tcp(stream, address.into()))
            }
            accepted = unix => Ok(Wire::unix(accepted?.0)),
        }
    }
}

fn bind_tcp(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// A Unix socket, whose file goes with it.
#[derive(Debug)]
struct UnixSocketFile {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocketFile {
    fn bind(path: &Path, mode: u32) -> Result<Self, ListenError> {
        make_way(path)?;
        let bind = || {
            let socket = UnixSocket::new_stream()?;
            socket.bind(path)?;
            // Nobody can connect before `listen`, so nobody gets in before the file has its mode.
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            socket.listen(BACKLOG)
        };
        let listener = bind().map_err(|error| ListenError::Unix { path: path.to_owned(), error })?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        // Without it the next start finds a file of a dead server, and removes that.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the socket of a server that is dead: nobody answers there.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let failed = |error| ListenError::Unix { path: path.to_owned(), error };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        // Gone meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
    }
}
