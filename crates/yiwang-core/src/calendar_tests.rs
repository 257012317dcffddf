//! Calendars: the worked examples, and W and A as inverses.
