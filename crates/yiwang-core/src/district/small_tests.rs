//! A small invented district, and every error that its files can have.
