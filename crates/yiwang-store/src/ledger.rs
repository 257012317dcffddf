//! The counters of the ledger, kept in the transactions that make them true.

use crate::Error;
use crate::engine::{Kind, Value};
use crate::rows::Cells;
use crate::store::Store;

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerCount {
    /// `centre`: signals by outcome; `incidents`: opened ever, and incidents by state; or what a
    /// caller counted.
    pub stage: String,
    /// Outcome, state or reason.
    pub name: String,
    /// How many.
    pub value: i64,
}

impl Store {
    /// All counters that are not zero, by stage and name.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn ledger(&self) -> Result<Vec<LedgerCount>, Error> {
        self.counts("SELECT stage, name, value FROM ledger WHERE value <> 0 ORDER BY stage, name")
            .await
    }

    /// The counters of signals and incidents counted again from their rows: slow, for `doctor` and
    /// tests.
    ///
    /// # Errors
    /// As the engine fails.
    pub async fn recount(&self) -> Result<Vec<LedgerCount>, Error> {
        let text = "SELECT stage, name, value FROM (\
                    SELECT 'centre' AS stage, outcome AS name, COUNT(*) AS value FROM signal \
                    GROUP BY outcome UNION ALL \
                    SELECT 'incidents', state, COUNT(*) FROM incident GROUP BY state UNION ALL \
                    SELECT 'incidents', 'opened', COUNT(*) FROM incident) AS c \
                    WHERE value <> 0 ORDER BY stage, name";
        self.counts(text).await
    }

    async fn counts(&self, text: &str) -> Result<Vec<LedgerCount>, Error> {
        let rows = self.rows(text, vec![], &[Kind::Text, Kind::Text, Kind::Int]).await?;
        let count = |mut row: Vec<Value<'static>>| {
            let mut cells = Cells::new(&mut row);
            Ok(LedgerCount {
                stage: cells.next("stage")?,
                name: cells.next("name")?,
                value: cells.next("value")?,
            })
        };
        rows.into_iter().map(count).collect()
    }
}
