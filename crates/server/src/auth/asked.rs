//! Answers of others that count for a while, each asked for once by however many want it at the same time.
//!
//! Called by whoever asks the application. Questions are known by their hashes, as strangers make them as long as they like. A question whose answer is
//! an error is asked again by the next who wants it: errors are not kept.

use aws_lc_rs::digest;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Mutex as Turn;

/// Answers that are kept. One is some hundred bytes; ten thousand people in a few rooms each fit.
const ANSWERS_MAX: usize = 50_000;

/// Questions and their answers.
pub(super) struct Asked<A> {
    answers: Mutex<HashMap<Question, Place<A>>>,
}

/// The SHA-256 of all that the answer depends on.
pub(super) type Question = [u8; 32];

/// Knows a question by its parts.
pub(super) fn question(parts: &[&[u8]]) -> Question {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// A known answer, and until when it counts. Whoever asks holds the turn.
type Place<A> = Arc<Turn<Option<(A, Instant)>>>;

impl<A: Clone> Asked<A> {
    pub(super) fn new() -> Self {
        Self { answers: Mutex::default() }
    }

    /// The answer to a question: the known one, unless it has run out, or what `ask` returns, with the time until which it counts.
    pub(super) async fn answer<E>(
        &self,
        question: &Question,
        ask: impl Future<Output = Result<(A, Instant), E>>,
    ) -> Result<(A, Instant), E> {
        let place = self.place(question);
        let mut known = place.lock().await;
        if let Some((answer, until)) = known.as_ref().filter(|(_, until)| *until > Instant::now()) {
            return Ok((answer.clone(), *until));
        }
        match ask.await {
            Ok(answer) => {
                *known = Some(answer.clone());
                Ok(answer)
            }
            Err(error) => {
                let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                if answers.get(question).is_some_and(|kept| Arc::ptr_eq(kept, &place)) {
                    answers.remove(question);
                }
                Err(error)
            }
        }
    }

    fn place(&self, question: &Question) -> Place<A> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX && !answers.contains_key(question) {
            let now = Instant::now();
            answers.retain(|_, place| {
                place.try_lock().map_or(true, |known| known.as_ref().is_some_and(|(_, until)| *until > now))
            });
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
        }
        answers.entry(*question).or_default().clone()
    }

    /// Forgets all answers. What is being asked for meanwhile is kept by nobody.
    pub(super) fn forget(&self) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn one_asks_for_all_and_errors_are_not_kept() {
        let (asked, count) = (Asked::<u8>::new(), AtomicUsize::new(0));
        let [one, two, three] = [b"1", b"2", b"3"].map(|text| question(&[text]));
        let hour = Instant::now() + Duration::from_secs(3_600);
        let answer = |until: Instant| {
            let count = &count;
            async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, ()>((7, until))
            }
        };
        let (a, b) = tokio::join!(asked.answer(&one, answer(hour)), asked.answer(&one, answer(hour)));
        assert_eq!((a, b, count.load(Ordering::Relaxed)), (Ok((7, hour)), Ok((7, hour)), 1));
        asked.answer(&two, answer(Instant::now())).await.expect("an answer");
        asked.answer(&two, answer(hour)).await.expect("an answer");
        assert_eq!(count.load(Ordering::Relaxed), 3, "an answer that has run out is asked for again");
        assert_eq!(asked.answer(&three, async { Err(()) }).await, Err(()));
        asked.answer(&three, answer(hour)).await.expect("an answer");
        asked.forget();
        asked.answer(&one, answer(hour)).await.expect("an answer");
        assert_eq!(count.load(Ordering::Relaxed), 5);
        assert_ne!(question(&[b"ab", b"c"]), question(&[b"a", b"bc"]));
    }
}
