//! `Admission`: how many generations may be under way, and whose turn it is: round robin by key, and by arrival for each key.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The queue in front of the engine.
pub struct Admission {
    state: Mutex<State>,
    running: usize,
    waiting: usize,
}

#[derive(Default)]
struct State {
    /// Generations that have a place or wait for one.
    entered: usize,
    running: usize,
    /// The keys that wait, that whose turn is next in front.
    queues: VecDeque<(usize, VecDeque<oneshot::Sender<Turn>>)>,
}

/// Room in the queue for some generations.
pub struct Entry {
    admission: Arc<Admission>,
    count: usize,
}

/// A generation's place in the engine.
pub struct Turn(Option<Arc<Admission>>);

impl Admission {
    /// `running` generations in the engine, and `waiting` beside them.
    pub fn new(running: usize, waiting: usize) -> Admission {
        Admission { state: Mutex::default(), running, waiting }
    }

    /// Room for `count` generations; none where the queue is full.
    pub fn enter(self: &Arc<Admission>, count: usize) -> Option<Entry> {
        let mut state = self.lock();
        (state.entered + count <= self.running + self.waiting).then(|| {
            state.entered += count;
            Entry { admission: self.clone(), count }
        })
    }

    /// Most generations that one request can have room for.
    pub fn most(&self) -> usize {
        self.running + self.waiting
    }

    /// Generations that wait here.
    pub fn waiting(&self) -> usize {
        self.lock().queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a free place to whoever is next; who left in the meantime is passed.
    fn release(self: &Arc<Admission>) {
        loop {
            let mut state = self.lock();
            let Some((key, mut queue)) = state.queues.pop_front() else {
                state.running -= 1;
                return;
            };
            let next = queue.pop_front();
            if !queue.is_empty() {
                state.queues.push_back((key, queue));
            }
            drop(state);
            // A turn that nobody takes comes back to here by its drop, which must not count twice.
            if let Some(Err(mut left)) = next.map(|next| next.send(Turn(Some(self.clone())))) {
                left.0 = None;
            } else {
                return;
            }
        }
    }
}

impl Entry {
    /// Waits for a place, in the queue of `key`.
    pub async fn turn(&self, key: usize) -> Turn {
        let waits = {
            let mut state = self.admission.lock();
            if state.running < self.admission.running && state.queues.is_empty() {
                state.running += 1;
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                match state.queues.iter_mut().find(|(queued, _)| *queued == key) {
                    Some((_, queue)) => queue.push_back(sender),
                    None => state.queues.push_back((key, VecDeque::from([sender]))),
                }
                Some(receiver)
            }
        };
        match waits {
            None => Turn(Some(self.admission.clone())),
            // The sender lives in the queue until it sends.
            Some(receiver) => receiver.await.unwrap_or(Turn(None)),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.admission.lock().entered -= self.count;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(admission) = self.0.take() {
            admission.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> Option<F::Output> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn keys_take_turns_and_who_leaves_is_passed() {
        let admission = Arc::new(Admission::new(1, 9));
        let entry = admission.enter(7).unwrap();
        let first = poll(&mut Box::pin(entry.turn(1))).expect("a place is free");
        let mut waiting: Vec<_> = [1, 1, 1, 2, 2, 3].map(|key| Box::pin(entry.turn(key))).into();
        assert!(waiting.iter_mut().all(|turn| poll(turn).is_none()));
        assert_eq!(admission.waiting(), 6);
        drop(waiting.remove(3));
        let mut order = Vec::new();
        let (mut held, names) = (Some(first), ["1a", "1b", "1c", "2b", "3a"]);
        while order.len() < 5 {
            drop(held.take());
            let next = waiting.iter_mut().enumerate().find_map(|(index, turn)| {
                let taken = !order.contains(&names[index]);
                taken.then(|| poll(turn)).flatten().map(|turn| (index, turn))
            });
            let (index, turn) = next.expect("somebody's turn");
            order.push(names[index]);
            held = Some(turn);
        }
        assert_eq!(order, ["1a", "2b", "3a", "1b", "1c"]);
        drop(held);
        assert_eq!(admission.lock().running, 0, "every place came back");
        drop(waiting);
        drop(entry);
        assert_eq!(admission.lock().entered, 0);
    }

    #[test]
    fn a_full_queue_takes_nobody() {
        let admission = Arc::new(Admission::new(2, 3));
        let entry = admission.enter(5).unwrap();
        assert!(admission.enter(1).is_none());
        drop(entry);
        assert!(admission.enter(5).is_some() && admission.enter(6).is_none());
    }
}
