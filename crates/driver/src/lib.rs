//! fibra driver
