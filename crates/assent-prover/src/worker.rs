//! A thread of one's own for long work: off the async threads, and giving way to whatever answers clients.

use std::sync::mpsc::{Sender, channel};

use assent_store::spawn_aside;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Does one piece of work after the other.
pub(crate) struct Worker(Sender<Work>);

impl Worker {
    /// Ends when it is dropped.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Work>();
        spawn_aside(name, move || receiver.into_iter().for_each(|work| work()))?;
        Ok(Self(sender))
    }

    /// Does the work and gives what it gave; `None` where it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (give, given) = oneshot::channel();
        let work = move || {
            // Nobody waits any more where the process is ending.
            let _ = give.send(work());
        };
        // Where an earlier piece panicked there is no thread any more, and nothing is given.
        let _ = self.0.send(Box::new(work));
        given.await.ok()
    }
}
