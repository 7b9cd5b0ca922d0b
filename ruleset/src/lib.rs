//! The table engine: tables, chains, rules, sets and expressions, transactions over them, and the program that
//! workers run for each packet (docs/architecture.md).
