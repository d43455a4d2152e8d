//! The marks of a batch: asked for one by one what is new, made all at once where everything should be,
//! and taken back.

use super::{Inbox, Seen, usable};
use crate::{Transaction, options::BEGUN, sqlstate};
use forebay::{Failure, MessageId};
use std::collections::HashMap;
use tokio_postgres::{Client, Error, types::Type};

impl Inbox {
    /// Marks the messages of a batch in a transaction, and says of each what is known of it.
    ///
    /// # Errors
    /// What the server said; nothing may be done in the transaction then. An identity that cannot be
    /// kept (over 1,024 bytes, or with a NUL) fails all: see [`Inbox::check`].
    pub async fn fresh(
        &self,
        transaction: &Transaction,
        ids: &[MessageId],
    ) -> Result<Vec<Seen>, Failure> {
        let mut first = HashMap::with_capacity(ids.len());
        let mut seen = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let twin = *first.entry(id).or_insert(index);
            seen.push(if twin == index { Seen::Before } else { Seen::Twin(twin) });
        }
        let mut texts: Vec<(String, usize)> =
            first.into_iter().map(|(id, index)| (id.to_string(), index)).collect();
        // In one order everywhere: batches that share messages wait for each other, and never in a
        // circle.
        texts.sort_unstable();
        for (id, _) in &texts {
            usable(id)?;
        }
        let unique: Vec<&str> = texts.iter().map(|(id, _)| id.as_str()).collect();
        let sql = format!(
            "INSERT INTO {} (consumer, id) SELECT $1, unnest($2) WHERE {BEGUN} \
             ON CONFLICT DO NOTHING RETURNING id",
            self.0.table
        );
        let parameters = [(&self.0.consumer as _, Type::TEXT), (&unique as _, Type::TEXT_ARRAY)];
        let rows = transaction.query(&sql, &parameters).await.map_err(sqlstate::failure)?;
        let places: HashMap<&str, usize> =
            texts.iter().map(|(id, index)| (id.as_str(), *index)).collect();
        for row in &rows {
            if let Some(index) = row.try_get(0).ok().and_then(|id: &str| places.get(id)) {
                seen[*index] = Seen::New;
            }
        }
        Ok(seen)
    }

    /// The identities of a batch as marks to be made all at once; `None` if one is there twice, or
    /// cannot be kept.
    pub(crate) fn marks(&self, ids: &[MessageId]) -> Option<Vec<String>> {
        let mut texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        // In the same order as [`Inbox::fresh`] has them, and for the same reason.
        texts.sort_unstable();
        let twins = texts.windows(2).any(|pair| pair[0] == pair[1]);
        (!twins && texts.iter().all(|id| usable(id).is_ok())).then_some(texts)
    }

    /// Makes these marks; an error if one of them is there already.
    pub(crate) async fn mark_new(&self, client: &Client, marks: &[String]) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO {} (consumer, id) SELECT $1, unnest($2) WHERE {BEGUN}",
            self.0.table
        );
        let parameters = [(&self.0.consumer as _, Type::TEXT), (&marks as _, Type::TEXT_ARRAY)];
        client.execute_typed(&sql, &parameters).await.map(drop)
    }

    /// Takes marks back that [`Inbox::fresh`] made in this transaction, of messages that were not done
    /// after all: dead letters, say, which are to be done when they are redriven.
    ///
    /// # Errors
    /// What the server said.
    pub async fn forget(
        &self,
        transaction: &Transaction,
        ids: &[MessageId],
    ) -> Result<(), Failure> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let sql = format!("DELETE FROM {} WHERE consumer = $1 AND id = ANY($2)", self.0.table);
        let parameters = [(&self.0.consumer as _, Type::TEXT), (&ids as _, Type::TEXT_ARRAY)];
        transaction.execute(&sql, &parameters).await.map_err(sqlstate::failure)?;
        Ok(())
    }
}
