//! Why a centre writes nothing more. Of several failures the first counts: the others follow from it.

use tokio::sync::watch;
use yiwang_store::Action;

use crate::Error;

/// The end of a centre, once it is known.
#[derive(Default)]
pub(crate) struct End(watch::Sender<Option<Over>>);

#[derive(Clone)]
enum Over {
    /// Another one has the lease.
    Fenced,
    /// The store failed in a way that waiting does not cure.
    Halt(String),
}

impl From<Over> for Error {
    fn from(over: Over) -> Self {
        match over {
            Over::Fenced => Self::Fenced,
            Over::Halt(why) => Self::Halt(why),
        }
    }
}

impl End {
    /// Notes a failure after which nothing may be written, whoever met it; others are none of its business.
    pub(crate) fn note(&self, error: &Error) {
        let over = match error {
            Error::Fenced => Over::Fenced,
            Error::Store(store) if store.action() == Action::Halt => Over::Halt(error.chain()),
            _ => return,
        };
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(over);
            is_first
        });
    }

    /// The end, if it has come.
    pub(crate) fn known(&self) -> Option<Error> {
        self.0.borrow().clone().map(Error::from)
    }

    /// Waits for the end.
    pub(crate) async fn come(&self) -> Error {
        let mut over = self.0.subscribe();
        match over.wait_for(Option::is_some).await.ok().and_then(|over| over.clone()) {
            Some(over) => over.into(),
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_is_the_cause() {
        let damaged = |reason: &str| {
            let (engine, reason) = ("sqlite", reason.to_owned());
            Error::Store(yiwang_store::Error::Damaged { engine, reason })
        };
        let end = End::default();
        end.note(&Error::Busy);
        assert!(end.known().is_none(), "what passes ends nothing");
        end.note(&damaged("the disk is full"));
        end.note(&damaged("no transaction"));
        end.note(&Error::Fenced);
        let (known, came) = (end.known().expect("it is over"), end.come().await);
        for why in [known, came] {
            assert!(matches!(&why, Error::Halt(why) if why.contains("the disk is full")), "{why}");
        }
    }
}
