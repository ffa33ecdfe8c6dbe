//! The listener, and how the server starts and stops.
//!
//! ```text
//!                signal ─► draining: POSTs get 503 ─► no request left, or --drain is over ─► connections close ─► end
//! second signal ─────────────────────────────────────────────────────────────────────────► exit at once
//! ```

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime},
};

use axum::Router;
use b158_checkpoint::Tokenizer;
use b158_runner::Model;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::{
    app::{App, Chat},
    auth::Key,
    config::Config,
    engine::{Command, Engine, Limits},
    metrics::Metrics,
    routes,
    token_texts::TokenTexts,
};

/// Threads that read and write connections; the rest of the machine is for the model.
const CONNECTION_THREADS: usize = 2;

/// What connections may take to write their last bytes.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// What the head of a request may take to arrive, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);

/// The shell's code for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// An error of the server itself; those of requests go to their clients.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is no address, is taken, or is not ours.
    #[error(
        "{address}: cannot listen there: {cause}\nhint: choose another --host or --port (0 takes a free one), or stop what uses it"
    )]
    Bind {
        /// What was asked for.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// The system gave no threads, signals or connections.
    #[error("the server cannot run: {0}\nhint: look for limits on threads and open files (ulimit -a)")]
    Run(io::Error),
}

/// A server that has its address, but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// What is served.
pub struct Served<'m> {
    /// The model.
    pub model: &'m Model,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How it converses, if it does.
    pub chat: Option<Chat>,
}

impl Server {
    /// Takes the address, so that one that is taken is said before a model is loaded.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn bind(host: &str, port: u16) -> Result<Self, Error> {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let bind = || {
            let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
            let listener = TcpListener::bind(&addresses[..])?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|cause| Error::Bind { address, cause })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until a signal comes (SIGINT, SIGTERM) and what runs then is finished, or cut off after `drain`.
    /// The model runs on this thread and its pool; `ready` is called once requests are answered.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn run(self, served: Served<'_>, config: Config, ready: impl FnOnce()) -> Result<(), Error> {
        let Served { model, tokenizer, chat } = served;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONNECTION_THREADS)
            .enable_all()
            .build()
            .map_err(Error::Run)?;
        let (commands, receiver) = mpsc::channel();
        let (metrics, abort) = (Arc::new(Metrics::default()), Arc::new(AtomicBool::new(false)));
        let limits = Limits { slots: config.slots, positions: config.positions };
        let tokenizer = Arc::new(tokenizer);
        let model_config = model.config();
        let app = Arc::new(App {
            key: config.api_key.as_deref().map(Key::new),
            texts: TokenTexts::new(Arc::clone(&tokenizer), model_config.vocab_size),
            tokenizer: Arc::clone(&tokenizer),
            chat,
            context: model.context(),
            vocab_size: model_config.vocab_size,
            eos_tokens: model_config.eos_tokens.clone(),
            metrics: Arc::clone(&metrics),
            started: SystemTime::now(),
            readers: Arc::new(Semaphore::new(CONNECTION_THREADS)),
            local_only: self.address.ip().is_loopback() && config.api_key.is_none(),
            places: Arc::new(Semaphore::new(App::capacity(&config))),
            draining: AtomicBool::new(false),
            commands: commands.clone(),
            answers: AtomicU64::new(0),
            config,
        });
        let mut engine = Engine::new(model, &tokenizer, limits, metrics, Arc::clone(&abort));
        thread::scope(|scope| {
            let connections =
                thread::Builder::new().name("connections".into()).spawn_scoped(scope, move || {
                    let result = runtime.block_on(answer(self.listener, app, &abort));
                    // Not for work that nobody waits for any more.
                    runtime.shutdown_background();
                    // The engine does not learn it from a closed channel: abandoned work may hold an end of it.
                    let _ = commands.send(Command::Stop);
                    result
                });
            let connections = connections.map_err(Error::Run)?;
            ready();
            engine.run(&receiver);
            connections.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Error::Run)
        })
    }
}

/// Answers requests until a signal comes and the last one is done.
async fn answer(listener: TcpListener, app: Arc<App>, abort: &AtomicBool) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut signals = Signals::new()?;
    let close = Arc::new(Notify::new());
    let closed = Arc::clone(&close);
    let served = tokio::spawn(serve(listener, routes::router(Arc::clone(&app)), closed));

    signals.next().await;
    app.draining.store(true, Ordering::Release);
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(INTERRUPTED);
    });
    if !drained(&app, app.config.drain).await {
        abort.store(true, Ordering::Release);
        drained(&app, LAST_BYTES).await;
    }
    close.notify_one();
    // A client that does not read its last bytes does without them.
    let _ = timeout(LAST_BYTES, served).await;
    Ok(())
}

/// Serves every connection until it is told to close, and then until those that are in the middle of an answer have it.
async fn serve(listener: tokio::net::TcpListener, router: Router, close: Arc<Notify>) {
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    loop {
        let accepted = tokio::select! {
            () = close.notified() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // A connection that is gone already, or too many open files, of which some will close.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Pieces of a stream are small, and go out as they come.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A connection's errors are its client's.
            let _ = connection.await;
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// Waits until no request runs or waits; false if that takes longer than `limit`.
async fn drained(app: &App, limit: Duration) -> bool {
    let end = Instant::now().checked_add(limit);
    while app.places.available_permits() < App::capacity(&app.config) {
        if end.is_some_and(|end| Instant::now() >= end) {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

/// The signals to stop.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The signals to stop.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a handler there is no signal.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
