//! Requests that are decided together: whoever comes first starts a task that works on all that wait, many at once, until
//! none is left. One look at the database serves them all, and no two of them race each other.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

/// What waits. Cheap to clone.
pub struct Rounds<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    is_worked_on: bool,
}

/// Ends the work on the queue, also where it panics: what waits then is dropped, and the next that comes begins anew.
struct Working<T>(Rounds<T>);

impl<T> Clone for Rounds<T> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
        }
    }
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            is_worked_on: false,
        };
        Self {
            queue: Arc::new(Mutex::new(queue)),
        }
    }
}

impl<T: Send + 'static> Rounds<T> {
    /// Lets one wait. `work` is given up to `most` of what waits, oldest first; what it gives back is taken first the next
    /// time. It runs in a task of its own: the others do not end with the request that came first.
    pub fn add<W, F>(&self, one: T, most: usize, work: W)
    where
        W: Fn(Vec<T>) -> F + Send + 'static,
        F: Future<Output = Vec<T>> + Send,
    {
        let is_first = self.with(|queue| {
            queue.waiting.push_back(one);
            !std::mem::replace(&mut queue.is_worked_on, true)
        });
        if is_first {
            let rounds = self.clone();
            tokio::spawn(async move { rounds.run(most, work).await });
        }
    }

    async fn run<W, F>(self, most: usize, work: W)
    where
        W: Fn(Vec<T>) -> F + Send,
        F: Future<Output = Vec<T>> + Send,
    {
        let working = Working(self);
        loop {
            let together: Vec<T> = working.0.with(|queue| {
                let most = queue.waiting.len().min(most);
                queue.is_worked_on = most > 0;
                queue.waiting.drain(..most).collect()
            });
            if together.is_empty() {
                // Somebody else may work on it already.
                std::mem::forget(working);
                return;
            }
            let again = work(together).await;
            working.0.with(|queue| {
                for one in again.into_iter().rev() {
                    queue.waiting.push_front(one);
                }
            });
        }
    }
}

impl<T> Rounds<T> {
    fn with<R>(&self, change: impl FnOnce(&mut Queue<T>) -> R) -> R {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut queue)
    }
}

impl<T> Drop for Working<T> {
    fn drop(&mut self) {
        self.0.with(|queue| {
            queue.waiting.clear();
            queue.is_worked_on = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::Rounds;

    #[tokio::test]
    async fn each_is_worked_on_what_is_given_back_again_and_a_panic_ends_only_its_own() {
        let rounds = Rounds::default();
        let work = |together: Vec<(u32, oneshot::Sender<u32>)>| async move {
            let mut again = Vec::new();
            for (number, answer) in together {
                match number {
                    7 => panic!("seven"),
                    number if number < 100 => again.push((number + 100, answer)),
                    number => drop(answer.send(number)),
                }
            }
            again
        };
        let ask = |number| {
            let (answer, answered) = oneshot::channel();
            rounds.add((number, answer), 2, work);
            answered
        };
        let answers: Vec<_> = (20..40).map(&ask).collect();
        for (number, answer) in (120..).zip(answers) {
            assert_eq!(answer.await, Ok(number));
        }
        assert!(ask(7).await.is_err());
        assert_eq!(ask(1).await, Ok(101));
    }
}
