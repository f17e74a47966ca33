//! The peer in another language: an echo of OAP/1 frames over TLS 1.3 on tokio and rustls, as a careful programmer would write
//! it. tokio's multi-threaded runtime, a task per connection, one buffer that is read into and answered from in place, one
//! write per batch of whole frames that has arrived, TCP_NODELAY, session tickets.
//!
//! usage: tokio-rustls-echo --listen ADDR --cert FILE --key FILE
//!
//! Prints "listening addr=… transport=… pid=…" when it accepts connections, and ends when standard input closes or at SIGINT
//! or SIGTERM. "served accepted=… frames=… failed=…" is its last line.

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{signal, SignalKind};
use tokio_rustls::rustls::{self, Certificate, PrivateKey, ServerConfig, Ticketer};
use tokio_rustls::TlsAcceptor;

/// The header of OAP/1: offsets are in bytes, integers big-endian.
const HEADER_LEN: usize = 38;
const MAX_FRAME: usize = 1 << 20;
const VERSION: u16 = 1;
const OFF_VERSION: usize = 4;
const OFF_FLAGS: usize = 6;
const OFF_CODE: usize = 8;
const OFF_CAP: usize = 28;
const FLAG_RESP: u16 = 0x02;
const FLAG_START: u16 = 0x08;
const FLAG_END: u16 = 0x10;
const RESERVED: u16 = 0xff00;
const CODE_OK: u16 = 200;

/// What a connection's buffer holds at first: four streaming chunks of the protocol, as gnet's peer reads. It grows for a frame
/// that is larger.
const BUFFER: usize = 256 << 10;

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Judges the header that starts b, which holds at least HEADER_LEN bytes, and returns the whole frame's length.
fn frame_len(b: &[u8]) -> io::Result<usize> {
    let n = u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize;
    if !(HEADER_LEN..=MAX_FRAME).contains(&n) {
        return Err(bad(format!("frame length {n}")));
    }
    if u16_at(b, OFF_VERSION) != VERSION {
        return Err(bad(format!("version {}", u16_at(b, OFF_VERSION))));
    }
    let flags = u16_at(b, OFF_FLAGS);
    if flags & RESERVED != 0 {
        return Err(bad(format!("reserved flags {flags:#06x}")));
    }
    let cap = u16_at(b, OFF_CAP) as usize;
    if cap != 0 && (flags & FLAG_START == 0 || cap > n - HEADER_LEN) {
        return Err(bad(format!("capability length {cap} in a frame of {n} bytes, flags {flags:#06x}")));
    }
    Ok(n)
}

/// What is at the front of a buffer once its whole frames have been made replies.
struct Batch {
    len: usize,             // bytes of the whole frames
    frames: u64,
    next: usize,            // bytes that the frame behind them takes in all, if its header is there; 0: it is not
    bad: Option<io::Error>, // what is behind them is no frame
}

/// Makes each whole frame at the start of b its reply, in place.
fn answer(b: &mut [u8]) -> Batch {
    let mut out = Batch { len: 0, frames: 0, next: 0, bad: None };
    while b.len() - out.len >= HEADER_LEN {
        let f = &mut b[out.len..];
        let n = match frame_len(f) {
            Ok(n) => n,
            Err(e) => {
                out.bad = Some(e);
                break;
            }
        };
        if f.len() < n {
            out.next = n;
            break;
        }
        f[OFF_FLAGS..OFF_FLAGS + 2].copy_from_slice(&(FLAG_RESP | FLAG_END).to_be_bytes());
        f[OFF_CODE..OFF_CODE + 2].copy_from_slice(&CODE_OK.to_be_bytes());
        out.len += n;
        out.frames += 1;
    }
    out
}

/// Counters; frames are added when their connection ends.
#[derive(Default)]
struct Stats {
    accepted: AtomicU64,
    frames: AtomicU64,
    failed: AtomicU64,
}

/// Serves one connection to its end.
async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, frames: &mut u64) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = acceptor.accept(tcp).await?;
    // rustls holds 64 KiB by itself: a larger batch would leave with a system call for each part.
    tls.get_mut().1.set_buffer_limit(None);
    let mut buf = vec![0u8; BUFFER];
    let mut have = 0;
    loop {
        let n = tls.read(&mut buf[have..]).await?;
        if n == 0 {
            if have > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return tls.shutdown().await;
        }
        have += n;
        let batch = answer(&mut buf[..have]);
        if batch.len > 0 {
            tls.write_all(&buf[..batch.len]).await?;
            tls.flush().await?;
            buf.copy_within(batch.len..have, 0);
            have -= batch.len;
            *frames += batch.frames;
        }
        if let Some(e) = batch.bad {
            tls.shutdown().await?;
            return Err(e);
        }
        if batch.next > buf.len() {
            buf.resize(batch.next, 0);
        }
    }
}

/// TLS 1.3 alone, ALPN "oap/1", and tickets that a client may use more than once, as crypto/tls has them.
fn config(cert: &str, key: &str) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let chain = rustls_pemfile::certs(&mut BufReader::new(File::open(cert)?))?;
    if chain.is_empty() {
        return Err("no certificate in the file of --cert".into());
    }
    let keys = rustls_pemfile::pkcs8_private_keys(&mut BufReader::new(File::open(key)?))?;
    let key = keys.into_iter().next().ok_or("no PKCS #8 private key in the file of --key")?;
    let mut cfg = ServerConfig::builder()
        .with_safe_default_cipher_suites()
        .with_safe_default_kx_groups()
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain.into_iter().map(Certificate).collect(), PrivateKey(key))?;
    cfg.alpn_protocols = vec![b"oap/1".to_vec()];
    cfg.ticketer = Ticketer::new()?;
    Ok(cfg)
}

/// The values of --listen, --cert and --key, which are all there is.
fn flags() -> Result<[String; 3], String> {
    let mut out = [None, None, None];
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let i = ["--listen", "--cert", "--key"].iter().position(|f| *f == name).ok_or(format!("unknown argument {name:?}"))?;
        out[i] = Some(args.next().ok_or(format!("{name} needs a value"))?);
    }
    match out {
        [Some(listen), Some(cert), Some(key)] => Ok([listen, cert, key]),
        _ => Err("--listen, --cert and --key are needed".into()),
    }
}

/// Accepts connections for ever; each has a task of its own.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, stats: Arc<Stats>) {
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(_) => {
                stats.failed.fetch_add(1, Relaxed);
                tokio::task::yield_now().await; // such as no descriptors left: others must be able to give some back
                continue;
            }
        };
        stats.accepted.fetch_add(1, Relaxed);
        let (acceptor, stats) = (acceptor.clone(), stats.clone());
        tokio::spawn(async move {
            let mut frames = 0;
            if serve(acceptor, tcp, &mut frames).await.is_err() {
                stats.failed.fetch_add(1, Relaxed);
            }
            stats.frames.fetch_add(frames, Relaxed);
        });
    }
}

/// Returns when standard input has closed, or a signal asks for the end.
async fn ended() -> io::Result<()> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stdin = async {
        let (mut stdin, mut b) = (tokio::io::stdin(), [0u8; 256]);
        while stdin.read(&mut b).await.map_or(false, |n| n > 0) {}
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = stdin => {}
    }
    Ok(())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let [listen, cert, key] = flags()?;
    let acceptor = TlsAcceptor::from(Arc::new(config(&cert, &key)?));
    let listener = TcpListener::bind(listen).await?;
    let stats = Arc::new(Stats::default());
    println!("listening addr={} transport=peer-tokio-rustls pid={}", listener.local_addr()?, std::process::id());
    tokio::select! {
        _ = accept(listener, acceptor, stats.clone()) => {}
        end = ended() => end?,
    }
    println!("served accepted={} frames={} failed={}", stats.accepted.load(Relaxed), stats.frames.load(Relaxed), stats.failed.load(Relaxed));
    Ok(())
}

fn main() {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_io().build() {
        Ok(r) => r,
        Err(e) => {
            eprintln!("tokio-rustls-echo: {e}");
            std::process::exit(1);
        }
    };
    let result = runtime.block_on(run());
    runtime.shutdown_background(); // a read of standard input cannot be interrupted
    if let Err(e) = result {
        eprintln!("tokio-rustls-echo: {e}");
        std::process::exit(1);
    }
}
