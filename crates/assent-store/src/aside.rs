//! Threads for work that may wait.

use std::{io, thread};

/// How much nicer than others such a thread is: it gets about a third of a processor that others want too.
const NICE: i32 = 5;

/// Lets this thread, and those that it starts, give way to others. Nobody waits for storing a sealed batch or for executing it
/// again as clients wait for their receipts.
pub fn give_way() {
    // Where it is not allowed or not known, the thread is like any other.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

/// Starts a thread that gives way to others.
///
/// # Errors
/// Where the operating system refuses one.
pub fn spawn_aside(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        give_way();
        work();
    })
}
