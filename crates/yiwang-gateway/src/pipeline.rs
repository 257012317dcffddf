//! Appends batches one after another and tells, in the order of the appends, when each can no longer be lost.
//!
//! Invariant: what was appended first is reported safe first, whatever order receipts resolve in; nothing is appended
//! twice (the log retries by itself). Every lane acknowledges only what [`Step::Safe`] hands back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::sync::ReusableBoxFuture;
use yiwang_log::{Appended, Batch, Halt, Receipt, Writer};

use crate::admission::{Admission, Share};

/// The way into the log.
#[derive(Clone)]
pub(crate) enum Door {
    /// Straight: what must not wait for others and is little.
    Straight(Writer),
    /// In turn with everybody else.
    InTurn(Arc<Admission>, Arc<Share>),
}

impl Door {
    async fn append(self, batch: Batch) -> Result<Receipt, Halt> {
        match self {
            Self::Straight(writer) => writer.append(batch).await,
            Self::InTurn(admission, share) => admission.append(&share, batch).await,
        }
    }
}

/// What happened in a pipeline.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// The log took the last batch; the next one may come.
    Room,
    /// The oldest batch is safe; this came with it.
    Safe(T),
}

/// Batches on their way into the log, each with what is to be done once it is safe.
pub(crate) struct Pipeline<T> {
    door: Door,
    append: Option<ReusableBoxFuture<'static, Result<Receipt, Halt>>>,
    appending: Option<T>,
    safe: Option<ReusableBoxFuture<'static, Result<Appended, Halt>>>,
    oldest: Option<Oldest<T>>,
    later: VecDeque<(T, Option<Receipt>)>,
}

/// What is reported next.
enum Oldest<T> {
    /// Once its receipt resolves.
    Awaited(T),
    /// At once: it had nothing to append.
    Passed(T),
}

impl<T> Pipeline<T> {
    pub(crate) fn new(door: Door) -> Self {
        let later = VecDeque::new();
        Self { door, append: None, appending: None, safe: None, oldest: None, later }
    }

    /// Whether the log has not yet taken the last batch.
    pub(crate) fn busy(&self) -> bool {
        self.appending.is_some()
    }

    /// Whether everything is safe and reported.
    pub(crate) fn idle(&self) -> bool {
        self.appending.is_none() && self.oldest.is_none()
    }

    /// Batches that are not yet reported safe.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.busy()) + usize::from(self.oldest.is_some()) + self.later.len()
    }

    /// Hands a batch to the log. Only when not [busy](Self::busy).
    pub(crate) fn append(&mut self, batch: Batch, with: T) {
        debug_assert!(!self.busy(), "batches are appended one after another");
        let future = self.door.clone().append(batch);
        match &mut self.append {
            Some(held) => held.set(future),
            held => *held = Some(ReusableBoxFuture::new(future)),
        }
        self.appending = Some(with);
    }

    /// Queues what has nothing to append but must not overtake what was appended before.
    pub(crate) fn pass(&mut self, with: T) {
        debug_assert!(!self.busy(), "nothing overtakes a batch that the log has not taken");
        self.later.push_back((with, None));
        self.advance();
    }

    /// What happens next; never resolves while idle. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Step<T>, Halt> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// What has happened already, without waiting.
    pub(crate) async fn ready(&mut self) -> Option<Result<Step<T>, Halt>> {
        poll_fn(|context| match self.poll_next(context) {
            Poll::Ready(step) => Poll::Ready(Some(step)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Step<T>, Halt>> {
        if self.appending.is_some()
            && let Some(append) = &mut self.append
            && let Poll::Ready(result) = append.poll(context)
        {
            let with = self.appending.take().expect("an append has its companion");
            self.later.push_back((with, Some(result?)));
            self.advance();
            return Poll::Ready(Ok(Step::Room));
        }
        if let Some(Oldest::Awaited(_)) = &self.oldest
            && let Some(safe) = &mut self.safe
        {
            match safe.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => result?,
            };
        }
        match self.oldest.take() {
            None => Poll::Pending,
            Some(Oldest::Awaited(with) | Oldest::Passed(with)) => {
                self.advance();
                Poll::Ready(Ok(Step::Safe(with)))
            }
        }
    }

    fn advance(&mut self) {
        if self.oldest.is_some() {
            return;
        }
        self.oldest = match self.later.pop_front() {
            None => None,
            Some((with, None)) => Some(Oldest::Passed(with)),
            Some((with, Some(receipt))) => {
                match &mut self.safe {
                    Some(held) => held.set(receipt.safe()),
                    held => *held = Some(ReusableBoxFuture::new(receipt.safe())),
                }
                Some(Oldest::Awaited(with))
            }
        };
    }
}
