//! The raw relay: what the kernel lets through. Each binary frame goes to the room's other members; no document, no storage, no presence.
//! One batched write per receiver and turn. `cargo run --release -p bench --bin relay 127.0.0.1:1235`

use bytes::Bytes;
use server::request::{accept_response, parse};
use server::websocket::{Decoder, Message, Opcode, encode_frame};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[derive(Default)]
struct Room {
    members: Vec<Rc<Member>>,
}

struct Member {
    stream: TcpStream,
    unsent: RefCell<Vec<Bytes>>,
}

type Rooms = Rc<RefCell<HashMap<String, Rc<RefCell<Room>>>>>;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1235".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address.parse().map_err(std::io::Error::other)?)?;
        let (listener, rooms) = (socket.listen(4_096)?, Rooms::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let rooms = rooms.clone();
            tokio::task::spawn_local(async move {
                let _ = serve(stream, rooms).await;
            });
        }
    })
}

async fn serve(mut stream: TcpStream, rooms: Rooms) -> std::io::Result<()> {
    let mut head = Vec::new();
    let request = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some(request) = parse(&head).map_err(std::io::Error::other)? {
            break request;
        }
    };
    stream.write_all(&accept_response(&request, None)).await?;
    let room = rooms.borrow_mut().entry(request.path().to_owned()).or_default().clone();
    let member = Rc::new(Member { stream, unsent: RefCell::default() });
    room.borrow_mut().members.push(member.clone());
    let (mut decoder, mut buffer) = (Decoder::new(16 << 20), vec![0; 64 << 10]);
    loop {
        tokio::select! {
            readable = member.stream.readable() => readable?,
            _ = member.stream.writable(), if !member.unsent.borrow().is_empty() => { flush(&member); continue; }
        }
        let count = match member.stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        let (mut bytes, mut frames) = (&buffer[..count], Vec::new());
        while let Ok(Some(message)) = decoder.decode(&mut bytes) {
            if let Message::Binary(payload) = message {
                frames.push(encode_frame(Opcode::Binary, &payload));
            }
        }
        for other in room.borrow().members.iter().filter(|other| !Rc::ptr_eq(other, &member)) {
            other.unsent.borrow_mut().extend(frames.iter().cloned());
            flush(other);
        }
    }
    room.borrow_mut().members.retain(|other| !Rc::ptr_eq(other, &member));
    Ok(())
}

fn flush(member: &Member) {
    let mut unsent = member.unsent.borrow_mut();
    while !unsent.is_empty() {
        let slices: Vec<IoSlice<'_>> = unsent.iter().take(64).map(|frame| IoSlice::new(frame)).collect();
        let Ok(mut written) = member.stream.try_write_vectored(&slices) else { return };
        drop(slices);
        let mut whole = 0;
        for frame in unsent.iter_mut() {
            if written < frame.len() {
                *frame = frame.slice(written..);
                break;
            }
            written -= frame.len();
            whole += 1;
        }
        unsent.drain(..whole);
    }
}
