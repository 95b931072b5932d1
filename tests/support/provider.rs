//! An embedding provider that speaks OpenAI's protocol over real sockets and fails as it is told.
//! Texts that share words get vectors near each other.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::config::{Config, ProviderName};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub const KEY: &str = "sk-Heron-0123456789";

/// An index and the numbers of a vector, as text: JSON has words that no number type has.
pub type Items = Vec<(usize, Vec<String>)>;

/// What the provider does with a call.
#[derive(Debug, Clone)]
pub enum Act {
    Answer,
    /// Answers after a while.
    Delay(Duration),
    /// A wrong answer with status 200.
    Alter(fn(&mut Items)),
    /// Status, header lines, body.
    Say(u16, String, String),
    /// Reads the request and never answers.
    Hang,
    /// Sends a byte of a large answer now and then.
    Drip,
    /// Sends ten gigabytes.
    Endless,
    /// Resets the connection.
    Reset,
}

impl Act {
    pub fn status(status: u16) -> Self {
        Self::Say(status, String::new(), String::new())
    }
}

#[derive(Clone)]
pub struct Provider {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// For calls with this word in an input: what to do, one after the other; the last stays.
    rules: Mutex<Vec<(String, Vec<Act>)>>,
    calls: Mutex<Vec<Value>>,
    connections: AtomicUsize,
    sent_bytes: AtomicUsize,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let provider = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = provider.state.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let state = state.clone();
                tokio::spawn(async move { serve(connection, &state).await });
            }
        });
        provider
    }

    /// Makes a server use this provider.
    pub fn configure(&self, config: &mut Config, dims: usize) {
        let settings = &mut config.embeddings;
        settings.provider = ProviderName::OpenAi;
        settings.base_url = format!("http://{}/v1", self.address);
        settings.model = Some("stones-1".into());
        settings.api_key = Some(KEY.into());
        settings.dimensions = Some(dims);
    }

    /// From now on, calls with this word in an input are treated so, one after the other. The empty
    /// word is in all.
    pub fn on(&self, word: &str, acts: &[Act]) {
        let mut rules = self.state.rules.lock().expect("not poisoned");
        rules.retain(|(other, _)| other != word);
        rules.push((word.to_owned(), acts.iter().rev().cloned().collect()));
    }

    /// The requests whose inputs hold this word.
    pub fn calls(&self, word: &str) -> Vec<Value> {
        let calls = self.state.calls.lock().expect("not poisoned");
        calls.iter().filter(|call| inputs(call).any(|input| input.contains(word))).cloned().collect()
    }

    /// How often someone came, whatever they asked.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How much of endless answers went out.
    pub fn sent_bytes(&self) -> usize {
        self.state.sent_bytes.load(Ordering::SeqCst)
    }
}

impl State {
    fn act(&self, request: &Value) -> Act {
        let mut rules = self.rules.lock().expect("not poisoned");
        let rule = rules.iter_mut().find(|(word, _)| inputs(request).any(|input| input.contains(word.as_str())));
        match rule {
            Some((_, acts)) if acts.len() > 1 => acts.pop().expect("not empty"),
            Some((_, acts)) => acts[0].clone(),
            None => Act::Answer,
        }
    }
}

pub fn inputs(request: &Value) -> impl Iterator<Item = &str> {
    request["input"].as_array().expect("a list").iter().map(|input| input.as_str().expect("a text"))
}

async fn serve(connection: TcpStream, state: &State) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    while let Some(request) = read(&mut connection).await? {
        state.calls.lock().expect("not poisoned").push(request.clone());
        match state.act(&request) {
            Act::Delay(pause) => {
                tokio::time::sleep(pause).await;
                say(&mut connection, 200, "", &answer(items(&request))).await?;
            }
            Act::Answer => say(&mut connection, 200, "", &answer(items(&request))).await?,
            Act::Alter(alter) => {
                let mut items = items(&request);
                alter(&mut items);
                say(&mut connection, 200, "", &answer(items)).await?;
            }
            Act::Say(status, headers, body) => say(&mut connection, status, &headers, &body).await?,
            Act::Hang => std::future::pending().await,
            Act::Drip => drip(&mut connection).await?,
            Act::Endless => endless(&mut connection, state).await?,
            Act::Reset => return connection.get_ref().set_zero_linger(),
        }
    }
    Ok(())
}

/// A request, checked to be one; None at the end of the connection.
async fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Option<Value>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let lines = head.iter().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    assert_eq!(head[0], "POST /v1/embeddings HTTP/1.1");
    assert_eq!(header("authorization"), Some(format!("Bearer {KEY}")));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    let length = header("content-length").expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let request: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((request["model"].as_str(), request["encoding_format"].as_str()), (Some("stones-1"), Some("float")));
    Ok(Some(request))
}

async fn say(connection: &mut BufReader<TcpStream>, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} As told\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    // At once, or the second part waits until the first is acknowledged.
    connection.write_all((head + body).as_bytes()).await?;
    connection.flush().await
}

async fn drip(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n").await?;
    loop {
        connection.write_all(b" ").await?;
        connection.flush().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn endless(connection: &mut BufReader<TcpStream>, state: &State) -> io::Result<()> {
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").await?;
    let block = vec![b' '; 64 * 1024];
    loop {
        connection.write_all(&block).await?;
        state.sent_bytes.fetch_add(block.len(), Ordering::SeqCst);
    }
}

fn answer(items: Items) -> String {
    let items = items.iter().map(|(index, numbers)| {
        format!(
            "{{\"object\": \"embedding\",\n \"index\": {index},\n \"embedding\": [\n {}\n ]}}",
            numbers.join(",\n ")
        )
    });
    let items: Vec<String> = items.collect();
    let usage = json!({"prompt_tokens": 1, "total_tokens": 1});
    format!("{{\"object\": \"list\", \"data\": [{}], \"model\": \"stones-1\", \"usage\": {usage}}}", items.join(","))
}

fn items(request: &Value) -> Items {
    let dims = request["dimensions"].as_u64().expect("a size") as usize;
    let numbers = |text: &str| vector(text, dims).iter().map(|x| format!("{x:?}")).collect();
    inputs(request).map(numbers).enumerate().collect()
}

/// Counts words in places that their hashes choose; its length is not one.
fn vector(text: &str, dims: usize) -> Vec<f64> {
    let mut vector = vec![0.0; dims];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        for salt in ["a", "b", "c"] {
            let hash = crc32fast::hash(format!("{salt}{word}").as_bytes());
            vector[(hash >> 1) as usize % dims] += if hash & 1 == 0 { 2.5 } else { -2.5 };
        }
    }
    vector
}
