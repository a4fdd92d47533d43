//! Threads for work that may wait.

use std::{io, thread};

/// How far a thread gives way to others that want its processor.
#[derive(Clone, Copy, Debug)]
pub enum Niceness {
    /// Checking signatures: what has been checked goes first, and what waits meanwhile is checked in company, which costs less.
    Checking = 3,
    /// A sequencer storing groups and sealed batches. The latter come in lumps, and everything would wait for each of them;
    /// where it falls behind under full load, the executor waits for it.
    Storing = 12,
    /// RocksDB's own threads, which write out and merge files for seconds at a time. They get enough under full load: a merge
    /// takes three times as long then, and is done before the next is due.
    Merging = 10,
    /// Executing a sealed batch again and storing what it gives, for which nobody waits as clients wait for their receipts. Such
    /// a thread gets about a third of a processor that others want too.
    Aside = 5,
}

/// Lets this thread, and those that it starts, give way to others.
pub fn give_way(niceness: Niceness) {
    // Where it is not allowed or not known, the thread is like any other.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness as i32);
}

/// Starts a thread that gives way to others.
///
/// # Errors
/// Where the operating system refuses one.
pub fn spawn_aside(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        give_way(Niceness::Aside);
        work();
    })
}
