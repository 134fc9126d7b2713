//! fibra serve
