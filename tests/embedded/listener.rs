//! A server that others call: it keeps what it was sent, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

pub struct Listener {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Listener {
    /// `answer` makes the body; None: it keeps the connection and never answers.
    pub fn start(answer: fn(&Heard) -> Option<Vec<u8>>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"), answer)
    }

    pub fn on(listener: TcpListener, answer: fn(&Heard) -> Option<Vec<u8>>) -> Self {
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(connection, &kept, answer));
            }
        });
        Self { address, heard }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("not poisoned").clone()
    }
}

fn serve(connection: TcpStream, kept: &Mutex<Vec<Heard>>, answer: fn(&Heard) -> Option<Vec<u8>>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a connection"));
    while let Some(heard) = read(&mut reader) {
        kept.lock().expect("not poisoned").push(heard.clone());
        let Some(body) = answer(&heard) else {
            // Until the other side gives up.
            reader.read_exact(&mut [0]).ok();
            return;
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if (&connection).write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// None at the end of the connection.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut heard = Heard { line: lines.first()?.clone(), headers, body: Vec::new() };
    heard.body = vec![0; heard.header("content-length")?.parse().expect("a length")];
    reader.read_exact(&mut heard.body).ok()?;
    Some(heard)
}
