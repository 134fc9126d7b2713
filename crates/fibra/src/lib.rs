//! fibra fibra
