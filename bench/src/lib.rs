//! Simulated engines, players and load.
