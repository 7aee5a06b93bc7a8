//! How much may be read from one connection, and asked by it, within a second; and what it owes to the account of its user, who may have many.
//!
//! Called by the worker whenever it reads. Nobody is closed for being fast: what is not read waits in the client's own buffers, and TCP tells it.
//! Above the bounds nothing is lost, it is later.

use crate::connections::UserAccount;
use std::time::{Duration, Instant};

/// Bounds for one second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerSecond {
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) questions: u64,
}

/// What is left of them.
#[derive(Debug)]
pub(crate) struct Allowance {
    bytes: u64,
    messages: u32,
    questions: u32,
    renewed: Instant,
    /// Read, but not paid for by the user yet.
    owed_bytes: u32,
    owed_messages: u32,
    /// When the user may have enough again.
    broke_until: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(rates: PerSecond, now: Instant) -> Self {
        let mut allowance = Self {
            bytes: 0,
            messages: 0,
            questions: 0,
            renewed: now,
            owed_bytes: 0,
            owed_messages: 0,
            broke_until: None,
        };
        allowance.fill(rates, now);
        allowance
    }

    fn fill(&mut self, rates: PerSecond, now: Instant) {
        let small = |number: u64| number.min(u64::from(u32::MAX)) as u32;
        (self.bytes, self.renewed) = (rates.bytes, now);
        (self.messages, self.questions) = (small(rates.messages), small(rates.questions));
    }

    /// Begins another second when one is over, and pays what is owed if that can be paid now.
    pub(crate) fn renew(&mut self, rates: PerSecond, account: Option<&UserAccount>, now: Instant) {
        if self.renewed + Duration::from_secs(1) <= now {
            self.fill(rates, now);
        }
        if self.broke_until.is_some_and(|until| until <= now) {
            self.settle(account, now);
        }
    }

    /// Pays the user's account for what was read.
    pub(crate) fn settle(&mut self, account: Option<&UserAccount>, now: Instant) {
        self.broke_until = None;
        let (bytes, messages) = (&mut self.owed_bytes, &mut self.owed_messages);
        if let Some(account) = account {
            let wait = account.pay_bytes(bytes).max(account.pay_messages(messages));
            self.broke_until = wait.map(|wait| now + wait);
        } else {
            (self.owed_bytes, self.owed_messages) = (0, 0);
        }
    }

    /// Bytes that may be read now; when there are none, the time at which there may be some again.
    pub(crate) fn left(&self) -> Result<u64, Instant> {
        match self.broke_until {
            Some(until) => Err(until),
            None if self.bytes == 0 || self.messages == 0 => Err(self.next()),
            None => Ok(self.bytes),
        }
    }

    /// When the next second begins.
    pub(crate) fn next(&self) -> Instant {
        self.renewed + Duration::from_secs(1)
    }

    pub(crate) fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.owed_bytes = self.owed_bytes.saturating_add(bytes.min(u32::MAX as usize) as u32);
    }

    /// So many messages were read. False: they were the last for now.
    pub(crate) fn spend_messages(&mut self, count: u32) -> bool {
        self.messages = self.messages.saturating_sub(count);
        self.owed_messages = self.owed_messages.saturating_add(count);
        self.messages > 0
    }

    /// Whether one more question may be asked now.
    pub(crate) fn may_ask(&self) -> bool {
        self.questions > 0
    }

    pub(crate) fn spend_question(&mut self) {
        self.questions = self.questions.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::UserAccount;

    const RATES: PerSecond = PerSecond { bytes: 100_000, messages: 3, questions: 1 };

    #[test]
    fn a_second_brings_everything_back() {
        let now = Instant::now();
        let mut allowance = Allowance::new(RATES, now);
        assert_eq!(allowance.left(), Ok(100_000));
        allowance.spend(99_999);
        assert_eq!(allowance.left(), Ok(1));
        allowance.spend(5);
        assert_eq!(allowance.left(), Err(now + Duration::from_secs(1)));
        allowance.renew(RATES, None, now + Duration::from_millis(999));
        assert!(allowance.left().is_err());
        let later = now + Duration::from_secs(1);
        allowance.renew(RATES, None, later);
        assert_eq!(allowance.left(), Ok(100_000));
        assert!(allowance.spend_messages(1) && allowance.spend_messages(1) && !allowance.spend_messages(1));
        assert_eq!(allowance.left(), Err(later + Duration::from_secs(1)));
        assert!(allowance.may_ask());
        allowance.spend_question();
        assert!(!allowance.may_ask());
    }

    #[test]
    fn connections_of_one_user_share_an_account() {
        let now = Instant::now();
        let account = UserAccount::new("ann".into(), 100_000, 1_000);
        let (mut one, mut other) = (Allowance::new(RATES, now), Allowance::new(RATES, now));
        one.spend(90_000);
        one.settle(Some(&account), now);
        assert!(one.left().is_ok());
        other.spend(90_000);
        other.settle(Some(&account), now);
        let until = other.left().expect_err("the account is empty");
        assert!(until > now && until <= now + Duration::from_secs(2), "{:?}", until - now);
        // What is owed has to be paid before anything more is read.
        other.renew(RATES, Some(&account), until - Duration::from_millis(1));
        assert!(other.left().is_err());
    }
}
