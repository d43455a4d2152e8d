//! Message headers: a short list of names and values that costs nothing to clone and nothing when
//! empty.
//!
//! A list, not a map: messages carry a handful of headers, brokers allow a name to repeat, and the
//! producer's order is kept. Shared behind one pointer, since the same headers go to the handler,
//! to the retry copy and to the dead letter.

use bytes::Bytes;
use std::{fmt, sync::Arc};

type Pair = (Arc<str>, Bytes);

/// The headers of a message, in the producer's order. Cloning shares them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Pair>>>);

impl Headers {
    /// No headers; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The first value under `name`. Names are case-sensitive, as in Kafka and AMQP.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The first value under `name`, if it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Sets `name` to `value`, in place of every value that it had.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Adds a value under `name` beside those that it has.
    pub fn append(&mut self, name: impl Into<Arc<str>>, value: impl Into<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_default()).push((name.into(), value.into()));
    }

    /// Removes every value under `name`.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            let list = Arc::make_mut(self.0.get_or_insert_default());
            list.retain(|(n, _)| &**n != name);
            if list.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().flat_map(|list| list.iter()).map(|(name, value)| (&**name, value))
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl<N: Into<Arc<str>>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_replaces_and_append_adds() {
        let mut headers: Headers = [("a", "1"), ("b", "2")].into_iter().collect();
        headers.append("a", "3");
        assert_eq!(headers.len(), 3);
        headers.insert("a", "4");
        let pairs: Vec<_> = headers.iter().map(|(n, v)| (n, v.as_ref())).collect();
        assert_eq!(pairs, [("b", b"2".as_ref()), ("a", b"4".as_ref())]);
    }

    #[test]
    fn a_clone_is_not_changed_by_its_original() {
        let mut headers: Headers = [("a", "1")].into_iter().collect();
        let clone = headers.clone();
        headers.remove("a");
        assert!(headers.is_empty());
        assert_eq!(headers, Headers::new());
        assert_eq!(clone.get_str("a"), Some("1"));
    }
}
