//! The `concord` command: understands its arguments, and does what they say.

use server::cli::{Command, parse};
use server::config::{Durability, Loaded};
use server::{Outcome, Server, open_store};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::Arc;
use store::Store;

/// What `import --from` ends with when it went to the end, and some documents are not imported.
const SOME_FAILED: u8 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("concord: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let invocation = parse()?;
    let loaded = invocation.loaded;
    let store = || open_store(&loaded.config);
    match invocation.command {
        Command::Serve => return serve(&loaded),
        Command::Bench { words } => return Ok(load::main(words.into_iter())),
        Command::PrintConfig => print!("{}", loaded.to_toml()),
        Command::Key(command) => print!("{}", server::credentials::keys(&loaded.config, command)?),
        Command::Token(command) => print!("{}", server::credentials::tokens(&loaded.config, command)?),
        Command::Rooms => {
            for (name, changes, snapshot_bytes, log_bytes) in server::list(&*store()?)? {
                println!("{name}\t{changes} changes\t{snapshot_bytes} bytes of snapshot\t{log_bytes} bytes of log");
            }
        }
        Command::Export { room } => std::io::stdout().write_all(&server::export(&*store()?, &room)?)?,
        Command::Import { room, file } => {
            let update = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let news = server::import(&*lasting_store(&loaded)?, &room, update)?;
            println!("{}", if news { "imported" } else { "nothing new" });
        }
        Command::ImportFrom { migration, dry_run } => {
            let store = if dry_run { None } else { Some(lasting_store(&loaded)?) };
            let bytes_max = loaded.config.limits.room_bytes_max;
            let mut tell = |outcome: &Outcome| println!("{outcome}");
            let totals = server::import_from(&migration, store.as_deref(), bytes_max, &mut tell)?;
            println!("{totals}");
            if totals.failed > 0 {
                return Ok(ExitCode::from(SOME_FAILED));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A store that keeps what it is given when this command has ended.
fn lasting_store(loaded: &Loaded) -> Result<Arc<dyn Store>, Box<dyn std::error::Error>> {
    if loaded.config.durability == Durability::Memory {
        return Err("durability is memory, so nothing would be kept; add --durability ack".into());
    }
    Ok(open_store(&loaded.config)?)
}

fn serve(loaded: &Loaded) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = &loaded.config;
    server::logging::init(config.log.format, config.log.level);
    warn_of_open_secrets(loaded);
    let store = open_store(config)?;
    // Blocking threads only read rooms from the disk: more of them than the disk serves at once would only take memory.
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(8).enable_all().build()?;
    let in_order = runtime.block_on(async {
        let server = Server::bind(config.clone(), store)?;
        let mounts = config.mounts_listed();
        let unix_socket = config.unix_socket.as_ref().map(|path| tracing::field::display(path.display()));
        let tls = config.tls.certificate.is_some();
        let (auth, admin) = (config.auth.is_on(), server.admin_address().map(tracing::field::display));
        tracing::info!(action = "server.start", listen = %server.address()?, unix_socket, tls, auth, admin, data = %config.data.display(), mounts, "ready");
        let in_order = server.run(stopped()?).await;
        tracing::info!(action = "server.stop", in_order);
        Ok::<bool, Box<dyn std::error::Error>>(in_order)
    })?;
    if !in_order {
        // Perhaps a disk does not answer. The runtime would wait for it for ever.
        runtime.shutdown_background();
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn warn_of_open_secrets(loaded: &Loaded) {
    let Some((path, settings)) = loaded.secrets_in_file() else { return };
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let settings = settings.join(", ");
        tracing::warn!(
            action = "config.secrets",
            path,
            settings,
            "others can read this file, and secrets are in it; chmod 600, or set CONCORD_..._FILE"
        );
    }
}

/// Done at the first SIGTERM or SIGINT.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
