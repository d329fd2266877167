//! `Admission`: how many sequences are with the engine, and who is next: keys in turn, and within a key who came first.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places in front of the engine and at it.
pub struct Admission {
    state: Mutex<State>,
    most_waiting: usize,
}

struct State {
    free: usize,
    waiting: usize,
    queues: HashMap<u64, VecDeque<oneshot::Sender<Permit>>>,
    /// Keys that have somebody waiting, the next one first.
    turns: VecDeque<u64>,
}

/// A sequence may be with the engine as long as this lives.
pub struct Permit(Arc<Admission>);

/// A sequence that has its place in the queue. It leaves when this is dropped.
pub struct QueuePlace(oneshot::Receiver<Permit>);

impl QueuePlace {
    /// Waits until the sequence may begin.
    pub async fn permit(self) -> Option<Permit> {
        self.0.await.ok()
    }
}

impl Admission {
    /// So many sequences at the engine at a time, and so many that wait.
    pub fn new(at_engine: usize, most_waiting: usize) -> Arc<Admission> {
        let state = State { free: at_engine, waiting: 0, queues: HashMap::new(), turns: VecDeque::new() };
        Arc::new(Admission { state: Mutex::new(state), most_waiting })
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Places for `count` sequences of a key, all or none: none where the queue has no room for them.
    pub fn enter(self: &Arc<Self>, key: u64, count: usize) -> Option<Vec<QueuePlace>> {
        let mut state = self.lock();
        if count > state.free + self.most_waiting.saturating_sub(state.waiting) {
            state.forget_those_who_left();
        }
        if count > state.free + self.most_waiting.saturating_sub(state.waiting) {
            return None;
        }
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            let (sender, receiver) = oneshot::channel();
            let queue = state.queues.entry(key).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                state.turns.push_back(key);
            }
            state.waiting += 1;
            places.push(QueuePlace(receiver));
        }
        let begin = state.begin();
        drop(state);
        self.start(begin);
        Some(places)
    }

    fn start(self: &Arc<Self>, begin: Vec<oneshot::Sender<Permit>>) {
        // A permit that nobody takes any more is dropped here, and goes to the next.
        begin.into_iter().for_each(|sender| drop(sender.send(Permit(self.clone()))));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those who begin now.
    fn begin(&mut self) -> Vec<oneshot::Sender<Permit>> {
        let mut begin = Vec::new();
        while self.free > 0
            && let Some(key) = self.turns.pop_front()
        {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&key);
            } else {
                self.turns.push_back(key);
            }
            let Some(next) = next else { continue };
            self.waiting -= 1;
            if !next.is_closed() {
                self.free -= 1;
                begin.push(next);
            }
        }
        begin
    }

    fn forget_those_who_left(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.retain(|sender| !sender.is_closed()));
        self.queues.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|key| self.queues.contains_key(key));
        self.waiting = self.queues.values().map(VecDeque::len).sum();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.free += 1;
        let begin = state.begin();
        drop(state);
        self.0.start(begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the sequence may begin by now.
    fn taken(place: &mut QueuePlace) -> Option<Permit> {
        place.0.try_recv().ok()
    }

    #[test]
    fn keys_take_turns_and_within_a_key_who_came_first() {
        let admission = Admission::new(1, 100);
        let mut first = admission.enter(9, 1).unwrap();
        let mut running = taken(&mut first[0]);
        assert!(running.is_some());
        let mut many = admission.enter(1, 4).unwrap();
        let mut one = admission.enter(2, 1).unwrap();
        let order = ["many 0", "one", "many 1", "many 2"];
        for expected in order {
            drop(running.take());
            let begun =
                many.iter_mut().enumerate().find_map(|(index, place)| Some((format!("many {index}"), taken(place)?)));
            let begun = begun.or_else(|| Some(("one".to_owned(), taken(&mut one[0])?)));
            let (name, permit) = begun.expect("somebody begins");
            assert_eq!(name, expected);
            running = Some(permit);
        }
        assert_eq!(admission.waiting(), 1);
    }

    #[test]
    fn a_full_queue_takes_all_of_a_request_or_nothing_and_who_left_has_no_place() {
        let admission = Admission::new(2, 3);
        let places = admission.enter(0, 5).unwrap();
        assert!(admission.enter(0, 1).is_none() && admission.enter(1, 1).is_none());
        drop(places);
        assert!(admission.enter(0, 6).is_none());
        let mut places = admission.enter(0, 5).expect("all left");
        assert_eq!(places.iter_mut().filter_map(taken).collect::<Vec<_>>().len(), 2);
    }
}
