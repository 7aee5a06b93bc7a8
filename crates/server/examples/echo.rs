//! A WebSocket echo server over the codec that Concord uses, so that suites for WebSocket servers can judge it: every message comes back as it came,
//! pings and closes are answered, and what breaks the protocol is closed with its code.
//!
//! `cargo run --release -p server --example echo -- [ADDRESS]`, by default 127.0.0.1:9001. One thread a connection: it is there to be right.

use bytes::BytesMut;
use server::request::{HeadError, RequestHead, accept_deflate, accept_response, check_upgrade, parse};
use server::websocket::{
    Decoder, Deflater, Inflater, Message, Opcode, append_compressed_frame, append_frame, close_frame, pong_frame,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Bytes of one message: as much as suites send.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("echo: listening on ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            // A client that leaves is no error here.
            let _left = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let (head, early) = match read_head(&mut stream, &mut buffer)? {
        Ok(read) => read,
        Err(error) => return stream.write_all(&error.response()),
    };
    let extensions = accept_deflate(&head);
    stream.write_all(&accept_response(&head, head.subprotocols().next(), extensions))?;
    let mut echo = Echo {
        decoder: Decoder::new(MESSAGE_BYTES_MAX, extensions.is_some()),
        inflater: Inflater::default(),
        deflater: extensions.map(|_| Deflater::new(0)),
        arena: BytesMut::new(),
        out: Vec::new(),
    };
    let mut ended = echo.take(&early);
    loop {
        stream.write_all(&echo.out)?;
        echo.out.clear();
        if ended {
            // The server ends the connection, once the client can have read why.
            stream.shutdown(Shutdown::Write)?;
            while stream.read(&mut buffer)? > 0 {}
            return Ok(());
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => ended = echo.take(&buffer[..count]),
        }
    }
}

/// The request, and the bytes that came behind it.
fn read_head(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Result<(RequestHead, Vec<u8>), HeadError>> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Some(head)) => {
                let early = bytes.split_off(head.length);
                return Ok(check_upgrade(&head).map(|()| (head, early)));
            }
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// One connection's codec, and what it has to say.
struct Echo {
    decoder: Decoder,
    inflater: Inflater,
    /// None: compression was not negotiated.
    deflater: Option<Deflater>,
    arena: BytesMut,
    out: Vec<u8>,
}

impl Echo {
    /// Takes what the client has sent. True: the connection ends.
    fn take(&mut self, mut input: &[u8]) -> bool {
        loop {
            match self.decoder.decode(&mut input, &mut self.arena, &mut self.inflater) {
                Ok(None) => return false,
                Ok(Some(Message::Text(payload))) => self.say(Opcode::Text, &payload),
                Ok(Some(Message::Binary(payload))) => self.say(Opcode::Binary, &payload),
                Ok(Some(Message::Ping(payload))) => self.out.extend_from_slice(&pong_frame(&payload)),
                Ok(Some(Message::Pong(_))) => {}
                Ok(Some(Message::Close { code, .. })) => {
                    self.out.extend_from_slice(&close_frame(code.unwrap_or(1000), ""));
                    return true;
                }
                Err(error) => {
                    self.out.extend_from_slice(&close_frame(error.close_code(), &error.to_string()));
                    return true;
                }
            }
        }
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        match self.deflater.as_mut().and_then(|deflater| deflater.deflate(payload)) {
            Some(compressed) => append_compressed_frame(opcode, compressed, &mut self.out),
            None => append_frame(opcode, payload, &mut self.out),
        }
    }
}
