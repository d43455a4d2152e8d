//! Forebay's PostgreSQL side: inbox, batch sink, limits that know the pool.
