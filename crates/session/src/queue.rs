//! A short queue between two threads, for things that are large.
//!
//! The standard library's bounded channel wakes a waiting producer for each item that is taken. Where the consumer is the
//! slower side, and the hasher always is, that is a switch of threads for each block. Here a producer that found the queue
//! full sleeps until half of it is free.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Makes a queue that takes items until they weigh `limit` together.
pub(crate) fn queue<T>(limit: u64) -> (Producer<T>, Consumer<T>) {
    let state = State { items: VecDeque::new(), weight: 0, open: true };
    let shared =
        Arc::new(Shared { state: Mutex::new(state), limit, filled: Condvar::new(), drained: Condvar::new() });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    limit: u64,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, u64)>,
    /// Of all items.
    weight: u64,
    /// Whether both ends are still there.
    open: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic is done while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().open = false;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}

/// The end that puts items in. What is in the queue when it goes is still taken out.
#[derive(Debug)]
pub(crate) struct Producer<T>(Arc<Shared<T>>);

impl<T> Producer<T> {
    /// Puts an item of this weight in, and waits while there is no room. Without a consumer the item is dropped.
    pub(crate) fn put(&self, item: T, weight: u64) {
        let mut state = self.0.state();
        if state.weight >= self.0.limit {
            let full = |state: &mut State<T>| state.open && state.weight > self.0.limit / 2;
            state = self.0.drained.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        }
        if state.open {
            state.items.push_back((item, weight));
            state.weight += weight;
            drop(state);
            self.0.filled.notify_one();
        }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The end that takes items out.
#[derive(Debug)]
pub(crate) struct Consumer<T>(Arc<Shared<T>>);

impl<T> Iterator for &Consumer<T> {
    type Item = T;

    /// Waits for the next item: `None` when there is no producer any more and the queue is empty.
    fn next(&mut self) -> Option<T> {
        let empty = |state: &mut State<T>| state.open && state.items.is_empty();
        let state = self.0.filled.wait_while(self.0.state(), empty);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let (item, weight) = state.items.pop_front().unzip();
        let before = state.weight;
        state.weight -= weight.unwrap_or_default();
        let half = self.0.limit / 2;
        let half_free = before > half && state.weight <= half;
        drop(state);
        if half_free {
            self.0.drained.notify_one();
        }
        item
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_in_order_and_then_it_ends() {
        for limit in 1..5 {
            let (producer, consumer) = queue(limit);
            let sent = std::thread::spawn(move || (0..1000).for_each(|item| producer.put(item, 1)));
            assert!((&consumer).eq(0..1000), "limit {limit}");
            sent.join().unwrap();
        }
    }

    #[test]
    fn it_holds_at_most_one_item_over_its_limit() {
        let (producer, consumer) = queue(3);
        let held = Arc::clone(&producer.0);
        let sent = std::thread::spawn(move || (0..100).for_each(|item| producer.put(item, item % 4)));
        for _ in &consumer {
            let state = held.state();
            assert!(state.weight <= 2 + 3);
            assert_eq!(state.weight, state.items.iter().map(|(_, weight)| weight).sum());
        }
        sent.join().unwrap();
    }

    #[test]
    fn a_producer_without_a_consumer_does_not_wait() {
        let (producer, consumer) = queue(1);
        producer.put(1, 1);
        let waiting = std::thread::spawn(move || (0..10).for_each(|item| producer.put(item, 1)));
        drop(consumer);
        waiting.join().unwrap();
    }
}
