//! fibra context
